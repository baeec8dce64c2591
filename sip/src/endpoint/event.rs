//! What an endpoint and its user say to each other.

use crate::Peer;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub peer: Peer,
    /// The whole message.
    pub bytes: Vec<u8>,
}

/// Names one call of one endpoint: its INVITE transaction, then its dialog. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub(crate) u64);

/// What an endpoint tells its user. After [`Event::Cancelled`], [`Event::Hangup`] and
/// [`Event::Ended`] the call is gone: exactly one of them ends each call that the user did not
/// refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call, already answered `100 Trying`. Ring, answer or refuse it.
    Invite {
        /// The call.
        call: CallKey,
        /// Who sent the INVITE.
        peer: Peer,
        /// The whole request, for [`scan`](crate::scan).
        request: Vec<u8>,
    },
    /// A request to change the session of an answered call. Answer or refuse it before the next
    /// message is handled, or later; should it be cancelled first, the answer is
    /// [`WrongState`].
    Reinvite {
        /// The call.
        call: CallKey,
        /// Who sent the INVITE.
        peer: Peer,
        /// The whole request, for [`scan`](crate::scan).
        request: Vec<u8>,
    },
    /// The 200 has arrived: the ACK came, or a re-INVITE that proves it.
    Acknowledged {
        /// The call.
        call: CallKey,
        /// Body of the ACK: the answer, if our 200 made the offer. Else empty.
        body: Vec<u8>,
    },
    /// The INVITE was cancelled, or expired, before its answer. 487 is sent.
    Cancelled {
        /// The call.
        call: CallKey,
    },
    /// The far end hung up. 200 is sent.
    Hangup {
        /// The call.
        call: CallKey,
    },
    /// The call ended by us.
    Ended {
        /// The call.
        call: CallKey,
        /// How.
        cause: Ended,
    },
}

/// How a call ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Our BYE was answered.
    Answered,
    /// Our BYE was never answered (64 × T1, RFC 3261 section 17.1.2.2).
    TimedOut,
    /// Our 200 was never acknowledged (64 × T1, RFC 3261 section 13.3.1.4). A BYE is on its way.
    NeverAcknowledged,
}

/// A final answer other than 2xx.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// 300 to 699. A number beyond is sent as the nearest of these, because anything else would not
    /// refuse.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'a str,
    /// Further headers: name and value.
    pub headers: &'a [(&'a str, &'a str)],
}

/// The call is not in a state that allows this. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call is unknown, gone, or not in a state for this")]
pub struct WrongState;
