//! Peers that are no gateway, and how little they get.
//!
//! Decides that each of them is answered at most once in a second, and remembers it in one table of fixed
//! size. So a flood costs a look at a table, whoever's addresses it shows, and hurts nobody elsewhere.
//! Refuses to know the clock.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use config::UnknownPeers;
use siphasher::sip::SipHasher24;

/// Places for peers that were answered in this second: 16 KiB. Peers that share one share its answer,
/// so that strangers get at most so many answers in a second, all together.
pub const MAX_STRANGERS: usize = 4096;

/// Workers read the clock when they wake, so that one may be behind another. What is further ahead than
/// this was read before the clock was set back.
const BEHIND_S: u32 = 60;

/// What all workers of a router remember of strangers. Nothing in it is ever waited for.
#[derive(Debug)]
pub(crate) struct Strangers {
    /// By place, the second of the last answer.
    answered: Box<[AtomicU32]>,
    key: [u8; 16],
}

impl Strangers {
    /// `key` decides who shares a place with whom: nobody outside must know it.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        let answered = (0..MAX_STRANGERS).map(|_| AtomicU32::new(0)).collect();
        Strangers { answered, key }
    }

    /// Whether this peer has had its answer of this second, or gets none at all.
    pub(crate) fn is_done_with(&self, rule: UnknownPeers, peer: IpAddr, now_unix_s: u64) -> bool {
        match rule {
            UnknownPeers::Ignore => true,
            UnknownPeers::Refuse => !is_past(self.place(peer).load(Ordering::Relaxed), second(now_unix_s)),
        }
    }

    /// Takes this peer's answer of this second. False if somebody has taken it before.
    pub(crate) fn take_answer(&self, peer: IpAddr, now_unix_s: u64) -> bool {
        let now = second(now_unix_s);
        let take = |last| is_past(last, now).then_some(now);
        self.place(peer).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Whoever has an IPv6 address has the 64 bits behind its prefix, too (RFC 4291 section 2.5.4).
    fn place(&self, peer: IpAddr) -> &AtomicU32 {
        let mut hash = SipHasher24::new_with_key(&self.key);
        match peer.to_canonical() {
            IpAddr::V4(address) => hash.write(&address.octets()),
            IpAddr::V6(address) => hash.write(&address.octets()[..8]),
        }
        // There are far fewer places than a usize counts.
        let place = usize::try_from(hash.finish() % MAX_STRANGERS as u64).unwrap_or_default();
        &self.answered[place]
    }
}

fn is_past(last: u32, now: u32) -> bool {
    last < now || last - now > BEHIND_S
}

/// Two seconds that are 136 years apart are taken for one.
fn second(now_unix_s: u64) -> u32 {
    u32::try_from(now_unix_s % (1 << 32)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_UNIX_S: u64 = 1_900_000_000;

    fn strangers() -> Strangers {
        Strangers::new(*b"0123456789abcdef")
    }

    #[test]
    fn a_peer_has_one_answer_in_a_second() {
        let strangers = strangers();
        let peer = IpAddr::from([198, 51, 100, 7]);
        let done = |now_unix_s| strangers.is_done_with(UnknownPeers::Refuse, peer, now_unix_s);
        assert!(!done(NOW_UNIX_S));
        assert!(strangers.take_answer(peer, NOW_UNIX_S));
        assert!(done(NOW_UNIX_S));
        assert!(!strangers.take_answer(peer, NOW_UNIX_S));
        assert!(!done(NOW_UNIX_S + 1));
        assert!(strangers.take_answer(peer, NOW_UNIX_S + 1));
    }

    #[test]
    fn a_worker_whose_clock_is_behind_gives_no_second_answer_and_one_that_was_set_back_does() {
        let strangers = strangers();
        let peer = IpAddr::from([198, 51, 100, 7]);
        assert!(strangers.take_answer(peer, NOW_UNIX_S));
        assert!(!strangers.take_answer(peer, NOW_UNIX_S - 1));
        assert!(!strangers.take_answer(peer, NOW_UNIX_S));
        assert!(strangers.take_answer(peer, NOW_UNIX_S - 3_600));
    }

    #[test]
    fn ignored_peers_have_none() {
        assert!(strangers().is_done_with(UnknownPeers::Ignore, [198, 51, 100, 7].into(), NOW_UNIX_S));
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_peer_and_mapped_ipv4_is_ipv4() {
        let strangers = strangers();
        let take = |peer: &str| strangers.take_answer(peer.parse().unwrap(), NOW_UNIX_S);
        assert!(take("2001:db8:0:1::1"));
        assert!(!take("2001:db8:0:1:ffff::2"));
        assert!(take("2001:db8:0:2::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
    }

    #[test]
    fn however_many_there_are_no_more_answers_are_given_than_there_are_places() {
        let strangers = strangers();
        let addresses = (0..200_000_u32).map(|number| IpAddr::V4(number.into()));
        let answers = addresses.filter(|peer| strangers.take_answer(*peer, NOW_UNIX_S)).count();
        assert_eq!(answers, MAX_STRANGERS);
    }
}
