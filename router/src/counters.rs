//! What the router counts.
//!
//! Decides the names `um_router_*`. A router keeps no calls, so a retransmission counts like the
//! request that it repeats.

use config::Code;
use runtime::metrics::Registry;
use runtime::tally::{By, Family, Tally};

/// Counters of one router; clones count into the same place, as the same worker.
#[derive(Clone, Debug)]
pub struct Counters(Tally);

/// Numbers of the counters in the tally; of each kind of refusal there is one for every code.
const RECEIVED: usize = 0;
const REDIRECTED: usize = 1;
const DROPPED: usize = 2;
const REJECTED: usize = DROPPED + Dropped::ALL.len();
const REFUSED: usize = REJECTED + Code::ALL.len();
const TALLIED: usize = REFUSED + Code::ALL.len();

impl Default for Counters {
    fn default() -> Self {
        Counters(Tally::new(TALLIED))
    }
}

/// What gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No SIP at all, or nothing that names a way back.
    Noise,
    /// Line ends that keep a path open (RFC 5626 section 3.5.1).
    KeepAlive,
    /// An ACK ends the transaction of a refusal, which is not kept.
    Ack,
    /// A router asks nothing, so nobody has to answer it.
    Response,
    /// It is from a peer that is no gateway, and that had its answer or gets none.
    UnknownPeer,
    /// Its answer would be longer than itself, and nobody knows whose address it shows.
    TooShort,
}

impl Counters {
    /// The same counters, as another worker counts them.
    #[must_use]
    pub fn of(&self, worker: usize) -> Counters {
        Counters(self.0.of(worker))
    }

    /// Publishes them.
    pub fn register(&self, registry: &mut Registry) {
        let family = |name, help, by| Family { name, help, by };
        let codes = |first: usize| {
            let codes = Code::ALL.iter().enumerate().map(|(number, code)| (code.id(), first + number));
            By::Seen("code", codes.collect())
        };
        let dropped = Dropped::ALL.iter().enumerate().map(|(number, what)| (what.name(), DROPPED + number));
        let families = vec![
            family("um_router_calls_received", "INVITEs that arrived", By::Nothing(RECEIVED)),
            family("um_router_calls_redirected", "INVITEs answered by 302", By::Nothing(REDIRECTED)),
            family("um_router_calls_rejected", "INVITEs refused, by code", codes(REJECTED)),
            family("um_router_requests_refused", "Other requests refused, by code", codes(REFUSED)),
            family(
                "um_router_messages_dropped",
                "Messages without an answer",
                By::Seen("what", dropped.collect()),
            ),
        ];
        self.0.register(registry, families);
    }

    /// INVITEs that arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.sum(RECEIVED)
    }

    /// INVITEs that were answered by 302.
    #[must_use]
    pub fn redirected(&self) -> u64 {
        self.0.sum(REDIRECTED)
    }

    /// INVITEs that were refused with a code.
    #[must_use]
    pub fn rejected(&self, code: Code) -> u64 {
        self.0.sum(REJECTED + place(code))
    }

    /// Other requests that were refused with a code.
    #[must_use]
    pub fn refused(&self, code: Code) -> u64 {
        self.0.sum(REFUSED + place(code))
    }

    /// Messages that got no answer.
    #[must_use]
    pub fn dropped(&self, what: Dropped) -> u64 {
        self.0.sum(DROPPED + what as usize)
    }

    pub(crate) fn count_received(&self) {
        self.0.add(RECEIVED, 1);
    }

    pub(crate) fn count_redirected(&self) {
        self.0.add(REDIRECTED, 1);
    }

    pub(crate) fn count_refused(&self, is_call: bool, code: Code) {
        self.0.add(if is_call { REJECTED } else { REFUSED } + place(code), 1);
    }

    pub(crate) fn count_dropped(&self, what: Dropped) {
        self.0.add(DROPPED + what as usize, 1);
    }
}

impl Dropped {
    const ALL: [Dropped; 6] = [
        Dropped::Noise,
        Dropped::KeepAlive,
        Dropped::Ack,
        Dropped::Response,
        Dropped::UnknownPeer,
        Dropped::TooShort,
    ];

    const fn name(self) -> &'static str {
        match self {
            Dropped::Noise => "noise",
            Dropped::KeepAlive => "keep_alive",
            Dropped::Ack => "ack",
            Dropped::Response => "response",
            Dropped::UnknownPeer => "unknown_peer",
            Dropped::TooShort => "too_short",
        }
    }
}

/// The place of a code in [`Code::ALL`], which is in the order of the variants.
const fn place(code: Code) -> usize {
    code as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_each_drop_has_a_counter_of_its_own() {
        assert!(Code::ALL.iter().enumerate().all(|(number, code)| place(*code) == number));
        assert!(Dropped::ALL.iter().enumerate().all(|(number, what)| *what as usize == number));
        let counters = Counters::default();
        for (number, code) in (1..).zip(Code::ALL) {
            (0..number).for_each(|_| counters.count_refused(true, *code));
            counters.of(1).count_refused(false, *code);
        }
        for (number, code) in (1..).zip(Code::ALL) {
            assert_eq!((counters.rejected(*code), counters.refused(*code)), (number, 1), "{code}");
        }
        Dropped::ALL.iter().for_each(|what| counters.count_dropped(*what));
        assert!(Dropped::ALL.iter().all(|what| counters.dropped(*what) == 1));
    }
}
