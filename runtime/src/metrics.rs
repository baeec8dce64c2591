//! Counters of the transports, and the few helpers that every room needs to publish its own.
//!
//! Decides the names `um_sip_*`, `um_media_*` and `um_worker_*`. Refuses to know what is counted
//! elsewhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::registry::Registry;
use sip::Transport;

use crate::certificate::{Fault, Own};
use crate::serve::Now;
use crate::tally::{self, By, Tally};

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
    /// There are as many connections of this peer as there may be.
    PeerCap,
    /// There are as many connections of peers that are not known as there may be.
    StrangerCap,
    /// It would hold more bytes than all connections may together.
    Memory,
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

/// Counters of one server's transports; clones count into the same place, as the same worker.
#[derive(Clone, Debug)]
pub struct ServeMetrics {
    /// What is counted with each message.
    tally: Tally,
    lost: Family<Label, Counter>,
    closed: Family<Label, Counter>,
    certificates: Family<Label, Counter>,
    /// Until when our own certificate is valid; none without one.
    not_after: Family<[(&'static str, &'static str); 0], Gauge>,
    /// When a certificate was last complained about, seconds since 1970-01-01T00:00:00Z.
    complained_unix_s: Arc<AtomicU64>,
    connections: Gauge,
    notes_lost: Counter,
    restarts: Counter,
}

/// Numbers of the counters in the tally: received and sent, each by transport, then media.
const RECEIVED: usize = 0;
const SENT: usize = 3;
const MEDIA_RECEIVED: usize = 6;
const MEDIA_SENT: usize = 7;
const TALLIED: usize = 8;

const fn by_transport(first: usize, transport: Transport) -> usize {
    match transport {
        Transport::Udp => first,
        Transport::Tcp => first + 1,
        Transport::Tls => first + 2,
    }
}

impl Default for ServeMetrics {
    fn default() -> Self {
        ServeMetrics {
            tally: Tally::new(TALLIED),
            lost: Family::default(),
            closed: Family::default(),
            certificates: Family::default(),
            not_after: Family::default(),
            complained_unix_s: Arc::default(),
            connections: Gauge::default(),
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
        self.tally.register(registry, families());
        registry.register("um_sip_messages_lost", "SIP messages that were not handed on", self.lost.clone());
        registry.register("um_sip_connections_closed", "Connections that we closed", self.closed.clone());
        registry.register(
            "um_sip_certificates_refused",
            "TLS handshakes that failed by a certificate",
            self.certificates.clone(),
        );
        registry.register(
            "um_certificate_not_after_seconds",
            "Until when the certificate of this server is valid, seconds since 1970-01-01T00:00:00Z",
            self.not_after.clone(),
        );
        registry.register("um_sip_connections", "Connections that are open", self.connections.clone());
        let notes = self.notes_lost.clone();
        registry.register("um_worker_notes_lost", "Notes that a worker did not take", notes);
        registry.register(
            "um_worker_restarts",
            "Workers that failed and were restarted",
            self.restarts.clone(),
        );
    }

    /// These counters, as a worker counts them.
    #[must_use]
    pub(crate) fn of(&self, worker: usize) -> ServeMetrics {
        ServeMetrics { tally: self.tally.of(worker), ..self.clone() }
    }

    /// SIP messages that arrived by a transport.
    #[must_use]
    pub fn received(&self, transport: Transport) -> u64 {
        self.tally.sum(by_transport(RECEIVED, transport))
    }

    /// SIP messages that arrived by a transport at each worker.
    #[must_use]
    pub fn received_by_worker(&self, transport: Transport) -> Vec<u64> {
        self.tally.by_worker(by_transport(RECEIVED, transport)).map(|(_, count)| count).collect()
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

    pub(crate) fn add_received(&self, transport: Transport, messages: u64) {
        self.tally.add(by_transport(RECEIVED, transport), messages);
    }

    pub(crate) fn add_sent(&self, transport: Transport, messages: u64) {
        self.tally.add(by_transport(SENT, transport), messages);
    }

    pub(crate) fn count_lost(&self, why: Lost) {
        self.lost.get_or_create(&lost_label(why)).inc();
    }

    pub(crate) fn count_closed(&self, why: Closed) {
        self.closed.get_or_create(&closed_label(why)).inc();
    }

    /// Counts a handshake that failed by a certificate, and complains about one in a second: whoever does
    /// not get in tries again and again.
    pub(crate) fn count_certificate(&self, fault: Fault, peer: SocketAddr, why: &dyn std::error::Error) {
        self.certificates.get_or_create(&[("reason", fault.label())]).inc();
        let now_unix_s = Now::read().unix_ms / 1000;
        if self.complained_unix_s.swap(now_unix_s, Ordering::Relaxed) != now_unix_s {
            let event = "certificate_refused";
            tracing::warn!(event, code = fault.code(), %peer, "the TLS handshake failed: {why}");
        }
    }

    /// Says until when a certificate of ours is valid that is shown from now on, and complains if those
    /// who are told to call one of `hosts` will not accept it.
    pub fn show_certificate(&self, chain_pem: &str, hosts: &[String]) {
        let Ok(own) = Own::read(chain_pem) else { return };
        if let Some(not_after) = own.not_after_unix_s() {
            self.not_after.get_or_create(&[]).set(i64::try_from(not_after).unwrap_or(i64::MAX));
        }
        for (code, complaint) in own.complaints(hosts, Now::read().unix_ms / 1000) {
            tracing::warn!(code, "the certificate of this server {complaint}");
        }
    }

    pub(crate) fn count_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_media_received(&self) {
        self.tally.add(MEDIA_RECEIVED, 1);
    }

    pub(crate) fn count_media_sent(&self) {
        self.tally.add(MEDIA_SENT, 1);
    }

    pub(crate) fn count_note_lost(&self) {
        self.notes_lost.inc();
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.inc();
    }
}

fn families() -> Vec<tally::Family> {
    let transports = |first| {
        let each = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let counters = each.map(|transport| (transport.uri_parameter(), by_transport(first, transport)));
        By::Label("transport", counters.to_vec())
    };
    let family = |name, help, by| tally::Family { name, help, by };
    vec![
        family("um_sip_messages_received", "SIP messages that arrived", transports(RECEIVED)),
        family("um_sip_messages_sent", "SIP messages that were sent", transports(SENT)),
        family(
            "um_worker_messages_received",
            "SIP messages that arrived, by worker",
            By::Worker((RECEIVED..SENT).collect()),
        ),
        family("um_media_packets_received", "Media packets that arrived", By::Nothing(MEDIA_RECEIVED)),
        family("um_media_packets_sent", "Media packets that were sent", By::Nothing(MEDIA_SENT)),
    ]
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
        Closed::PeerCap => "peer_cap",
        Closed::StrangerCap => "stranger_cap",
        Closed::Memory => "memory",
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
        metrics.add_received(Transport::Udp, 1);
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
