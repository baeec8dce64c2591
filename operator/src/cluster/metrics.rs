//! The figures of the operator, for Prometheus.
//!
//! Decides names and units. Refuses to know where the figures come from.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::health::{Figures, Health};

/// Publishes what the operator does at the moment of asking.
pub(super) fn publish(health: &Arc<Health>, registry: &mut Registry) {
    let health = Arc::clone(health);
    registry.register_collector(Box::new(Metrics(move || health.figures())));
}

struct Metrics<F>(F);

impl<F> fmt::Debug for Metrics<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl<F: Fn() -> Figures + Send + Sync + 'static> Collector for Metrics<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let figures = (self.0)();
        for (name, help, value) in [
            ("um_operator_leads", "Whether it holds the Lease and works: 1 or 0", u64::from(figures.leads)),
            ("um_operator_ready", "Whether it can do its work: 1 or 0", u64::from(figures.is_ready)),
            ("um_operator_problems", "What is wrong with objects now", figures.problems),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for (name, help, value) in [
            ("um_operator_rounds", "Times that a namespace was looked at", figures.rounds),
            ("um_operator_writes", "What was written to the API server", figures.writes),
            ("um_operator_writes_refused", "What could not be written and is tried again", figures.refused),
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

    use super::*;

    #[test]
    fn every_figure_has_its_name() {
        let health = Arc::new(Health::default());
        let mut registry = Registry::default();
        publish(&health, &mut registry);
        let values = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let values = text.lines().filter(|line| !line.starts_with('#'));
            values.map(|line| line.trim_start_matches("um_operator_").to_owned()).collect::<Vec<_>>()
        };
        let nothing = [
            "leads 0",
            "ready 0",
            "problems 0",
            "rounds_total 0",
            "writes_total 0",
            "writes_refused_total 0",
        ];
        assert_eq!(values(), nothing);
        health.stand_by(true);
        assert_eq!(values()[..2], ["leads 0", "ready 1"]);
        health.stand_by(false);
        health.synced();
        (0..2).for_each(|_| health.count_round());
        (0..3).for_each(|_| health.count_write(true));
        health.count_write(false);
        health.count_problems(5);
        let busy = [
            "leads 1",
            "ready 1",
            "problems 5",
            "rounds_total 2",
            "writes_total 3",
            "writes_refused_total 1",
        ];
        assert_eq!(values(), busy);
    }
}
