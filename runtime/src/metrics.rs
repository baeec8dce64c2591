//! Counters of the transports, and the few helpers that every room needs to publish its own.
//!
//! Decides the names `um_sip_*`, `um_media_*` and `um_worker_*`. Refuses to know what is counted
//! elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::registry::Registry;
use sip::Transport;

/// A registry that servers fill and the admin port reads.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// An empty registry.
#[must_use]
pub fn registry() -> SharedRegistry {
    Arc::new(Mutex::new(Registry::default()))
}

/// Opens a registry, also after a panic of someone who held it: counters are valid at any moment.
pub fn lock(registry: &SharedRegistry) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The registry as Prometheus text.
///
/// # Errors
/// When a metric cannot be written as text.
pub fn text(registry: &SharedRegistry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &lock(registry))?;
    Ok(text)
}

/// One label with its value.
pub type Label = [(&'static str, &'static str); 1];

/// Why a message was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The worker that it belongs to has a full queue.
    QueueFull,
    /// The socket did not take it.
    SendFailed,
    /// The connection that it should have left by is gone, and none could be opened.
    NoConnection,
    /// The far end reads more slowly than we write.
    PeerTooSlow,
    /// The worker has no core just now, because making one failed.
    NoCore,
    /// The core has no port to send it by.
    NoSocket,
}

/// Why a connection was closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// There are as many connections as there may be.
    Cap,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// A message was not complete in time.
    SlowMessage,
    /// Nothing came for too long.
    Idle,
    /// The far end reads more slowly than we write.
    SlowReader,
    /// What came is no SIP.
    Malformed,
}

/// Counters of one server's transports; clones count into the same place.
#[derive(Clone, Debug)]
pub struct ServeMetrics {
    received: PerTransport,
    sent: PerTransport,
    lost: Family<Label, Counter>,
    closed: Family<Label, Counter>,
    connections: Gauge,
    media_received: Counter,
    media_sent: Counter,
    notes_lost: Counter,
    restarts: Counter,
}

/// A counter for each transport, found once: these count every message.
#[derive(Clone, Debug)]
struct PerTransport {
    all: Family<Label, Counter>,
    udp: Counter,
    tcp: Counter,
    tls: Counter,
}

impl PerTransport {
    fn new() -> Self {
        let all: Family<Label, Counter> = Family::default();
        let one = |transport: Transport| all.get_or_create_owned(&[("transport", transport.uri_parameter())]);
        let (udp, tcp, tls) = (one(Transport::Udp), one(Transport::Tcp), one(Transport::Tls));
        PerTransport { all, udp, tcp, tls }
    }

    fn by(&self, transport: Transport) -> &Counter {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
            Transport::Tls => &self.tls,
        }
    }
}

impl Default for ServeMetrics {
    fn default() -> Self {
        ServeMetrics {
            received: PerTransport::new(),
            sent: PerTransport::new(),
            lost: Family::default(),
            closed: Family::default(),
            connections: Gauge::default(),
            media_received: Counter::default(),
            media_sent: Counter::default(),
            notes_lost: Counter::default(),
            restarts: Counter::default(),
        }
    }
}

impl ServeMetrics {
    /// Counters that nobody reads, as for a test.
    #[must_use]
    pub fn new() -> Self {
        ServeMetrics::default()
    }

    /// Publishes them with the label `server`.
    pub fn register(&self, registry: &mut Registry, server: &'static str) {
        let registry = registry.sub_registry_with_label(("server".into(), server.into()));
        registry.register("um_sip_messages_received", "SIP messages that arrived", self.received.all.clone());
        registry.register("um_sip_messages_sent", "SIP messages that were sent", self.sent.all.clone());
        registry.register("um_sip_messages_lost", "SIP messages that were not handed on", self.lost.clone());
        registry.register("um_sip_connections_closed", "Connections that we closed", self.closed.clone());
        registry.register("um_sip_connections", "Connections that are open", self.connections.clone());
        registry.register(
            "um_media_packets_received",
            "Media packets that arrived",
            self.media_received.clone(),
        );
        registry.register("um_media_packets_sent", "Media packets that were sent", self.media_sent.clone());
        let notes = self.notes_lost.clone();
        registry.register("um_worker_notes_lost", "Notes that a worker did not take", notes);
        registry.register(
            "um_worker_restarts",
            "Workers that failed and were restarted",
            self.restarts.clone(),
        );
    }

    /// SIP messages that arrived by a transport.
    #[must_use]
    pub fn received(&self, transport: Transport) -> u64 {
        self.received.by(transport).get()
    }

    /// How often a worker failed and was restarted.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.get()
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    pub(crate) fn count_received(&self, transport: Transport) {
        self.received.by(transport).inc();
    }

    pub(crate) fn count_sent(&self, transport: Transport) {
        self.sent.by(transport).inc();
    }

    pub(crate) fn count_lost(&self, why: Lost) {
        self.lost.get_or_create(&lost_label(why)).inc();
    }

    pub(crate) fn count_closed(&self, why: Closed) {
        self.closed.get_or_create(&closed_label(why)).inc();
    }

    pub(crate) fn count_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_media_received(&self) {
        self.media_received.inc();
    }

    pub(crate) fn count_media_sent(&self) {
        self.media_sent.inc();
    }

    pub(crate) fn count_note_lost(&self) {
        self.notes_lost.inc();
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.inc();
    }
}

fn lost_label(why: Lost) -> Label {
    let reason = match why {
        Lost::QueueFull => "queue_full",
        Lost::SendFailed => "send_failed",
        Lost::NoConnection => "no_connection",
        Lost::PeerTooSlow => "peer_too_slow",
        Lost::NoCore => "no_core",
        Lost::NoSocket => "no_socket",
    };
    [("reason", reason)]
}

fn closed_label(why: Closed) -> Label {
    let reason = match why {
        Closed::Cap => "cap",
        Closed::Handshake => "handshake",
        Closed::SlowMessage => "slow_message",
        Closed::Idle => "idle",
        Closed::SlowReader => "slow_reader",
        Closed::Malformed => "malformed",
    };
    [("reason", reason)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_published_with_the_server_that_counted() {
        let registry = registry();
        let metrics = ServeMetrics::new();
        metrics.register(&mut lock(&registry), "router");
        metrics.count_received(Transport::Udp);
        metrics.count_lost(Lost::QueueFull);
        let text = text(&registry).unwrap();
        assert!(
            text.contains("um_sip_messages_received_total{server=\"router\",transport=\"udp\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("um_sip_messages_lost_total{server=\"router\",reason=\"queue_full\"} 1"),
            "{text}"
        );
    }
}
