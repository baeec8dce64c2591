//! The server's side of any request but INVITE and ACK (RFC 3261 section 17.2.2).
//!
//! Decides what answers a request that comes again. Refuses to know methods and meaning.
//!
//! ```text
//!              request
//!                 |
//!                 v
//!            +--------+  request: absorb
//!            | Trying |
//!            +--------+
//!         1xx: |    | 200-699: send
//!         send v    |
//!    +------------+ |  request: send the 1xx again
//!    | Proceeding | |
//!    +------------+ |
//!   200-699:   |    |
//!      send    v    v
//!           +-----------+  request: send the response again
//!           | Completed |
//!           +-----------+
//!                 | J
//!                 v
//!           +------------+
//!           | Terminated |
//!           +------------+
//! ```

use std::time::Instant;

use super::GIVE_UP;

/// One transaction of a server that is not an INVITE's.
#[derive(Debug)]
pub struct ServerOther {
    state: State,
    reliable: bool,
    response: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Trying,
    Proceeding,
    /// Timer J is `ends_at`.
    Completed {
        ends_at: Instant,
    },
    Terminated,
}

impl ServerOther {
    /// Begins with a request that waits for its response.
    #[must_use]
    pub fn new(reliable: bool) -> ServerOther {
        ServerOther { state: State::Trying, reliable, response: Vec::new() }
    }

    /// Takes a 1xx, which the owner sends now. `false` once a final response was given.
    #[must_use]
    pub fn provisional(&mut self, response: Vec<u8>) -> bool {
        let open = self.is_open();
        if open {
            self.response = response;
            self.state = State::Proceeding;
        }
        open
    }

    /// Takes the final response, which the owner sends now. `false` once one was given. On a
    /// reliable transport nothing comes again, and the transaction is over (timer J is zero).
    #[must_use]
    pub fn respond(&mut self, response: Vec<u8>, now: Instant) -> bool {
        let open = self.is_open();
        if open {
            self.response = response;
            self.state =
                if self.reliable { State::Terminated } else { State::Completed { ends_at: now + GIVE_UP } };
        }
        open
    }

    /// The request came again: what answers it, if anything.
    #[must_use]
    pub fn request_again(&self) -> Option<&[u8]> {
        match self.state {
            State::Proceeding | State::Completed { .. } => Some(&self.response),
            State::Trying | State::Terminated => None,
        }
    }

    /// Moves on what is due by `now`. There is never anything to send.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Completed { ends_at } if now >= ends_at => self.state = State::Terminated,
            State::Trying | State::Proceeding | State::Completed { .. } | State::Terminated => {}
        }
    }

    /// The next instant at which [`ServerOther::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Completed { ends_at } => Some(ends_at),
            State::Trying | State::Proceeding | State::Terminated => None,
        }
    }

    /// Whether the owner may forget this transaction.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }
}
