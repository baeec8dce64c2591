//! Which connections a server has, and which worker each of them belongs to.
//!
//! Decides that a new connection goes to the worker with the fewest, so that those of one single peer
//! are spread evenly too, and how many there may be, in all and of one peer. Refuses to know what is said
//! on them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip::{ConnectionId, Transport};

use crate::held::Pool;
use crate::limits::Limits;
use crate::metrics::{Closed, Lost, ServeMetrics};
use crate::outgoing::Outgoing;

/// The open connections of a whole server. Any worker may answer by any of them: an answer on a
/// stream is never repeated, so it must not wait behind the messages of a busy worker, or get lost.
pub(crate) struct Books {
    limits: Limits,
    /// What connections hold in memory.
    pub(crate) pool: Arc<Pool>,
    present: Mutex<Present>,
    /// By worker, so that they seldom wait for each other.
    open: Vec<Mutex<HashMap<ConnectionId, Open>>>,
    /// How many connections each worker has, those included that it is still being given.
    given: Mutex<Vec<usize>>,
}

/// How many connections there are.
#[derive(Default)]
struct Present {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Books {
    pub(crate) fn new(workers: usize, limits: Limits) -> Self {
        Books {
            limits,
            pool: Arc::new(Pool::new(limits.held_bytes)),
            present: Mutex::default(),
            open: (0..workers).map(|_| Mutex::default()).collect(),
            given: Mutex::new(vec![0; workers]),
        }
    }

    pub(crate) fn of(&self, worker: usize) -> MutexGuard<'_, HashMap<ConnectionId, Open>> {
        lock(&self.open[worker])
    }

    /// Lets one more connection in, and gives how many there are then; or says why not.
    pub(crate) fn enter(&self, address: IpAddr) -> Result<usize, Closed> {
        let mut present = lock(&self.present);
        if present.total >= self.limits.connections {
            return Err(Closed::Cap);
        }
        let of_peer = present.by_peer.entry(peer(address)).or_default();
        if *of_peer >= self.limits.connections_per_peer {
            return Err(Closed::PeerCap);
        }
        *of_peer += 1;
        present.total += 1;
        Ok(present.total)
    }

    /// A connection that was let in is gone; gives how many are left.
    pub(crate) fn leave(&self, address: IpAddr) -> usize {
        let mut present = lock(&self.present);
        let address = peer(address);
        if let Some(of_peer) = present.by_peer.get_mut(&address) {
            *of_peer -= 1;
            if *of_peer == 0 {
                present.by_peer.remove(&address);
            }
        }
        present.total -= 1;
        present.total
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

/// Who it is that has an address: by IPv6 whoever has the network.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_connections_and_one_more_when_one_is_gone() {
        let limits = Limits { connections: 5, connections_per_peer: 2, ..Limits::default() };
        let books = Books::new(1, limits);
        let enter = |address: &str| books.enter(address.parse().unwrap());
        assert_eq!(enter("192.0.2.1"), Ok(1));
        assert_eq!(enter("::ffff:192.0.2.1"), Ok(2));
        assert_eq!(enter("192.0.2.1"), Err(Closed::PeerCap));
        assert_eq!(enter("2001:db8::1"), Ok(3));
        assert_eq!(enter("2001:db8::ffff:2"), Ok(4));
        assert_eq!(enter("2001:db8::3"), Err(Closed::PeerCap));
        assert_eq!(books.leave("192.0.2.1".parse().unwrap()), 3);
        assert_eq!(enter("192.0.2.1"), Ok(4));
        assert_eq!(enter("2001:db8:0:1::1"), Ok(5));
        assert_eq!(enter("192.0.2.2"), Err(Closed::Cap));
    }
}
