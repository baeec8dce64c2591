//! What `route` and `explain` say about calls, over the public interface alone.
//!
//! Decides which behaviour is promised; knows nothing of how tables are built.

extern crate umbriel_config as config;

mod contoso;
mod order;
mod reference;
mod servers;
mod words;
