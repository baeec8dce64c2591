//! What the mailbox server counts, and the one line that each call leaves in the log.
//!
//! Decides names and labels. Refuses to know when anything happens.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::log::Number;
use runtime::metrics::{Label, Registry};

use crate::admission::Refused;
use crate::call::{Ending, Outcome};
use crate::call_facts::CallFacts;
use crate::surroundings::CallSlots;

/// Counters of calls and their media; clones count into the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallMetrics {
    slots: CallSlots,
    ended: Family<Label, Counter>,
    rejected: Family<Label, Counter>,
    lost: Counter,
    dropped: Family<Label, Counter>,
}

impl CallMetrics {
    /// Publishes them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("um_calls_active", "Calls that are being conducted", self.slots.gauge());
        registry.register("um_calls", "Calls that were taken and have ended", self.ended.clone());
        registry.register("um_service_calls_rejected", "Calls that were refused", self.rejected.clone());
        registry.register("um_media_packets_lost", "Media packets that never arrived", self.lost.clone());
        registry.register(
            "um_media_packets_dropped",
            "Media packets that arrived and were not used",
            self.dropped.clone(),
        );
    }

    /// The calls of all workers.
    pub(crate) fn slots(&self) -> &CallSlots {
        &self.slots
    }

    /// Counts and logs a call that was refused.
    pub(crate) fn refused(&self, refused: &Refused, call_id: &str, called: &str) {
        self.rejected.get_or_create(&[("code", refused.code.id())]).inc();
        tracing::info!(
            target: "umbriel::call",
            event = "refused",
            call_id,
            code = refused.code.id(),
            to = %Number(called),
            reason = refused.log_text,
            "call refused"
        );
    }

    /// Counts media that came from an address of no call.
    pub(crate) fn stranger(&self) {
        self.dropped.get_or_create(&[("reason", "no_call")]).inc();
    }

    /// Counts and logs a call that is over.
    pub(crate) fn ended(&self, facts: &CallFacts, ending: Ending, outcome: Outcome, age: Duration) {
        let result = if outcome.recorded { "recorded" } else { name(ending).1 };
        self.ended.get_or_create(&[("result", result)]).inc();
        let packets = outcome.packets;
        self.lost.inc_by(packets.lost);
        for (reason, count) in
            [("late", packets.late), ("duplicate", packets.duplicate), ("strange", packets.strange)]
        {
            self.dropped.get_or_create(&[("reason", reason)]).inc_by(count);
        }
        tracing::info!(
            target: "umbriel::call",
            event = if outcome.recorded { "recorded" } else { "ended" },
            call_id = facts.call_id,
            message_id = %facts.id,
            mailbox = facts.mailbox,
            gateway = facts.gateway,
            from = %Number(facts.caller.number.as_deref().unwrap_or_default()),
            to = %Number(&facts.extension),
            seconds = tenths(age),
            ended_by = name(ending).0,
            lost = packets.lost,
            "call ended"
        );
    }

    /// How often calls were refused with this code.
    #[cfg(test)]
    pub(crate) fn rejected_with(&self, code: config::Code) -> u64 {
        self.rejected.get_or_create(&[("code", code.id())]).get()
    }

    /// How many calls ended with this result.
    #[cfg(test)]
    pub(crate) fn ended_with(&self, result: &'static str) -> u64 {
        self.ended.get_or_create(&[("result", result)]).get()
    }

    /// How many packets were dropped for this reason.
    #[cfg(test)]
    pub(crate) fn dropped_as(&self, reason: &'static str) -> u64 {
        self.dropped.get_or_create(&[("reason", reason)]).get()
    }
}

/// What ended a call, and the result of one from which no message came.
const fn name(ending: Ending) -> (&'static str, &'static str) {
    match ending {
        Ending::Hangup => ("hangup", "empty"),
        Ending::Key => ("key", "empty"),
        Ending::Silence => ("silence", "empty"),
        Ending::Limit => ("limit", "empty"),
        Ending::Shutdown => ("shutdown", "empty"),
        Ending::Storage => ("storage", "failed"),
        Ending::Media => ("media", "failed"),
        Ending::Unacknowledged => ("unacknowledged", "failed"),
        Ending::Cancelled => ("cancelled", "cancelled"),
    }
}

/// Seconds with one decimal.
fn tenths(age: Duration) -> f64 {
    (age.as_secs_f64() * 10.0).round() / 10.0
}
