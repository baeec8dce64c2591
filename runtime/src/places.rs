//! How many connections there may be.
//!
//! Decides who is let in: so many in all, so many of one peer, and so many of peers that are not known, so that
//! however many of those connect, a gateway still can. Refuses to know who is known, and what is said.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits::Limits;
use crate::metrics::Closed;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A peer that is known.
    Known,
    /// One that is not.
    Stranger,
    /// One that is not known by its address, and may prove by TLS who it is.
    MayProve,
}

/// The place that a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// For peers that are known.
    Known,
    /// For anybody.
    Stranger,
    /// For the time of a handshake.
    Proving,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    limits: Limits,
    taken: HashMap<Place, usize>,
    by_peer: HashMap<IpAddr, OfPeer>,
}

/// The connections of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct OfPeer {
    all: usize,
    proving: usize,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Self {
        Places { limits, taken: HashMap::new(), by_peer: HashMap::new() }
    }

    /// How many are taken.
    pub(crate) fn total(&self) -> usize {
        self.taken.values().sum()
    }

    /// Lets one more connection in, or says why not.
    pub(crate) fn enter(&mut self, address: IpAddr, standing: Standing) -> Result<Place, Closed> {
        let of_peer = self.by_peer.get(&peer(address)).copied().unwrap_or_default();
        if self.total() >= self.limits.connections {
            return Err(Closed::Cap);
        }
        if of_peer.all >= self.limits.connections_per_peer {
            return Err(Closed::PeerCap);
        }
        let may_prove = self.taken(Place::Proving) < self.limits.proving_connections
            && of_peer.proving < self.limits.proving_connections_per_peer;
        let place = match standing {
            Standing::Known => Place::Known,
            Standing::Stranger | Standing::MayProve if self.has_room_for_strangers() => Place::Stranger,
            Standing::MayProve if may_prove => Place::Proving,
            Standing::Stranger | Standing::MayProve => return Err(Closed::StrangerCap),
        };
        self.add(address, place);
        Ok(place)
    }

    /// The handshake is over, and has proved who it is, or not: gives the place that it has from now on, if there is
    /// one.
    pub(crate) fn settle(&mut self, address: IpAddr, place: Place, is_known: bool) -> Result<Place, Closed> {
        let settled = match place {
            Place::Known => Place::Known,
            Place::Stranger | Place::Proving if is_known => Place::Known,
            Place::Stranger => Place::Stranger,
            Place::Proving if self.has_room_for_strangers() => Place::Stranger,
            Place::Proving => return Err(Closed::StrangerCap),
        };
        self.leave(address, place);
        self.add(address, settled);
        Ok(settled)
    }

    /// A connection that was let in is gone.
    pub(crate) fn leave(&mut self, address: IpAddr, place: Place) {
        let address = peer(address);
        if let Some(of_peer) = self.by_peer.get_mut(&address) {
            of_peer.all -= 1;
            of_peer.proving -= usize::from(place == Place::Proving);
            if of_peer.all == 0 {
                self.by_peer.remove(&address);
            }
        }
        if let Some(taken) = self.taken.get_mut(&place) {
            *taken -= 1;
        }
    }

    fn add(&mut self, address: IpAddr, place: Place) {
        let of_peer = self.by_peer.entry(peer(address)).or_default();
        of_peer.all += 1;
        of_peer.proving += usize::from(place == Place::Proving);
        *self.taken.entry(place).or_default() += 1;
    }

    fn taken(&self, place: Place) -> usize {
        self.taken.get(&place).copied().unwrap_or_default()
    }

    fn has_room_for_strangers(&self) -> bool {
        self.taken(Place::Stranger) < self.limits.stranger_connections
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_peer_has_so_many_connections_and_one_more_when_one_is_gone() {
        let limits = Limits { connections: 5, connections_per_peer: 2, ..Limits::default() };
        let mut places = Places::new(limits);
        let mut enter = |address: &str| places.enter(at(address), Standing::Known).map(|_| places.total());
        assert_eq!(enter("192.0.2.1"), Ok(1));
        assert_eq!(enter("::ffff:192.0.2.1"), Ok(2));
        assert_eq!(enter("192.0.2.1"), Err(Closed::PeerCap));
        assert_eq!(enter("2001:db8::1"), Ok(3));
        assert_eq!(enter("2001:db8::ffff:2"), Ok(4));
        assert_eq!(enter("2001:db8::3"), Err(Closed::PeerCap));
        places.leave(at("192.0.2.1"), Place::Known);
        assert_eq!(places.total(), 3);
        let mut enter = |address: &str| places.enter(at(address), Standing::Known).map(|_| places.total());
        assert_eq!(enter("192.0.2.1"), Ok(4));
        assert_eq!(enter("2001:db8:0:1::1"), Ok(5));
        assert_eq!(enter("192.0.2.2"), Err(Closed::Cap));
    }

    #[test]
    fn strangers_leave_places_to_those_who_are_known() {
        let limits = Limits { connections: 4, stranger_connections: 2, ..Limits::default() };
        let mut places = Places::new(limits);
        let stranger = at("198.51.100.1");
        for _ in 0..2 {
            assert_eq!(places.enter(stranger, Standing::Stranger), Ok(Place::Stranger));
        }
        assert_eq!(places.enter(stranger, Standing::Stranger), Err(Closed::StrangerCap));
        for _ in 0..2 {
            assert_eq!(places.enter(at("192.0.2.1"), Standing::Known), Ok(Place::Known));
        }
        assert_eq!(places.enter(at("192.0.2.1"), Standing::Known), Err(Closed::Cap));
        places.leave(stranger, Place::Stranger);
        assert_eq!(places.enter(stranger, Standing::Stranger), Ok(Place::Stranger));
    }

    #[test]
    fn where_strangers_have_all_places_a_few_more_may_prove_who_they_are() {
        let limits = Limits {
            stranger_connections: 1,
            proving_connections: 3,
            proving_connections_per_peer: 2,
            ..Limits::default()
        };
        let mut places = Places::new(limits);
        let (stranger, gateway) = (at("198.51.100.1"), at("192.0.2.1"));
        assert_eq!(places.enter(stranger, Standing::MayProve), Ok(Place::Stranger));
        for _ in 0..2 {
            assert_eq!(places.enter(stranger, Standing::MayProve), Ok(Place::Proving));
        }
        assert_eq!(places.enter(stranger, Standing::MayProve), Err(Closed::StrangerCap));
        assert_eq!(places.enter(gateway, Standing::MayProve), Ok(Place::Proving));
        assert_eq!(places.enter(gateway, Standing::MayProve), Err(Closed::StrangerCap));

        assert_eq!(places.settle(gateway, Place::Proving, true), Ok(Place::Known));
        assert_eq!(places.enter(gateway, Standing::MayProve), Ok(Place::Proving));
        assert_eq!(places.settle(stranger, Place::Proving, false), Err(Closed::StrangerCap));
        assert_eq!(places.settle(stranger, Place::Stranger, true), Ok(Place::Known));
        assert_eq!(places.settle(stranger, Place::Proving, false), Ok(Place::Stranger));
        assert_eq!(places.total(), 5);
    }
}
