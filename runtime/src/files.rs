//! How many files the process may have open.
//!
//! Decides that it may have all that it can get: each connection is one, and what a process begins with, 1,024 on
//! most systems, is less than the connections that a server may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where that is refused, what there was stays, and a listener that finds no file left waits.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
