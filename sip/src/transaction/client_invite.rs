//! The client's side of an INVITE (RFC 3261 section 17.1.1 as corrected by RFC 6026 section 7.2).
//!
//! Decides when the INVITE is sent again and which responses reach the user. Refuses to write the
//! ACK, which needs headers: [`Received::Final`] and [`Received::FinalAgain`] ask the owner for it.
//!
//! ```text
//!               INVITE: send
//!                    |
//!                    v
//!  A: send again +---------+
//!             +--| Calling |------------+----------------+
//!             |  +---------+            |                |
//!  B: give up |      | 1xx              |                |
//!             |      v                  |                |
//!             | +------------+ 300-699: | send ACK       | 2xx
//!             | | Proceeding |----------+                |
//!             | +------------+----------|----------------+
//!             |                         v                v
//!             |                   +-----------+    +----------+  2xx: for the user
//!             |                   | Completed |    | Accepted |
//!             |                   +-----------+    +----------+
//!             |                         | D              | M
//!             v                         v                |
//!             +-------------------->+------------+<------+
//!                                   | Terminated |
//!                                   +------------+
//! ```

use std::time::Instant;

use super::{Backoff, GIVE_UP, Received, TIMER_D, Tick};

/// One INVITE transaction of a client.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    request: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Timer A is `resend`, none on a reliable transport. Timer B is `give_up_at`.
    Calling {
        resend: Option<Backoff>,
        give_up_at: Instant,
    },
    Proceeding,
    /// Timer D is `ends_at`.
    Completed {
        ends_at: Instant,
    },
    /// Timer M is `ends_at`.
    Accepted {
        ends_at: Instant,
    },
    Terminated,
}

impl ClientInvite {
    /// Begins with the INVITE that the owner sends now.
    #[must_use]
    pub fn new(request: Vec<u8>, reliable: bool, now: Instant) -> ClientInvite {
        // Timer A doubles without a limit of its own: timer B ends it (RFC 3261 section 17.1.1.2).
        let resend = (!reliable).then(|| Backoff::new(now, GIVE_UP));
        ClientInvite { state: State::Calling { resend, give_up_at: now + GIVE_UP }, reliable, request }
    }

    /// A response with `status` came.
    #[must_use]
    pub fn receive(&mut self, status: u16, now: Instant) -> Received {
        match self.state {
            State::Calling { .. } | State::Proceeding => self.first_answer(status, now),
            State::Completed { .. } if status >= 300 => Received::FinalAgain,
            State::Accepted { .. } if (200..300).contains(&status) => Received::FinalAgain,
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => Received::Stray,
        }
    }

    fn first_answer(&mut self, status: u16, now: Instant) -> Received {
        if status < 200 {
            self.state = State::Proceeding;
            return Received::Provisional;
        }
        self.state = if status < 300 {
            State::Accepted { ends_at: now + GIVE_UP }
        } else if self.reliable {
            State::Terminated
        } else {
            State::Completed { ends_at: now + TIMER_D }
        };
        Received::Final
    }

    /// Moves on what is due by `now`.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> Tick {
        match &mut self.state {
            State::Calling { give_up_at, .. } if now >= *give_up_at => {
                self.state = State::Terminated;
                Tick::GiveUp
            }
            State::Calling { resend, .. } => Tick::of(resend, now),
            State::Completed { ends_at } | State::Accepted { ends_at } if now >= *ends_at => {
                self.state = State::Terminated;
                Tick::Nothing
            }
            State::Proceeding | State::Completed { .. } | State::Accepted { .. } | State::Terminated => {
                Tick::Nothing
            }
        }
    }

    /// The next instant at which [`ClientInvite::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { resend: Some(resend), give_up_at } => Some(resend.at().min(*give_up_at)),
            State::Calling { resend: None, give_up_at } => Some(*give_up_at),
            State::Completed { ends_at } | State::Accepted { ends_at } => Some(*ends_at),
            State::Proceeding | State::Terminated => None,
        }
    }

    /// The INVITE: what [`Tick::Resend`] sends.
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
