//! What the pure part of the operator costs with 100,000 mailboxes and 10,000 other objects: time of a
//! processor for the first plan and for that of one change, what is written, and memory.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "a measurement is read at the terminal")]

#[path = "../tests/size/world.rs"]
mod world;

use std::time::{Duration, Instant};

use umbriel_operator::{Plan, Reconciler, World, Write};
use world::{carry_out, name, put, serve, world};

const MAILBOXES: u32 = 100_000;

const OTHERS: u32 = 10_000;

fn measure(reconciler: &mut Reconciler, world: &World) -> (Duration, Plan) {
    let begun = Instant::now();
    let plan = reconciler.reconcile(world);
    (begun.elapsed(), plan)
}

fn row(what: &str, took: Duration, plan: &Plan) {
    let parts = plan.writes.iter().filter(|write| matches!(write, Write::Part(..))).count();
    let statuses = plan.writes.iter().filter(|write| matches!(write, Write::Status(..))).count();
    println!("| {what:<28} | {:>8} ms | {parts:>5} | {statuses:>8} |", took.as_millis());
}

/// Memory of this process at most, KiB, where the system says it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

fn main() {
    let mut world = world(MAILBOXES, OTHERS);
    let mut reconciler = Reconciler::default();
    println!("{MAILBOXES} mailboxes and {OTHERS} other objects");
    println!("| plan                         | time        | parts | statuses |");
    println!("|------------------------------|-------------|-------|----------|");
    let (took, plan) = measure(&mut reconciler, &world);
    row("first", took, &plan);
    carry_out(&mut world, plan);
    serve(&mut world);
    let (took, plan) = measure(&mut reconciler, &world);
    row("servers take calls", took, &plan);
    carry_out(&mut world, plan);
    serve(&mut world);
    let (took, plan) = measure(&mut reconciler, &world);
    row("everybody is served", took, &plan);
    carry_out(&mut world, plan);
    serve(&mut world);
    let (took, plan) = measure(&mut reconciler, &world);
    row("what is left of it", took, &plan);
    carry_out(&mut world, plan);
    let (took, plan) = measure(&mut reconciler, &world);
    row("nothing new", took, &plan);
    put(&mut world, 7, "Somebody Else");
    let (took, plan) = measure(&mut reconciler, &world);
    row("one mailbox changed", took, &plan);
    carry_out(&mut world, plan);
    world.mailboxes.remove(&name(7)).unwrap();
    let (took, plan) = measure(&mut reconciler, &world);
    row("one mailbox removed", took, &plan);
    if let Some(peak) = peak_kib() {
        println!(
            "memory of the process at most, with the world and its copy of the last plan: {} MiB",
            peak / 1024
        );
    }
}
