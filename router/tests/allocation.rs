//! Answering costs no memory: once warm, a router allocates nothing for a redirect, for OPTIONS, for a
//! CANCEL and for an ACK.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate umbriel_router as router;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use runtime::Outbox;
use sip::Transport;

#[allow(dead_code, reason = "it is shared with the tests of the wire, which use all of it")]
#[path = "wire/fixture.rs"]
mod fixture;

use fixture::{COMPANY, NOW_UNIX_S, bench, invite, peer, request};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread what is asked of it.
struct Counting;

#[allow(unsafe_code, reason = "an allocator is an unsafe trait; it only counts and hands on")]
// SAFETY: every call is handed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while a router answers a message a thousand times, after it did so once.
fn allocations(message: &str, answer: Option<&str>) -> u64 {
    let mut bench = bench(COMPANY);
    let mut outbox = Outbox::new();
    let udp = peer(1, Transport::Udp);
    bench.router.answer(message.as_bytes(), udp.into(), NOW_UNIX_S, &mut outbox);
    let said = outbox.sip_messages().next().map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap());
    assert_eq!(said.as_deref().and_then(|said| said.lines().next()), answer);
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..1000 {
        outbox.clear();
        bench.router.answer(message.as_bytes(), udp.into(), NOW_UNIX_S, &mut outbox);
    }
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn what_allocates_is_counted() {
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1_u8]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
}

#[test]
fn a_redirect_allocates_nothing() {
    let diversion = "Diversion: <sip:101@127.0.0.1>;reason=no-answer;counter=1\r\n";
    let redirect = Some("SIP/2.0 302 Moved Temporarily");
    assert_eq!(allocations(&invite("101", ""), redirect), 0);
    assert_eq!(allocations(&invite("9000", diversion), redirect), 0);
}

#[test]
fn options_cancel_and_ack_allocate_nothing() {
    assert_eq!(allocations(&request("OPTIONS", ""), Some("SIP/2.0 200 OK")), 0);
    assert_eq!(allocations(&request("CANCEL", ""), Some("SIP/2.0 200 OK")), 0);
    assert_eq!(allocations(&request("ACK", ""), None), 0);
}
