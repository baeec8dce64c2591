//! How long the far end of a connection may be silent.
//!
//! Decides that from what the connection has said so far: nothing yet, whole messages, or a part of one.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::Limits;
use crate::metrics::Closed;

/// Until when the far end may be silent.
pub(crate) struct Patience {
    limits: Limits,
    until: Instant,
    /// Set anew when it is due, and where it must be due earlier: the end moves on with each read, and a timer that
    /// follows costs more than some of the reads.
    timer: Pin<Box<Sleep>>,
    has_spoken: bool,
    in_message: bool,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        let until = Instant::now() + limits.first_message_timeout;
        let timer = Box::pin(sleep_until(until));
        Patience { limits, until, timer, has_spoken: false, in_message: false }
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
        if self.until < self.timer.deadline() {
            self.timer.as_mut().reset(self.until);
        }
    }

    /// Waits until it is over, and says why.
    pub(crate) async fn lost(&mut self) -> Closed {
        self.timer.as_mut().await;
        while self.timer.deadline() < self.until {
            self.timer.as_mut().reset(self.until);
            self.timer.as_mut().await;
        }
        if self.in_message { Closed::SlowMessage } else { Closed::Idle }
    }
}
