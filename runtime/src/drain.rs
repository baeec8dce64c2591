//! How a process ends: one [`Signal`], any number of [`Watch`]es, and [`Hold`]s for work in progress.
//!
//! Decides that the first `SIGTERM` or `SIGINT` asks to drain and the second ends the process at
//! once. Refuses to know what draining means for a server: it takes no new work, finishes what it
//! has, and lets go of its holds.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

/// Begins the drain, and sees when it has ended.
#[derive(Debug)]
pub struct Signal {
    shared: Arc<Shared>,
}

/// Sees the drain begin.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

/// Work in progress: the drain has not ended while one exists.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    holds: usize,
}

/// A signal and the watch of it.
#[must_use]
pub fn channel() -> (Signal, Watch) {
    let shared = Arc::new(Shared::default());
    (Signal { shared: Arc::clone(&shared) }, Watch { shared })
}

/// A watch that begins to drain at the first `SIGTERM` or `SIGINT`. The second ends the process
/// with status 128 plus the signal's number, as a shell would show it.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals() -> io::Result<Watch> {
    let (drain, watch) = channel();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = executor.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        executor.block_on(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => SignalKind::terminate(),
                    _ = interrupt.recv() => SignalKind::interrupt(),
                }
            };
            next().await;
            drain.begin();
            let second = next().await;
            std::process::exit(128 + second.as_raw_value());
        });
    })?;
    Ok(watch)
}

impl Signal {
    /// Begins the drain; everyone who waits for it goes on.
    pub fn begin(&self) {
        self.shared.lock().draining = true;
        self.shared.changed.notify_all();
    }

    /// Waits until no hold is left; false if some still are after `timeout`.
    #[must_use]
    pub fn wait_released(&self, timeout: Duration) -> bool {
        self.shared.wait(Some(timeout), |state| state.holds == 0)
    }
}

impl Watch {
    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.lock().draining
    }

    /// Waits until the drain begins.
    pub fn wait(&self) {
        self.shared.wait(None, |state| state.draining);
    }

    /// Waits until the drain begins; false if it has not after `timeout`.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(Some(timeout), |state| state.draining)
    }

    /// Says that there is work in progress.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.shared.lock().holds += 1;
        Hold { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().holds -= 1;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, timeout: Option<Duration>, done: impl Fn(&State) -> bool) -> bool {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.lock();
        while !done(&state) {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_who_waits_goes_on_when_the_drain_begins() {
        let (signal, watch) = channel();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let watch = watch.clone();
                std::thread::spawn(move || watch.wait())
            })
            .collect();
        assert!(!watch.is_draining());
        assert!(!watch.wait_timeout(Duration::ZERO));
        signal.begin();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(watch.is_draining());
    }

    #[test]
    fn the_drain_ends_with_the_last_hold() {
        let (signal, watch) = channel();
        let (first, second) = (watch.hold(), watch.hold());
        signal.begin();
        drop(first);
        assert!(!signal.wait_released(Duration::ZERO));
        drop(second);
        assert!(signal.wait_released(Duration::ZERO));
    }

    #[test]
    fn a_termination_signal_begins_the_drain() {
        let watch = on_signals().unwrap();
        let status = std::process::Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        assert!(watch.wait_timeout(Duration::from_secs(10)));
    }
}
