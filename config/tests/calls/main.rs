//! What `route` and `explain` say about calls, over the public interface alone.
//!
//! Decides which behaviour is promised; knows nothing of how tables are built.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

extern crate umbriel_config as config;

mod contoso;
mod order;
mod reference;
mod servers;
mod words;
