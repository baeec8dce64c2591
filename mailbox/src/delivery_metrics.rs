//! The figures of storage and delivery, for Prometheus.
//!
//! Decides names and units. Refuses to know where the figures come from.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::delivery::DeliveryStatus;
use crate::spool_writer::SpoolHealth;

/// Publishes whatever `read` gives at the moment of asking.
pub(crate) struct DeliveryMetrics<F>(pub(crate) F);

impl<F> fmt::Debug for DeliveryMetrics<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeliveryMetrics")
    }
}

impl<F: Fn() -> DeliveryStatus + Send + Sync + 'static> Collector for DeliveryMetrics<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = (self.0)();
        let is_ready = u64::from(status.spool == SpoolHealth::Ready);
        let store_is_ready = u64::from(status.store_trouble.is_none());
        for (name, help, value) in [
            (
                "um_spool_recordings_open",
                "Recordings that have begun and not ended",
                status.recordings_open as u64,
            ),
            ("um_spool_ready", "Whether recordings can be stored: 1 or 0", is_ready),
            ("um_store_ready", "Whether the message store can be used: 1 or 0 (UM1209)", store_is_ready),
            ("um_outbox_messages", "Messages that wait for delivery", status.outbox_len as u64),
            (
                "um_outbox_oldest_seconds",
                "Age of the oldest waiting message",
                status.oldest_age_s.unwrap_or(0),
            ),
            ("um_outbox_refused_messages", "Messages refused for good and kept (UM1202)", status.refused_len),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for (name, help, value) in [
            ("um_messages_delivered", "Messages delivered", status.delivered),
            ("um_messages_deferred", "Attempts that failed and were put off (UM1201)", status.deferred),
            (
                "um_messages_recovered",
                "Recordings cut short by a crash and recovered (UM1206)",
                status.recovered,
            ),
            ("um_spool_syncs", "Syncs of the journal", status.syncs),
            ("um_spool_frames_dropped", "Audio frames that found no room", status.frames_dropped),
            ("um_spool_commands_refused", "Commands that found the queue full", status.commands_refused),
            (
                "um_store_failures",
                "Requests to the message store that failed (UM1209)",
                status.store_failures,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn every_figure_is_published_under_its_name() {
        let read = || DeliveryStatus {
            recordings_open: 1,
            outbox_len: 2,
            oldest_age_s: Some(3),
            refused_len: 4,
            delivered: 5,
            deferred: 6,
            recovered: 7,
            syncs: 8,
            frames_dropped: 9,
            commands_refused: 10,
            spool: SpoolHealth::Ready,
            store_trouble: Some("the message store cannot be reached".into()),
            store_failures: 11,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(DeliveryMetrics(read)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "um_spool_recordings_open 1",
                "um_spool_ready 1",
                "um_store_ready 0",
                "um_outbox_messages 2",
                "um_outbox_oldest_seconds 3",
                "um_outbox_refused_messages 4",
                "um_messages_delivered_total 5",
                "um_messages_deferred_total 6",
                "um_messages_recovered_total 7",
                "um_spool_syncs_total 8",
                "um_spool_frames_dropped_total 9",
                "um_spool_commands_refused_total 10",
                "um_store_failures_total 11",
            ]
        );
    }
}
