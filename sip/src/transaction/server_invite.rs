//! The server's side of an INVITE (RFC 3261 section 17.2.1 as corrected by RFC 6026 section 7.1).
//!
//! Decides when a response to an INVITE is sent again and which ACK ends here. Refuses to know the
//! repetition of a 2xx, which belongs to the dialog (RFC 3261 section 13.3.1.4).
//!
//! ```text
//!                          INVITE: send 100
//!                                 |
//!                                 v
//!                          +------------+  INVITE: send last 1xx
//!                     +----| Proceeding |----+
//!        300-699: send|    +------------+    | 2xx: send
//!                     v                      v
//!  INVITE, G: +-----------+            +----------+  INVITE: absorb
//!  send again | Completed |--+         | Accepted |  ACK: for the dialog
//!             +-----------+  |         +----------+
//!            ACK |           | H: give up    | L
//!                v           v               v
//!          +-----------+ I +------------+    |
//!          | Confirmed |-->| Terminated |<---+
//!          +-----------+   +------------+
//! ```

use std::time::Instant;

use super::{Backoff, GIVE_UP, T2, T4, Tick};

/// One INVITE transaction of a server.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    response: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Proceeding,
    /// Timer G is `resend`, none on a reliable transport. Timer H is `give_up_at`.
    Completed {
        resend: Option<Backoff>,
        give_up_at: Instant,
    },
    /// Timer I is `ends_at`.
    Confirmed {
        ends_at: Instant,
    },
    /// Timer L is `ends_at`.
    Accepted {
        ends_at: Instant,
    },
    Terminated,
}

impl ServerInvite {
    /// Begins with the `100 Trying` that the owner sends now.
    #[must_use]
    pub fn new(trying: Vec<u8>, reliable: bool) -> ServerInvite {
        ServerInvite { state: State::Proceeding, reliable, response: trying }
    }

    /// Takes a 101 to 199, which the owner sends now. `false` once a final response was given.
    #[must_use]
    pub fn provisional(&mut self, response: Vec<u8>) -> bool {
        let proceeding = self.is_proceeding();
        if proceeding {
            self.response = response;
        }
        proceeding
    }

    /// Takes a 300 to 699, which the owner sends now. `false` once a final response was given.
    #[must_use]
    pub fn refuse(&mut self, response: Vec<u8>, now: Instant) -> bool {
        let proceeding = self.is_proceeding();
        if proceeding {
            self.response = response;
            let resend = (!self.reliable).then(|| Backoff::new(now, T2));
            self.state = State::Completed { resend, give_up_at: now + GIVE_UP };
        }
        proceeding
    }

    /// Notes that the dialog sends a 2xx. `false` once a final response was given.
    #[must_use]
    pub fn accept(&mut self, now: Instant) -> bool {
        let proceeding = self.is_proceeding();
        if proceeding {
            self.response = Vec::new();
            self.state = State::Accepted { ends_at: now + GIVE_UP };
        }
        proceeding
    }

    /// The INVITE came again: what answers it, if anything.
    #[must_use]
    pub fn invite_again(&self) -> Option<&[u8]> {
        match self.state {
            State::Proceeding | State::Completed { .. } => Some(&self.response),
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }

    /// An ACK matched this transaction. `true` if it ends here, `false` if it acknowledges a 2xx
    /// and is for the dialog.
    #[must_use]
    pub fn acknowledge(&mut self, now: Instant) -> bool {
        match self.state {
            State::Completed { .. } if self.reliable => self.state = State::Terminated,
            State::Completed { .. } => self.state = State::Confirmed { ends_at: now + T4 },
            State::Accepted { .. } => return false,
            State::Proceeding | State::Confirmed { .. } | State::Terminated => {}
        }
        true
    }

    /// Moves on what is due by `now`.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> Tick {
        match &mut self.state {
            State::Completed { give_up_at, .. } if now >= *give_up_at => {
                self.state = State::Terminated;
                Tick::GiveUp
            }
            State::Completed { resend, .. } => Tick::of(resend, now),
            State::Confirmed { ends_at } | State::Accepted { ends_at } if now >= *ends_at => {
                self.state = State::Terminated;
                Tick::Nothing
            }
            State::Proceeding | State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => {
                Tick::Nothing
            }
        }
    }

    /// The next instant at which [`ServerInvite::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { resend: Some(resend), give_up_at } => Some(resend.at().min(*give_up_at)),
            State::Completed { resend: None, give_up_at } => Some(*give_up_at),
            State::Confirmed { ends_at } | State::Accepted { ends_at } => Some(*ends_at),
            State::Proceeding | State::Terminated => None,
        }
    }

    /// The last response but a 2xx: what [`Tick::Resend`] sends.
    #[must_use]
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Whether no final response was given yet.
    #[must_use]
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// Whether the owner may forget this transaction.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
