//! [`Events`]: what people are told, as events of the cluster.
//!
//! Decides how many are told: a cluster that comes up anew has news of every object, and nobody reads
//! them all. What is beyond the budget is counted in the log. Events are told once and not again; the
//! conditions are what stays. Refuses to know what is news; that is the plan's.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::FIELD_MANAGER;
use super::objects::{Objects, Source};
use crate::events::Event;
use crds::{GROUP, Kind, VERSION};

/// So many may be told at once.
const BURST: u32 = 100;

/// One more may be told after this time.
const PAUSE: Duration = Duration::from_secs(1);

/// The API server takes notes of 1 KiB.
const MAX_NOTE_BYTES: usize = 1_024;

/// An event is named after its object, with the time behind it: 253 characters in all.
const MAX_HEAD_CHARS: usize = 230;

/// Tells people what turned.
#[derive(Debug)]
pub(super) struct Events {
    /// Who says so.
    identity: String,
    left: u32,
    /// Until when what is left was counted.
    counted: Instant,
}

impl Events {
    pub(super) fn new(identity: &str, now: Instant) -> Events {
        Events { identity: identity.into(), left: BURST, counted: now }
    }

    /// Tells `events`, as far as the budget goes; nobody waits for it.
    pub(super) fn tell(&mut self, client: &Client, objects: &Objects, events: &[Event], now: Instant) {
        let told = self.budget(events.len(), now);
        if told < events.len() {
            tracing::warn!(left_out = events.len() - told, "more turned than can be told as events");
        }
        let time = jiff::Timestamp::now();
        let told: Vec<v1::Event> = events
            .iter()
            .take(told)
            .enumerate()
            .filter_map(|(index, event)| self.manifest(objects, event, time, index))
            .collect();
        if told.is_empty() {
            return;
        }
        let client = client.clone();
        tokio::spawn(async move {
            let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
            for event in told {
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                let events: Api<v1::Event> = Api::namespaced(client.clone(), &namespace);
                if let Err(error) = events.create(&params, &event).await {
                    tracing::warn!(namespace, %error, "an event cannot be told");
                    return;
                }
            }
        });
    }

    /// How many of `count` may be told.
    fn budget(&mut self, count: usize, now: Instant) -> usize {
        let pauses = now.duration_since(self.counted).as_millis() / PAUSE.as_millis();
        let pauses = u32::try_from(pauses).unwrap_or(BURST).min(BURST);
        if pauses > 0 {
            self.left = self.left.saturating_add(pauses).min(BURST);
            self.counted = now;
        }
        let told = u32::try_from(count).unwrap_or(u32::MAX).min(self.left);
        self.left -= told;
        usize::try_from(told).unwrap_or(count)
    }

    fn manifest(
        &self,
        objects: &Objects,
        event: &Event,
        now: jiff::Timestamp,
        index: usize,
    ) -> Option<v1::Event> {
        let kind = Kind::of(&event.object.kind)?;
        let key = &event.object.key;
        let identity = objects.identity(Source::Kind(kind), key)?;
        let head: String = key.name.chars().take(MAX_HEAD_CHARS).collect();
        let name = format!("{head}.{:x}", now.as_microsecond() + i64::try_from(index).unwrap_or_default());
        Some(v1::Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(key.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(format!("{GROUP}/operator")),
            reporting_instance: Some(self.identity.clone()),
            action: Some("Reconcile".into()),
            reason: Some(event.reason.clone()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.into()),
            note: Some(cut(&event.note)),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{GROUP}/{VERSION}")),
                kind: Some(event.object.kind.clone()),
                namespace: Some(key.namespace.clone()),
                name: Some(key.name.clone()),
                uid: Some(identity.uid.into()),
                resource_version: identity.version.map(|version| version.to_string()),
                ..ObjectReference::default()
            }),
            ..v1::Event::default()
        })
    }
}

/// A note that is short enough.
fn cut(note: &str) -> String {
    if note.len() <= MAX_NOTE_BYTES {
        return note.into();
    }
    let end = note.floor_char_boundary(MAX_NOTE_BYTES - '…'.len_utf8());
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_at_once_and_in_the_long_run_is_limited() {
        let start = Instant::now();
        let mut events = Events::new("a", start);
        assert_eq!(events.budget(1, start), 1);
        assert_eq!(events.budget(100_000, start), 99);
        assert_eq!(events.budget(1, start + Duration::from_millis(999)), 0);
        assert_eq!(events.budget(5, start + Duration::from_secs(3)), 3);
        assert_eq!(events.budget(200, start + Duration::from_secs(3_600)), 100);
    }

    #[test]
    fn a_note_is_cut_between_two_letters() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(600);
        let cut = cut(&long);
        assert!(cut.len() <= 1_024 && cut.ends_with("ä…"), "{}", cut.len());
    }
}
