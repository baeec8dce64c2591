//! The shell that makes a Kubernetes cluster a world.
//!
//! Decides when a namespace is looked at again: soon after something in it changed, while a pod has
//! not said that it serves what it should, and in any case after the resync interval. Refuses to
//! know what a plan says; that is [`reconcile`]'s.
//!
//! ```text
//! watches -> Store -> World -> reconcile -> Plan -> server-side apply
//!              ^   pods say what they serve  |        |
//!              '--- nudges, answers ---------'--------'
//! ```

mod apply;
mod lease;
mod objects;
mod pods;
mod populate;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kube::Client;
use runtime::admin::Component;
use runtime::drain::Watch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::plan::Plan;
use crate::problem::Problem;
use crate::reconcile::reconcile;
use crate::token_key::NoChance;
use lease::Lost;
use objects::{Change, Objects};
use pods::Pods;

/// Who we are to the API server: the owner of the fields that we write.
const FIELD_MANAGER: &str = "umbriel-operator";

/// Changes that come within this time of each other are looked at together: a person who applies
/// a folder does not want a plan for each file of it.
const BURST_GAP: Duration = Duration::from_millis(20);

/// A burst without end is looked at all the same after this time.
const BURST_LIMIT: Duration = Duration::from_millis(200);

/// Changes that wait to be looked at; whoever watches waits for its turn beyond that.
const MAX_WAITING_CHANGES: usize = 1_024;

/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the servers' pods.
    pub image: String,
    /// The one namespace that is served; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// The name that this operator takes the Lease by.
    pub identity: String,
    /// How long it may take at most until everything is compared again.
    pub resync_interval: Duration,
}

/// Why the operator ends.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It cannot begin to run tasks.
    #[error("start the operator: {0}")]
    Start(std::io::Error),
    /// It does not know the cluster or may not talk to it.
    #[error("find the cluster: {0}")]
    Find(Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be sure any more to be the only one.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The system has no randomness for a key.
    #[error(transparent)]
    Chance(#[from] NoChance),
}

/// What the admin port says about the operator.
#[derive(Debug, Default)]
pub struct Health {
    stands_by: AtomicBool,
    synced: AtomicBool,
    rounds: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Component for Health {
    fn name(&self) -> &str {
        "operator"
    }

    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), String> {
        if self.stands_by.load(Ordering::Relaxed) || self.synced.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err("has not seen every object yet".into())
    }

    /// How many times a namespace was looked at.
    fn generation(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

/// Works until `drain` begins.
///
/// # Errors
/// [`ClusterError`], and then nothing is written any more.
pub fn run(settings: &Settings, health: &Health, drain: &Watch) -> Result<(), ClusterError> {
    let executor =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClusterError::Start)?;
    let outcome = executor.block_on(async {
        let client = Client::try_default().await.map_err(|error| ClusterError::Find(Box::new(error)))?;
        let drain = drain.clone();
        let ended = tokio::task::spawn_blocking(move || drain.wait());
        lead(settings, health, client, ended).await
    });
    // The thread that waits for the drain would hold the end up.
    executor.shutdown_background();
    outcome
}

/// Waits for the Lease, and works while it is held, until `ended` is.
async fn lead(
    settings: &Settings,
    health: &Health,
    client: Client,
    mut ended: JoinHandle<()>,
) -> Result<(), ClusterError> {
    health.stands_by.store(true, Ordering::Relaxed);
    let lease = tokio::select! {
        lease = lease::acquire(&client, &settings.lease_namespace, &settings.identity) => lease,
        _ = &mut ended => return Ok(()),
    };
    health.stands_by.store(false, Ordering::Relaxed);
    let mut shell = Shell::new(settings, health, client);
    tokio::select! {
        lost = lease.keep() => Err(lost.into()),
        failed = shell.work() => Err(failed),
        _ = ended => {
            // The next operator need not wait for it to run out.
            lease.release().await;
            Ok(())
        }
    }
}

/// What is known of the cluster, and who is told.
struct Shell<'a> {
    settings: &'a Settings,
    health: &'a Health,
    client: Client,
    objects: Objects,
    pods: Pods,
    /// Namespaces that changed since they were looked at.
    changed: BTreeSet<String>,
    /// Namespaces of which something could not be written, and when it is tried again.
    retry: BTreeMap<String, Instant>,
}

impl<'a> Shell<'a> {
    fn new(settings: &'a Settings, health: &'a Health, client: Client) -> Self {
        Shell {
            settings,
            health,
            client,
            objects: Objects::default(),
            pods: Pods::default(),
            changed: BTreeSet::new(),
            retry: BTreeMap::new(),
        }
    }

    /// Follows the cluster; ends only if it cannot go on.
    async fn work(&mut self) -> ClusterError {
        let (changes, mut coming) = mpsc::channel(MAX_WAITING_CHANGES);
        let _watches = watch::start(&self.client, self.settings.namespace.as_deref(), &changes);
        let mut resync_at = Instant::now() + self.settings.resync_interval;
        loop {
            let deadline = self.deadline().map_or(resync_at, |deadline| deadline.min(resync_at));
            tokio::select! {
                change = coming.recv() => self.take_burst(change, &mut coming).await,
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            if !self.objects.is_complete() {
                continue;
            }
            self.health.synced.store(true, Ordering::Relaxed);
            let now = Instant::now();
            if now >= resync_at {
                resync_at = now + self.settings.resync_interval;
                self.pods.forget();
                self.changed.extend(self.objects.namespaces());
            }
            let due = self.retry.extract_if(.., |_, at| *at <= now).map(|(namespace, _)| namespace);
            self.changed.extend(due);
            self.changed.extend(self.pods.due(now));
            for namespace in std::mem::take(&mut self.changed) {
                if let Err(error) = self.round(&namespace).await {
                    return error;
                }
            }
        }
    }

    /// When something is to be done even if nothing changes.
    fn deadline(&self) -> Option<Instant> {
        self.retry.values().copied().min().into_iter().chain(self.pods.deadline()).min()
    }

    /// Takes up a change, and those that come right after it.
    async fn take_burst(&mut self, first: Option<Change>, coming: &mut mpsc::Receiver<Change>) {
        let until = Instant::now() + BURST_LIMIT;
        let mut next = first;
        while let Some(change) = next {
            self.changed.extend(self.objects.take(change));
            let gap = (Instant::now() + BURST_GAP).min(until);
            next = tokio::time::timeout_at(gap.into(), coming.recv()).await.ok().flatten();
        }
    }

    /// Looks at one namespace: asks its pods, plans, writes, and tells the pods.
    async fn round(&mut self, namespace: &str) -> Result<(), ClusterError> {
        self.health.rounds.fetch_add(1, Ordering::Relaxed);
        self.pods.ask(&self.objects, namespace).await;
        let now = jiff::Timestamp::now();
        let mut world = populate::world(&self.objects, &self.pods, namespace, &self.settings.image, now);
        if world.token_keys.is_empty() && !(world.routers.is_empty() && world.services.is_empty()) {
            world.token_keys.push(crate::token_key::token_key()?);
        }
        let plan = reconcile(&world);
        self.report(namespace, &plan);
        let wanted = plan.wanted;
        let written = apply::carry_out(&self.client, &mut self.objects, &world, plan.writes).await;
        if let Err(error) = written {
            tracing::warn!(namespace, "{error}; it is tried again");
            self.retry.insert(namespace.into(), Instant::now() + RETRY);
            return Ok(());
        }
        self.pods.nudge(&self.client, &self.objects, namespace, &wanted).await;
        Ok(())
    }

    /// Logs what is wrong, when that changes.
    fn report(&self, namespace: &str, plan: &Plan) {
        let text = plan.problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
        let mut trouble = self.health.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = (!text.is_empty()).then_some(text);
        if *trouble != text {
            if let Some(text) = &text {
                tracing::warn!(namespace, problems = plan.problems.len(), "{text}");
            }
            *trouble = text;
        }
    }
}
