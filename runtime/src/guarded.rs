//! A core, behind what catches its panics.
//!
//! Decides that a core which panics is replaced while its worker's sockets and connections, and all
//! other workers, go on. Refuses to know what a core does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{Lost, ServeMetrics};
use crate::outbox::Outbox;
use crate::serve::{Core, Now, WorkerPlace};

/// If no core can be made, the next try is after this.
const REMAKE_AFTER: Duration = Duration::from_secs(1);

/// Makes the core of a worker.
pub(crate) type Make<C> = dyn Fn(WorkerPlace) -> C + Send + Sync;

/// A core, behind what catches its panics.
pub(crate) struct Guarded<C: Core> {
    place: WorkerPlace,
    name: &'static str,
    make: Arc<Make<C>>,
    core: Option<C>,
    remake_at: Option<Instant>,
    pub(crate) outbox: Outbox,
    metrics: ServeMetrics,
}

impl<C: Core> Guarded<C> {
    /// One with its first core.
    pub(crate) fn new(
        place: WorkerPlace,
        name: &'static str,
        make: Arc<Make<C>>,
        metrics: ServeMetrics,
    ) -> Self {
        let outbox = Outbox::new();
        let mut guarded = Guarded { place, name, make, core: None, remake_at: None, outbox, metrics };
        guarded.remake();
        guarded
    }

    /// Lets the core work; a panic replaces it.
    pub(crate) fn with(&mut self, work: impl FnOnce(&mut C, &mut Outbox)) {
        let Guarded { core, outbox, .. } = self;
        let Some(core) = core.as_mut() else {
            self.metrics.count_lost(Lost::NoCore);
            return;
        };
        let before = outbox.mark();
        if catch_unwind(AssertUnwindSafe(|| work(core, outbox))).is_err() {
            // What the core wanted to send half-way through is not to be trusted.
            outbox.forget_since(before);
            self.restart();
        }
    }

    /// The deadline has passed: the core is told, or made again.
    pub(crate) fn handle_timeout(&mut self) {
        if self.core.is_none() {
            self.remake();
            return;
        }
        let now = Now::read();
        self.with(|core, out| core.handle_timeout(now, out));
    }

    /// When [`Guarded::handle_timeout`] is due.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        match &self.core {
            None => self.remake_at,
            Some(core) => match catch_unwind(AssertUnwindSafe(|| core.deadline())) {
                Ok(deadline) => deadline,
                Err(_) => {
                    self.restart();
                    self.remake_at
                }
            },
        }
    }

    fn restart(&mut self) {
        self.metrics.count_restart();
        tracing::error!(
            code = "UM1208",
            server = self.name,
            worker = self.place.index,
            "a worker failed and is restarted; what it was doing is lost, the other workers go on"
        );
        let broken = self.core.take();
        if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
            tracing::error!(
                server = self.name,
                worker = self.place.index,
                "the failed core also failed to end"
            );
        }
        self.remake();
    }

    fn remake(&mut self) {
        let (make, place) = (&self.make, self.place);
        self.core = catch_unwind(AssertUnwindSafe(|| make(place))).ok();
        self.remake_at = match self.core {
            Some(_) => None,
            None => Some(Instant::now() + REMAKE_AFTER),
        };
    }
}
