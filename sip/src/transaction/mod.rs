//! The four transactions of RFC 3261 section 17 with the corrections of RFC 6026.
//!
//! Decides what is sent again, what is absorbed and when a transaction is over. Refuses to know
//! sockets, clocks, headers and who matched a message to which transaction: the owner brings
//! `now`, asks for one deadline, and sends the bytes that a [`Tick`] names.

mod client_invite;
mod client_other;
mod server_invite;
mod server_other;

use std::time::{Duration, Instant};

pub use client_invite::ClientInvite;
pub use client_other::ClientOther;
pub use server_invite::ServerInvite;
pub use server_other::ServerOther;

/// Round-trip estimate: the first interval between two copies (RFC 3261 section 17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// The longest interval between two copies (RFC 3261 section 17.1.2.2).
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network (RFC 3261 section 17.1.2.2).
pub const T4: Duration = Duration::from_secs(5);
/// 64 × T1 = 32 s: timers B, F, H, J, L and M, after which nothing more is expected
/// (RFC 3261 table 4, RFC 6026 section 8).
pub const GIVE_UP: Duration = Duration::from_millis(64 * 500);
/// Timer D: how long a client absorbs copies of a refusal, at least 32 s (RFC 3261 section 17.1.1.2).
pub const TIMER_D: Duration = Duration::from_secs(32);

/// What a transaction asks of its owner when time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing to send. The transaction may have ended in silence.
    Nothing,
    /// Send the transaction's message once more.
    Resend,
    /// The far end stayed silent for too long. The transaction has ended.
    GiveUp,
}

impl Tick {
    fn of(resend: &mut Option<Backoff>, now: Instant) -> Tick {
        if resend.as_mut().is_some_and(|resend| resend.is_due(now)) { Tick::Resend } else { Tick::Nothing }
    }
}

/// What a response is to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A 1xx, for the user of the transaction.
    Provisional,
    /// The final response, for the user. An INVITE's is acknowledged.
    Final,
    /// A final response after the first: a copy, or a 2xx of another fork. An INVITE's is
    /// acknowledged again.
    FinalAgain,
    /// A response that means nothing in this state.
    Stray,
}

/// The instants at which a message is repeated: the interval doubles up to a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    at: Instant,
    interval: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first repetition is one T1 from now.
    pub(crate) fn new(now: Instant, longest: Duration) -> Backoff {
        Backoff { at: now + T1, interval: T1, longest }
    }

    /// When the message is repeated next.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Whether a repetition is due. Plans the next one from `now`, so that a late caller sends one
    /// copy and not a burst.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.interval = (self.interval * 2).min(self.longest);
            self.at = now + self.interval;
        }
        due
    }

    /// Repeats at the longest interval from now on.
    pub(crate) fn slow_down(&mut self, now: Instant) {
        self.interval = self.longest;
        self.at = now + self.interval;
    }
}

#[cfg(test)]
mod tests;
