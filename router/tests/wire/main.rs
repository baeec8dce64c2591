//! The router as its peers see it: literal requests and literal answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_router as router;

mod calls;
mod fixture;
mod refusals;
mod requests;
mod serving;
mod strangers;
