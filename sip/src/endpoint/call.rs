//! One call, from its INVITE to its BYE.
//!
//! Decides what may happen next. Refuses to write messages.
//!
//! ```text
//!  INVITE  +---------+ answer  +----------+  ACK, re-INVITE  +-------------+
//! -------->| Ringing |-------->| Answered |----------------->| Established |--+
//!          +---------+         +----------+<-----------------+-------------+  | re-INVITE
//!               |                   |        answer a              |    ^     | waits, is
//!       refuse, |         64 × T1:  |        re-INVITE             |    +-----+ refused or
//!       CANCEL, |              BYE  |                          BYE |            cancelled
//!       expired |                   +----------+-------------------+
//!               v                              v
//!          +--------+   answered, or   +--------------+
//!          | (gone) |<-----------------|    Ending    |      a BYE of the far end leads
//!          +--------+   given up       +--------------+      from every state to (gone)
//! ```

use std::time::Instant;

use super::identity::TransactionId;
use crate::{
    Peer,
    dialog::Dialog,
    transaction::{Backoff, ClientOther, GIVE_UP, T2, Tick},
};

#[derive(Debug)]
pub(super) struct Call {
    pub(super) dialog: Dialog,
    /// The place of this call in the endpoint's schedule.
    pub(super) deadline: Option<Instant>,
    /// Whether the Request-URI was a sips URI.
    pub(super) secure: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Ringing {
        invite: Pending,
        expires_at: Instant,
    },
    Answered {
        ok: Repeated,
        /// BYE follows as soon as the ACK is there.
        hangup: Option<Hangup>,
    },
    Established {
        reinvite: Option<Pending>,
    },
    Ending {
        bye: ClientOther,
        to: Peer,
        /// Whether the user has been told that the call is over.
        told: bool,
    },
}

/// An INVITE that waits for its final response.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) transaction: TransactionId,
    /// The whole message.
    pub(super) request: Vec<u8>,
    pub(super) peer: Peer,
}

/// A 200 that is repeated until its ACK (RFC 3261 section 13.3.1.4), on every transport.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) bytes: Vec<u8>,
    pub(super) to: Peer,
    /// Number of the INVITE, and so of the ACK.
    pub(super) cseq: u32,
    /// Whether this 200 made the offer, so that the ACK brings the answer.
    pub(super) offers: bool,
    again: Backoff,
    give_up_at: Instant,
}

impl Repeated {
    pub(super) fn new(bytes: Vec<u8>, to: Peer, cseq: u32, offers: bool, now: Instant) -> Repeated {
        Repeated { bytes, to, cseq, offers, again: Backoff::new(now, T2), give_up_at: now + GIVE_UP }
    }
}

/// A BYE that waits: the value of its `Reason` header.
#[derive(Debug, Default)]
pub(super) struct Hangup {
    pub(super) reason: Option<String>,
}

/// What an ACK does to a call.
#[derive(Debug)]
pub(super) enum Acknowledged {
    /// Nothing: it is a copy, or acknowledges something else.
    Nothing,
    /// The session stands.
    Established,
    /// The session stands, and its end was wished for before.
    HangUp(Hangup),
}

/// What is due in a call.
#[derive(Debug)]
pub(super) enum Due {
    Nothing,
    /// Send these bytes again.
    Resend(Peer, Vec<u8>),
    /// Nobody answered the INVITE in time.
    Expired(Pending),
    /// The 200 was never acknowledged: send the BYE.
    NeverAcknowledged(Hangup),
    /// The BYE was never answered.
    ByeTimedOut {
        told: bool,
    },
    /// The call can be forgotten.
    Over,
}

/// How a new INVITE within a call finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// The 200 is not acknowledged yet, but arrived, as this INVITE shows.
    Acknowledges,
    /// Another INVITE waits for its final response.
    Busy,
    /// Our own offer waits for its answer.
    OfferOpen,
    /// BYE is sent, or about to be.
    Ending,
}

impl Call {
    pub(super) fn new(dialog: Dialog, secure: bool, invite: Pending, expires_at: Instant) -> Call {
        Call { dialog, deadline: None, secure, state: State::Ringing { invite, expires_at } }
    }

    /// The first INVITE, while it waits.
    pub(super) fn ringing(&self) -> Option<&Pending> {
        match &self.state {
            State::Ringing { invite, .. } => Some(invite),
            State::Answered { .. } | State::Established { .. } | State::Ending { .. } => None,
        }
    }

    /// The re-INVITE that waits.
    pub(super) fn reinvited(&self) -> Option<&Pending> {
        match &self.state {
            State::Established { reinvite } => reinvite.as_ref(),
            State::Ringing { .. } | State::Answered { .. } | State::Ending { .. } => None,
        }
    }

    /// The INVITE that waits, first or not, whose place is empty afterwards. A call that rang is to
    /// be forgotten.
    pub(super) fn take_pending(&mut self) -> Option<Pending> {
        match std::mem::replace(&mut self.state, State::Established { reinvite: None }) {
            State::Ringing { invite, .. } => Some(invite),
            State::Established { reinvite } => reinvite,
            state @ (State::Answered { .. } | State::Ending { .. }) => {
                self.state = state;
                None
            }
        }
    }

    /// A 200 was sent to the INVITE that waited.
    pub(super) fn answered(&mut self, ok: Repeated) {
        self.state = State::Answered { ok, hangup: None };
    }

    /// An ACK to the INVITE of number `cseq` came.
    pub(super) fn acknowledge(&mut self, cseq: u32) -> Acknowledged {
        match &mut self.state {
            State::Answered { ok, hangup } if ok.cseq == cseq => {
                let hangup = hangup.take();
                self.state = State::Established { reinvite: None };
                hangup.map_or(Acknowledged::Established, Acknowledged::HangUp)
            }
            State::Ringing { .. }
            | State::Answered { .. }
            | State::Established { .. }
            | State::Ending { .. } => Acknowledged::Nothing,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        match &self.state {
            State::Ringing { .. } | State::Established { reinvite: Some(_) } => Readiness::Busy,
            State::Established { reinvite: None } => Readiness::Ready,
            State::Answered { hangup: Some(_), .. } | State::Ending { .. } => Readiness::Ending,
            State::Answered { ok, hangup: None } if ok.offers => Readiness::OfferOpen,
            State::Answered { .. } => Readiness::Acknowledges,
        }
    }

    /// A re-INVITE came while the call was [`Readiness::Ready`] or [`Readiness::Acknowledges`].
    pub(super) fn reinvite(&mut self, pending: Pending) {
        self.state = State::Established { reinvite: Some(pending) };
    }

    /// Remembers to send BYE after the ACK. `false` if the call does not wait for one.
    pub(super) fn hang_up_later(&mut self, wish: Hangup) -> bool {
        match &mut self.state {
            State::Answered { hangup: hangup @ None, .. } => {
                *hangup = Some(wish);
                true
            }
            State::Answered { .. }
            | State::Ringing { .. }
            | State::Established { .. }
            | State::Ending { .. } => false,
        }
    }

    /// Whether BYE can be sent now (RFC 3261 section 15).
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// Our BYE was sent.
    pub(super) fn ending(&mut self, bye: ClientOther, to: Peer, told: bool) {
        self.state = State::Ending { bye, to, told };
    }

    /// The BYE of a call that is ending, and whether the user knows.
    pub(super) fn bye(&mut self) -> Option<(&mut ClientOther, &mut bool)> {
        match &mut self.state {
            State::Ending { bye, told, .. } => Some((bye, told)),
            State::Ringing { .. } | State::Answered { .. } | State::Established { .. } => None,
        }
    }

    /// Whether the user still counts on this call.
    pub(super) fn is_live(&self) -> bool {
        match &self.state {
            State::Ending { told, .. } => !*told,
            State::Ringing { .. } | State::Answered { .. } | State::Established { .. } => true,
        }
    }

    /// Moves on what is due by `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        match &mut self.state {
            State::Ringing { expires_at, .. } if now >= *expires_at => {
                self.take_pending().map_or(Due::Nothing, Due::Expired)
            }
            State::Answered { ok, hangup } if now >= ok.give_up_at => {
                Due::NeverAcknowledged(hangup.take().unwrap_or_default())
            }
            State::Answered { ok, .. } => {
                if ok.again.is_due(now) {
                    Due::Resend(ok.to, ok.bytes.clone())
                } else {
                    Due::Nothing
                }
            }
            State::Ending { bye, to, told } => bye_due(bye, *to, *told, now),
            State::Ringing { .. } | State::Established { .. } => Due::Nothing,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing { expires_at, .. } => Some(*expires_at),
            State::Answered { ok, .. } => Some(ok.again.at().min(ok.give_up_at)),
            State::Established { .. } => None,
            State::Ending { bye, .. } => bye.deadline(),
        }
    }
}

fn bye_due(bye: &mut ClientOther, to: Peer, told: bool, now: Instant) -> Due {
    match bye.handle_timeout(now) {
        Tick::Resend => Due::Resend(to, bye.request().to_vec()),
        Tick::GiveUp => Due::ByeTimedOut { told },
        Tick::Nothing if bye.is_terminated() => Due::Over,
        Tick::Nothing => Due::Nothing,
    }
}
