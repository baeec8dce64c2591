//! The Lease by which one operator at a time works.
//!
//! Decides when it may be taken and when it is lost. Losing it ends the work at once, because two
//! operators that both think they are the only one would undo each other's writes. Clocks of other
//! machines are not believed: a Lease is free when it has not changed for its duration by our own.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::connect::Mandate;
use super::health::Health;

/// The name of the Lease.
const NAME: &str = "umbriel-operator";

/// Who does not renew for this long has lost it, seconds.
const DURATION_S: i32 = 15;

/// The same as a duration.
const DURATION: Duration = Duration::from_secs(15);

/// Who could not renew for this long ends: 5 s before anybody else may begin.
const RENEW_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two renewals, and between two looks at somebody else's.
const PAUSE: Duration = Duration::from_secs(2);

/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_millis(500);

/// A request to the API server may take this long: there is time for three until the limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);

/// `409 Conflict`.
const CONFLICT: u16 = 409;

/// What the Lease is called where trouble is told.
const LEASE: &str = "Lease";

/// The Lease was lost.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the Lease could not be renewed for {} s; another operator may work now", RENEW_LIMIT.as_secs())]
pub struct Lost;

/// A Lease that is held.
pub(super) struct Held {
    api: Api<Lease>,
    identity: String,
    mandate: Mandate,
}

/// Waits until the Lease is ours.
pub(super) async fn acquire(client: &Client, namespace: &str, identity: &str, health: &Health) -> Held {
    let mandate = Mandate::until(Instant::now());
    let held = Held { api: Api::namespaced(client.clone(), namespace), identity: identity.into(), mandate };
    let mut seen = None;
    loop {
        health.turn();
        let begun = Instant::now();
        match held.attempt(&mut seen, REQUEST_LIMIT).await {
            Ok(ours) => {
                health.well(LEASE);
                if ours {
                    tracing::info!(identity, "the Lease is ours");
                    held.mandate.extend(begun + RENEW_LIMIT);
                    return held;
                }
            }
            Err(error) => health.trouble(LEASE, &format!("cannot be taken: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Held {
    /// Until when it is sure that nobody else holds it.
    pub(super) fn mandate(&self) -> &Mandate {
        &self.mandate
    }

    /// Renews the Lease until that is no longer possible.
    pub(super) async fn keep(&self, health: &Health) -> Lost {
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = PAUSE;
            let begun = Instant::now();
            // Also after a pause of the whole process, whatever the Lease says now.
            let left = self.mandate.end().saturating_duration_since(begun);
            if left.is_zero() {
                return Lost;
            }
            // Between two attempts nobody else may have had it.
            match self.attempt(&mut None, left.min(REQUEST_LIMIT)).await {
                Ok(true) => {
                    self.mandate.extend(begun + RENEW_LIMIT);
                    health.well(LEASE);
                }
                Ok(false) => return Lost,
                Err(error) => {
                    health.trouble(LEASE, &format!("cannot be renewed: {error}"));
                    pause = RETRY;
                }
            }
        }
    }

    /// Gives the Lease back. If that fails, it runs out by itself.
    pub(super) async fn release(&self) {
        let release = async {
            let mut lease = self.api.get(NAME).await?;
            if let Some(spec) = lease.spec.as_mut().filter(|spec| self.holds(spec)) {
                spec.holder_identity = Some(String::new());
                self.api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(REQUEST_LIMIT, release).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be given back; it runs out"),
        }
    }

    fn holds(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(self.identity.as_str())
    }

    /// Takes or renews the Lease; false if it is somebody else's. `seen` is what was seen of it, and
    /// since when.
    async fn attempt(
        &self,
        seen: &mut Option<(String, Instant)>,
        limit: Duration,
    ) -> Result<bool, kube::Error> {
        let Ok(done) = tokio::time::timeout(limit, self.request(seen)).await else {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(kube::Error::Service(Box::new(late)));
        };
        match done {
            // Somebody was faster.
            Err(kube::Error::Api(answer)) if answer.code == CONFLICT => Ok(false),
            other => other,
        }
    }

    async fn request(&self, seen: &mut Option<(String, Instant)>) -> Result<bool, kube::Error> {
        let params = PostParams::default();
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let spec = Some(self.claim(None));
            self.api.create(&params, &Lease { metadata, spec }).await?;
            return Ok(true);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let now = Instant::now();
        let since = match seen {
            Some((before, since)) if *before == version => *since,
            Some(_) | None => now,
        };
        *seen = Some((version, since));
        if !is_free(lease.spec.as_ref(), &self.identity, now.duration_since(since)) {
            return Ok(false);
        }
        lease.spec = Some(self.claim(lease.spec.take()));
        // Its version makes sure that it is the Lease which was looked at.
        self.api.replace(NAME, &params, &lease).await?;
        Ok(true)
    }

    fn claim(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.unwrap_or_default();
        let ours = self.holds(&before);
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION_S),
            acquire_time: before.acquire_time.filter(|_| ours).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

/// Whether a Lease may be taken by `identity` that has not changed for `unchanged`.
fn is_free(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> bool {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    holder.is_empty() || holder == identity || unchanged >= DURATION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_when_nobody_holds_or_renews_it() {
        let of = |holder: &str| LeaseSpec { holder_identity: Some(holder.into()), ..LeaseSpec::default() };
        let second = Duration::from_secs(1);
        assert!(is_free(None, "a", Duration::ZERO));
        assert!(is_free(Some(&of("")), "a", Duration::ZERO));
        assert!(is_free(Some(&of("a")), "a", Duration::ZERO));
        assert!(!is_free(Some(&of("b")), "a", Duration::ZERO));
        assert!(!is_free(Some(&of("b")), "a", 14 * second));
        assert!(is_free(Some(&of("b")), "a", 15 * second));
    }
}
