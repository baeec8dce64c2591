//! Which connections a server has, and which worker each of them belongs to.
//!
//! Decides that a new connection goes to the worker with the fewest, so that those of one single peer
//! are spread evenly too. Refuses to know what is said on them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip::{ConnectionId, Transport};

use crate::metrics::{Lost, ServeMetrics};
use crate::outgoing::Outgoing;
use crate::serve::Limits;

/// The open connections of a whole server. Any worker may answer by any of them: an answer on a
/// stream is never repeated, so it must not wait behind the messages of a busy worker, or get lost.
pub(crate) struct Books {
    pub(crate) total: AtomicUsize,
    /// By worker, so that they seldom wait for each other.
    open: Vec<Mutex<HashMap<ConnectionId, Open>>>,
    /// How many connections each worker has, those included that it is still being given.
    given: Mutex<Vec<usize>>,
}

impl Books {
    pub(crate) fn new(workers: usize) -> Self {
        Books {
            total: AtomicUsize::new(0),
            open: (0..workers).map(|_| Mutex::default()).collect(),
            given: Mutex::new(vec![0; workers]),
        }
    }

    pub(crate) fn of(&self, worker: usize) -> MutexGuard<'_, HashMap<ConnectionId, Open>> {
        lock(&self.open[worker])
    }

    /// Gives one more connection to the worker with the fewest: to `own` if no other has fewer.
    pub(crate) fn give(&self, own: usize) -> usize {
        let mut given = lock(&self.given);
        let load = |worker: &usize| (given[*worker], *worker != own);
        let idlest = (0..given.len()).min_by_key(load).unwrap_or(own);
        given[idlest] += 1;
        idlest
    }

    pub(crate) fn give_to(&self, worker: usize) {
        lock(&self.given)[worker] += 1;
    }

    pub(crate) fn take_from(&self, worker: usize) {
        lock(&self.given)[worker] -= 1;
    }
}

/// The workers' end of an open connection; dropping it ends the connection once all is written.
pub(crate) struct Open {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) outgoing: Arc<Outgoing>,
}

impl Open {
    /// Queues a message. What waits is capped in bytes: a reader that falls behind loses the message.
    pub(crate) fn push(&self, bytes: &[u8], limits: &Limits, metrics: &ServeMetrics) {
        if !self.outgoing.push(bytes, limits.unsent_bytes) {
            metrics.count_lost(Lost::PeerTooSlow);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.outgoing.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
