//! Workers and their sockets, over real loopback traffic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_runtime as runtime;

mod caps;
mod certificates;
mod connections;
mod echo;
mod listeners;
mod turns;
mod workers;
