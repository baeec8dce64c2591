//! Which connections a server has, and which worker each of them belongs to.
//!
//! Decides that a new connection goes to the worker with the fewest, so that those of one single peer
//! are spread evenly too. Refuses to know what is said on them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip::{ConnectionId, Transport};

use crate::held::{Pool, Share};
use crate::known::KnownPeers;
use crate::limits::Limits;
use crate::metrics::{Closed, Lost, ServeMetrics};
use crate::outgoing::Outgoing;
use crate::places::{Place, Places, Standing};

/// The open connections of a whole server. Any worker may answer by any of them: an answer on a
/// stream is never repeated, so it must not wait behind the messages of a busy worker, or get lost.
pub(crate) struct Books {
    known: KnownPeers,
    places: Mutex<Places>,
    /// What connections hold in memory.
    pool: Arc<Pool>,
    /// What those of peers hold that are not known, which is a part of it.
    pool_of_strangers: Arc<Pool>,
    /// By worker, so that they seldom wait for each other.
    open: Vec<Mutex<HashMap<ConnectionId, Open>>>,
    /// How many connections each worker has, those included that it is still being given.
    given: Mutex<Vec<usize>>,
}

impl Books {
    pub(crate) fn new(workers: usize, limits: Limits, known: KnownPeers) -> Self {
        let pool = Arc::new(Pool::new(limits.held_bytes));
        Books {
            known,
            places: Mutex::new(Places::new(limits)),
            pool_of_strangers: Arc::new(Pool::part_of(&pool, limits.stranger_bytes)),
            pool,
            open: (0..workers).map(|_| Mutex::default()).collect(),
            given: Mutex::new(vec![0; workers]),
        }
    }

    pub(crate) fn of(&self, worker: usize) -> MutexGuard<'_, HashMap<ConnectionId, Open>> {
        lock(&self.open[worker])
    }

    /// Lets one more connection in that a peer has opened, or we, and gives its place and how many there are then;
    /// or says why not.
    pub(crate) fn enter(
        &self,
        address: IpAddr,
        transport: Transport,
        by_us: bool,
    ) -> Result<(Place, usize), Closed> {
        let standing = match transport {
            _ if by_us || self.known.has(address, &[]) => Standing::Known,
            Transport::Tls => Standing::MayProve,
            Transport::Udp | Transport::Tcp => Standing::Stranger,
        };
        let mut places = lock(&self.places);
        let place = places.enter(address, standing)?;
        Ok((place, places.total()))
    }

    /// A handshake has proved these names: gives the place that the connection has from now on, if there is one.
    pub(crate) fn settle(&self, address: IpAddr, place: Place, names: &[String]) -> Result<Place, Closed> {
        let is_known = self.known.has(address, names);
        lock(&self.places).settle(address, place, is_known)
    }

    /// A connection that was let in is gone; gives how many are left.
    pub(crate) fn leave(&self, address: IpAddr, place: Place) -> usize {
        let mut places = lock(&self.places);
        places.leave(address, place);
        places.total()
    }

    /// What a connection in such a place holds in memory: nothing yet.
    pub(crate) fn share(&self, place: Place) -> Share {
        match place {
            Place::Known => self.pool.share(),
            Place::Stranger | Place::Proving => self.pool_of_strangers.share(),
        }
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
