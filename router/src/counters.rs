//! What the router counts.
//!
//! Decides the names `um_router_*`. A router keeps no calls, so a retransmission counts like the
//! request that it repeats.

use config::Code;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::metrics::{Label, Registry};

/// Counters of one router; clones count into the same place.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    received: Counter,
    redirected: Counter,
    rejected: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    dropped: Family<Label, Counter>,
}

/// What gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No SIP at all, or nothing that names a way back.
    Noise,
    /// Line ends that keep a path open (RFC 5626 section 3.5.1).
    KeepAlive,
    /// An ACK ends the transaction of a refusal, which is not kept.
    Ack,
    /// A router asks nothing, so nobody has to answer it.
    Response,
}

impl Counters {
    /// Publishes them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("um_router_calls_received", "INVITEs that arrived", self.received.clone());
        registry.register("um_router_calls_redirected", "INVITEs answered by 302", self.redirected.clone());
        registry.register("um_router_calls_rejected", "INVITEs refused, by code", self.rejected.clone());
        registry.register(
            "um_router_requests_refused",
            "Other requests refused, by code",
            self.refused.clone(),
        );
        registry.register("um_router_messages_dropped", "Messages without an answer", self.dropped.clone());
    }

    /// INVITEs that arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// INVITEs that were answered by 302.
    #[must_use]
    pub fn redirected(&self) -> u64 {
        self.redirected.get()
    }

    /// INVITEs that were refused with a code.
    #[must_use]
    pub fn rejected(&self, code: Code) -> u64 {
        self.rejected.get_or_create(&by(code)).get()
    }

    /// Other requests that were refused with a code.
    #[must_use]
    pub fn refused(&self, code: Code) -> u64 {
        self.refused.get_or_create(&by(code)).get()
    }

    /// Messages that got no answer.
    #[must_use]
    pub fn dropped(&self, what: Dropped) -> u64 {
        self.dropped.get_or_create(&what.label()).get()
    }

    pub(crate) fn count_received(&self) {
        self.received.inc();
    }

    pub(crate) fn count_redirected(&self) {
        self.redirected.inc();
    }

    pub(crate) fn count_refused(&self, is_call: bool, code: Code) {
        let family = if is_call { &self.rejected } else { &self.refused };
        family.get_or_create(&by(code)).inc();
    }

    pub(crate) fn count_dropped(&self, what: Dropped) {
        self.dropped.get_or_create(&what.label()).inc();
    }
}

impl Dropped {
    const fn label(self) -> Label {
        let what = match self {
            Dropped::Noise => "noise",
            Dropped::KeepAlive => "keep_alive",
            Dropped::Ack => "ack",
            Dropped::Response => "response",
        };
        [("what", what)]
    }
}

const fn by(code: Code) -> Label {
    [("code", code.id())]
}
