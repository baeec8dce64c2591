//! Scripted calls on virtual time: the whole core of a worker, bytes in and bytes out.

mod advertised;
mod caller;
mod complete;
mod crossings;
mod encrypted;
mod endings;
mod lines;
mod readiness;
mod refusals;
mod stage;
