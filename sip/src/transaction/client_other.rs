//! The client's side of any request but INVITE and ACK (RFC 3261 section 17.1.2).
//!
//! Decides when the request is sent again and when its silence is final. Refuses to know methods
//! and meaning.
//!
//! ```text
//!                request: send
//!                      |
//!                      v
//!   E: send again +--------+
//!             +---| Trying |-------------+
//!             |   +--------+             |
//!             |        | 1xx             |
//!  F: give up |        v                 |
//!             |   +------------+         | 200-699
//!             +---| Proceeding |         |
//!             |   +------------+         |
//!             |    E: every T2 | 200-699 |
//!             |                v         v
//!             |              +-------------+
//!             |              |  Completed  |  response: absorb
//!             |              +-------------+
//!             v                     | K
//!        +------------+             |
//!        | Terminated |<------------+
//!        +------------+
//! ```

use std::time::Instant;

use super::{Backoff, GIVE_UP, Received, T2, T4, Tick};

/// One transaction of a client that is not an INVITE's.
#[derive(Debug)]
pub struct ClientOther {
    state: State,
    reliable: bool,
    request: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Timer E is `resend`, none on a reliable transport. Timer F is `give_up_at`.
    Trying {
        resend: Option<Backoff>,
        give_up_at: Instant,
    },
    /// The same timers, with E at T2.
    Proceeding {
        resend: Option<Backoff>,
        give_up_at: Instant,
    },
    /// Timer K is `ends_at`.
    Completed {
        ends_at: Instant,
    },
    Terminated,
}

impl ClientOther {
    /// Begins with the request that the owner sends now.
    #[must_use]
    pub fn new(request: Vec<u8>, reliable: bool, now: Instant) -> ClientOther {
        let resend = (!reliable).then(|| Backoff::new(now, T2));
        ClientOther { state: State::Trying { resend, give_up_at: now + GIVE_UP }, reliable, request }
    }

    /// A response with `status` came.
    #[must_use]
    pub fn receive(&mut self, status: u16, now: Instant) -> Received {
        match self.state {
            State::Trying { mut resend, give_up_at } if status < 200 => {
                if let Some(resend) = &mut resend {
                    resend.slow_down(now);
                }
                self.state = State::Proceeding { resend, give_up_at };
                Received::Provisional
            }
            State::Proceeding { .. } if status < 200 => Received::Provisional,
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state =
                    if self.reliable { State::Terminated } else { State::Completed { ends_at: now + T4 } };
                Received::Final
            }
            State::Completed { .. } if status >= 200 => Received::FinalAgain,
            State::Completed { .. } | State::Terminated => Received::Stray,
        }
    }

    /// Moves on what is due by `now`.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> Tick {
        match &mut self.state {
            State::Trying { give_up_at, .. } | State::Proceeding { give_up_at, .. } if now >= *give_up_at => {
                self.state = State::Terminated;
                Tick::GiveUp
            }
            State::Trying { resend, .. } | State::Proceeding { resend, .. } => Tick::of(resend, now),
            State::Completed { ends_at } if now >= *ends_at => {
                self.state = State::Terminated;
                Tick::Nothing
            }
            State::Completed { .. } | State::Terminated => Tick::Nothing,
        }
    }

    /// The next instant at which [`ClientOther::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { resend: Some(resend), give_up_at }
            | State::Proceeding { resend: Some(resend), give_up_at } => Some(resend.at().min(*give_up_at)),
            State::Trying { resend: None, give_up_at } | State::Proceeding { resend: None, give_up_at } => {
                Some(*give_up_at)
            }
            State::Completed { ends_at } => Some(*ends_at),
            State::Terminated => None,
        }
    }

    /// The request: what [`Tick::Resend`] sends.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether the owner may forget this transaction.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
