//! What waits to be written to one connection.
//!
//! Decides that it is kept as bytes in a row, so that all of it leaves in one write, and how much may
//! wait: a reader that falls behind loses messages. Any worker may add to it; one connection takes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::held::Share;
use crate::metrics::Closed;

/// The queue.
#[derive(Debug)]
pub(crate) struct Outgoing {
    waiting: Mutex<Waiting>,
    /// Whether it is worth a look: most connections are only ever answered by what reads them.
    any: AtomicBool,
    news: Notify,
}

/// Messages in a row.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: u64,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    /// All bytes that wait, those in write among them.
    held: Share,
    /// Bytes that were taken and are being written.
    in_write: usize,
    ended: bool,
}

impl Outgoing {
    /// An empty one; what waits is held by the share.
    pub(crate) fn new(held: Share) -> Self {
        let waiting = Waiting { batch: Batch::default(), held, in_write: 0, ended: false };
        Outgoing { waiting: Mutex::new(waiting), any: AtomicBool::new(false), news: Notify::new() }
    }

    /// Adds a message; false if it does not fit below `most` bytes, or into what all connections may hold, or
    /// nobody will take it.
    pub(crate) fn push(&self, bytes: &[u8], most: usize) -> bool {
        let mut waiting = self.lock();
        let after = waiting.batch.bytes.len() + waiting.in_write + bytes.len();
        if after > most || waiting.ended || !waiting.held.resize(after) {
            return false;
        }
        waiting.batch.bytes.extend_from_slice(bytes);
        waiting.batch.messages += 1;
        self.any.store(true, Ordering::Release);
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// What waits is held by another share from now on, if it is large enough.
    pub(crate) fn hold(&self, mut held: Share) {
        let mut waiting = self.lock();
        if held.resize(waiting.batch.bytes.len() + waiting.in_write) {
            waiting.held = held;
        }
    }

    /// Nothing will be added any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.any.store(true, Ordering::Release);
        self.news.notify_one();
    }

    /// All that waits, once anything does; `None` if nothing does and nothing will.
    pub(crate) async fn take(&self) -> Option<Batch> {
        loop {
            if self.any.load(Ordering::Acquire) {
                let mut waiting = self.lock();
                if waiting.batch.messages > 0 {
                    waiting.in_write = waiting.batch.bytes.len();
                    return Some(std::mem::take(&mut waiting.batch));
                }
                if waiting.ended {
                    return None;
                }
                self.any.store(false, Ordering::Release);
            }
            self.news.notified().await;
        }
    }

    /// What was taken has been written.
    pub(crate) fn written(&self) {
        let mut waiting = self.lock();
        waiting.in_write = 0;
        let left = waiting.batch.bytes.len();
        waiting.held.shrink(left);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it in time, or says that the far end is too slow; `Err(None)` if it has gone.
pub(crate) async fn write<S>(stream: &mut S, bytes: &[u8], patience: Duration) -> Result<(), Option<Closed>>
where
    S: AsyncWrite + Unpin,
{
    let mut all = pin!(async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    // Most are written at once, and need no clock.
    let written = match poll_fn(|context| Poll::Ready(all.as_mut().poll(context))).await {
        Poll::Ready(written) => Ok(written),
        Poll::Pending => timeout(patience, all).await,
    };
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Closed::SlowReader)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::held::Pool;

    fn outgoing() -> Outgoing {
        Outgoing::new(Arc::new(Pool::new(7)).share())
    }

    #[tokio::test]
    async fn what_waits_leaves_together_and_what_is_written_counts_until_it_is() {
        let outgoing = outgoing();
        assert!(outgoing.push(b"one", 6));
        assert!(outgoing.push(b"two", 6));
        assert!(!outgoing.push(b"3", 6));
        let batch = outgoing.take().await.unwrap();
        assert_eq!((batch.bytes.as_slice(), batch.messages), (&b"onetwo"[..], 2));
        assert!(!outgoing.push(b"3", 6));
        outgoing.written();
        assert!(outgoing.push(b"3", 6));
    }

    #[tokio::test]
    async fn what_all_may_hold_is_held_until_it_is_written() {
        let outgoing = outgoing();
        assert!(outgoing.push(b"1234567", 100));
        assert!(!outgoing.push(b"8", 100));
        drop(outgoing.take().await);
        assert!(!outgoing.push(b"8", 100));
        outgoing.written();
        assert!(outgoing.push(b"8", 100));
    }

    #[tokio::test]
    async fn what_waits_moves_to_another_share() {
        let outgoing = outgoing();
        assert!(outgoing.push(b"1234567", 100));
        outgoing.hold(Arc::new(Pool::new(6)).share());
        assert!(!outgoing.push(b"8", 100));
        outgoing.hold(Arc::new(Pool::new(8)).share());
        assert!(outgoing.push(b"8", 100));
        assert!(!outgoing.push(b"9", 100));
    }

    #[tokio::test]
    async fn at_the_end_what_waits_is_still_taken_and_nothing_is_added() {
        let outgoing = outgoing();
        assert!(outgoing.push(b"last", 100));
        outgoing.end();
        assert!(!outgoing.push(b"more", 100));
        assert_eq!(outgoing.take().await.unwrap().bytes, b"last");
        assert!(outgoing.take().await.is_none());
    }
}
