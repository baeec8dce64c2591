//! Looks for bytes that break the reader `uri`. What must hold is decided by `sip/tests/readers`.

#![no_main]

#[allow(dead_code, reason = "each program runs one of the readers")]
#[path = "../../sip/tests/readers/mod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::uri(bytes));
