//! How long the far end of a connection may be silent.
//!
//! Decides that from what the connection has said so far: nothing yet, whole messages, or a part of one.

use tokio::time::Instant;

use crate::limits::Limits;
use crate::metrics::Closed;

/// Until when the far end may be silent.
pub(crate) struct Patience {
    limits: Limits,
    pub(crate) until: Instant,
    has_spoken: bool,
    in_message: bool,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        let until = Instant::now() + limits.first_message_timeout;
        Patience { limits, until, has_spoken: false, in_message: false }
    }

    /// A message's time runs from its first byte, so that no drip of bytes can stretch it.
    pub(crate) fn after_read(&mut self, messages: usize, in_message: bool) {
        self.has_spoken |= messages > 0;
        if in_message && (messages > 0 || !self.in_message) {
            self.until = Instant::now() + self.limits.message_timeout;
        } else if !in_message && self.has_spoken {
            self.until = Instant::now() + self.limits.idle_timeout;
        }
        self.in_message = in_message;
    }

    pub(crate) fn lost(&self) -> Closed {
        if self.in_message { Closed::SlowMessage } else { Closed::Idle }
    }
}
