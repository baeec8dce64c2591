//! The shell that makes a Kubernetes cluster a world.
//!
//! Decides when a namespace is looked at again: soon after something in it changed, while a pod has
//! not said that it serves what it should, and in any case after the resync interval. Refuses to
//! know what a plan says; that is [`crate::reconcile()`]'s.
//!
//! ```text
//! watches -> Store -> World -> reconcile -> Plan -> server-side apply
//!              ^   pods say what they serve  |        |
//!              '--- nudges, answers ---------'--------'
//! ```

mod apply;
mod backoff;
mod connect;
mod events;
mod health;
mod lease;
mod metrics;
mod objects;
mod picture;
mod place;
mod pods;
mod populate;
mod readiness;
mod trial;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use runtime::drain::Watch;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::names::Wanted;
use crate::plan::{Plan, Write};
use crate::problem::Problem;
use crate::resolver::Resolver;
use crate::shared::Shared;
use crate::site::{AdminPeers, Image};
use crate::token_key::NoChance;
use crate::world::{ObjectRef, World};
use apply::{Desk, Outcome};
use backoff::Retries;
use connect::{ApiServer, Mandate};
use crds::Kind;
use events::Events;
use health::BEAT;
use lease::Lost;
use objects::{Change, News, Source};
pub use picture::Picture;
pub use trial::{Destination, Trial, TrialError};

pub use health::Health;

/// Who we are to the API server: the owner of the fields that we write.
const FIELD_MANAGER: &str = "umbriel-operator";

/// Changes that come within this time of each other are looked at together: a person who applies
/// a folder does not want a plan for each file of it, nor to wait for kubelets, which look after a
/// pod once a second at most, a second time.
const BURST_GAP: Duration = Duration::from_millis(50);

/// A burst without end is looked at all the same after this time.
const BURST_LIMIT: Duration = Duration::from_millis(200);

/// Changes that wait to be looked at; whoever watches waits for its turn beyond that.
const MAX_WAITING_CHANGES: usize = 1_024;

/// Listing everything may take this long; what is not complete then is begun anew.
const LIST_LIMIT: Duration = Duration::from_secs(300);

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the servers' pods.
    pub image: Image,
    /// Who may ask servers how they are; with `None` servers get no NetworkPolicies.
    pub admin_peers: Option<AdminPeers>,
    /// The one namespace that is served; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// The name that this operator takes the Lease by.
    pub identity: String,
    /// How long it may take at most until everything is compared again.
    pub resync_interval: Duration,
    /// Who is asked what gateways' names lead to; those of the system where there are none.
    pub name_servers: Vec<SocketAddr>,
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

/// Works until `drain` begins.
///
/// # Errors
/// [`ClusterError`], and then nothing is written any more.
pub fn run(settings: &Settings, health: &Arc<Health>, drain: &Watch) -> Result<(), ClusterError> {
    let executor =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClusterError::Start)?;
    health.turn();
    let outcome = executor.block_on(async {
        let api = ApiServer::find().await.map_err(ClusterError::Find)?;
        let drain = drain.clone();
        let ended = tokio::task::spawn_blocking(move || drain.wait());
        lead(settings, health, &api, ended).await
    });
    // The thread that waits for the drain would hold the end up.
    executor.shutdown_background();
    outcome
}

/// Waits for the Lease, and works while it is held, until `ended` is.
async fn lead(
    settings: &Settings,
    health: &Arc<Health>,
    api: &ApiServer,
    mut ended: JoinHandle<()>,
) -> Result<(), ClusterError> {
    let find = |error: kube::Error| ClusterError::Find(Box::new(error));
    let client = api.for_lease().map_err(find)?;
    health.stand_by(true);
    let lease = tokio::select! {
        lease = lease::acquire(&client, &settings.lease_namespace, &settings.identity, health) => lease,
        _ = &mut ended => return Ok(()),
    };
    health.stand_by(false);
    let mut shell = Shell::new(settings, health, api, lease.mandate()).map_err(find)?;
    tokio::select! {
        lost = lease.keep(health) => Err(lost.into()),
        failed = shell.work() => failed.map(|never| match never {}),
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
    health: &'a Arc<Health>,
    api: &'a ApiServer,
    mandate: &'a Mandate,
    client: Client,
    watches: JoinSet<()>,
    picture: Picture,
    events: Events,
    /// Namespaces that changed since they were looked at.
    changed: BTreeSet<String>,
    /// What could not be written, and when it is tried again.
    retries: Retries,
    resync: Resync,
    resolver: Resolver,
    /// The names that gateways of each namespace are known by.
    names: BTreeMap<String, Shared<Wanted>>,
    /// The problems of each namespace, as they were told last: how many, and which.
    problems: BTreeMap<String, (usize, String)>,
}

/// When everything is listed anew.
struct Resync {
    due_at: Instant,
    begun: Instant,
    /// The sources of which the list is not complete yet.
    awaited: BTreeSet<Source>,
}

impl Resync {
    /// Everything is listed now.
    fn begin(interval: Duration, now: Instant) -> Resync {
        Resync { due_at: now + interval, begun: now, awaited: Source::all().collect() }
    }

    /// When it begins again: not while lists are under way that will be complete.
    fn next(&self) -> Instant {
        if self.awaited.is_empty() { self.due_at } else { self.due_at.max(self.begun + LIST_LIMIT) }
    }

    /// Whether this is the last list that was awaited.
    fn is_completed_by(&mut self, source: Source) -> bool {
        self.awaited.remove(&source) && self.awaited.is_empty()
    }
}

impl<'a> Shell<'a> {
    fn new(
        settings: &'a Settings,
        health: &'a Arc<Health>,
        api: &'a ApiServer,
        mandate: &'a Mandate,
    ) -> Result<Self, kube::Error> {
        Ok(Shell {
            settings,
            health,
            api,
            mandate,
            client: api.for_writes(mandate)?,
            watches: JoinSet::new(),
            picture: Picture::with(settings.admin_peers.clone()),
            events: Events::new(&settings.identity, Instant::now()),
            changed: BTreeSet::new(),
            retries: Retries::default(),
            resync: Resync::begin(settings.resync_interval, Instant::now()),
            resolver: Resolver::new(&settings.name_servers),
            names: BTreeMap::new(),
            problems: BTreeMap::new(),
        })
    }

    /// Follows the cluster; ends only if it cannot go on.
    async fn work(&mut self) -> Result<Infallible, ClusterError> {
        let (changes, mut coming) = mpsc::channel(MAX_WAITING_CHANGES);
        self.watch(&changes)?;
        loop {
            let deadline = self.deadline();
            tokio::select! {
                change = coming.recv() => self.take_burst(change, &mut coming).await,
                () = self.resolver.news() => {
                    self.picture.found_out(self.resolver.answers());
                    self.changed.extend(self.names.keys().cloned());
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            self.health.turn();
            let now = Instant::now();
            if now >= self.resync.next() {
                self.watch(&changes)?;
            }
            if !self.picture.objects.is_complete() {
                continue;
            }
            self.health.synced();
            self.changed.extend(self.retries.due(now));
            self.ask_again(now).await;
            for namespace in std::mem::take(&mut self.changed) {
                self.round(&namespace).await?;
            }
        }
    }

    /// Begins to list and watch everything, by new connections: a watch may have fallen silent
    /// without an end. Dropping the watches that there were ends them, so what they told lies before
    /// what the new ones tell.
    fn watch(&mut self, changes: &mpsc::Sender<Change>) -> Result<(), ClusterError> {
        self.resync = Resync::begin(self.settings.resync_interval, Instant::now());
        self.connect()?;
        let client = self.api.for_watches(self.mandate);
        let client = client.map_err(|error| ClusterError::Find(Box::new(error)))?;
        self.watches = watch::start(&client, self.settings.namespace.as_deref(), changes, self.health);
        Ok(())
    }

    /// Leaves the connections for writes, which may be dead, for new ones.
    fn connect(&mut self) -> Result<(), ClusterError> {
        self.client =
            self.api.for_writes(self.mandate).map_err(|error| ClusterError::Find(Box::new(error)))?;
        Ok(())
    }

    /// When something is to be done even if nothing changes.
    fn deadline(&self) -> Instant {
        if self.picture.objects.is_complete() && !self.changed.is_empty() {
            return Instant::now();
        }
        let others = self.retries.deadline().into_iter().chain(self.picture.pods.deadline());
        others.fold(self.resync.next().min(Instant::now() + BEAT), Instant::min)
    }

    /// Takes up a change, and those that come right after it.
    async fn take_burst(&mut self, first: Option<Change>, coming: &mut mpsc::Receiver<Change>) {
        let until = Instant::now() + BURST_LIMIT;
        let mut next = first;
        while let Some(change) = next {
            self.take(change);
            let gap = (Instant::now() + BURST_GAP).min(until);
            next = tokio::time::timeout_at(gap.into(), coming.recv()).await.ok().flatten();
        }
    }

    fn take(&mut self, change: Change) {
        let ends_list = matches!(change.news, News::All(_)).then_some(change.source);
        self.changed.extend(self.picture.objects.take(change));
        if ends_list.is_some_and(|source| self.resync.is_completed_by(source)) {
            // Everything is compared again, and every pod asked, even where nothing has changed.
            self.picture.pods.forget();
            self.changed.extend(self.picture.objects.namespaces());
            tracing::debug!(took = ?self.resync.begun.elapsed(), "everything is listed");
        }
    }

    /// Asks the pods that are late once more. What they say may change what is planned; as long as
    /// it does not, they are only told again that there is news.
    async fn ask_again(&mut self, now: Instant) {
        for namespace in self.picture.pods.due(now) {
            if self.changed.contains(&namespace) {
                continue;
            }
            if self.picture.pods.ask(&self.picture.objects, &namespace).await {
                self.changed.insert(namespace);
            } else if let Some(wanted) = self.picture.pods.wanted(&namespace) {
                let objects = &mut self.picture.objects;
                if self.picture.pods.nudge(&self.client, objects, &namespace, &wanted).await {
                    self.changed.insert(namespace);
                }
            }
        }
    }

    /// Looks at one namespace: asks its pods, plans, writes, and tells the pods.
    async fn round(&mut self, namespace: &str) -> Result<(), ClusterError> {
        self.health.count_round();
        self.picture.pods.ask(&self.picture.objects, namespace).await;
        let now = jiff::Timestamp::now();
        let spare_key = crate::token_key::token_key()?;
        let (world, mut plan) = self.picture.plan(namespace, &self.settings.image, spare_key, now);
        self.ask_for(namespace, std::mem::take(&mut plan.names));
        self.report(namespace, &plan);
        let is_cut = plan.cut_after.is_some();
        let made: Vec<ObjectRef> = plan.writes.iter().filter_map(Write::made).collect();
        let keys = plan.writes.iter().find_map(Write::token_keys).cloned();
        // The servers are told before people are: there may be much to tell.
        let (first, then): (Vec<_>, Vec<_>) = plan.writes.into_iter().partition(Write::is_for_servers);
        let mut outcome = Outcome::default();
        self.write(namespace, &world, first, &mut outcome).await;
        // Pods are told of what is there for them.
        if !outcome.lacks_configuration {
            // Who wrote keys remembers them, whatever becomes of them before they are seen.
            self.picture.token_keys.extend(keys.map(|keys| (namespace.into(), keys)));
            let objects = &mut self.picture.objects;
            let nudged = self.picture.pods.nudge(&self.client, objects, namespace, &plan.wanted);
            outcome.is_overtaken |= nudged.await;
        }
        self.write(namespace, &world, then, &mut outcome).await;
        if !outcome.is_cut_short {
            self.retries.keep(namespace, &outcome.failed);
        }
        self.events.tell(&self.client, &self.picture.objects, &outcome.events, Instant::now());
        if outcome.is_silence {
            self.connect()?;
        }
        // Its watch has nothing to say that is not known, and there is more to say about it.
        let is_there = |object: &ObjectRef| {
            let kind = Kind::of(&object.kind);
            kind.is_some_and(|kind| self.picture.objects.identity(Source::Kind(kind), &object.key).is_some())
        };
        // Where nothing but what waits to be tried again was left, that is looked at when it is due.
        let goes_on = is_cut && outcome.has_tried && !outcome.is_cut_short;
        if goes_on || outcome.is_overtaken || made.iter().any(is_there) {
            self.changed.insert(namespace.into());
        }
        Ok(())
    }

    async fn write(&mut self, namespace: &str, world: &World, writes: Vec<Write>, outcome: &mut Outcome) {
        let mut desk = Desk {
            client: &self.client,
            objects: &mut self.picture.objects,
            retries: &mut self.retries,
            health: self.health,
        };
        desk.carry_out(namespace, world, writes, outcome).await;
    }

    /// Asks for the names of a namespace, beside those of the others.
    fn ask_for(&mut self, namespace: &str, names: Shared<Wanted>) {
        if self.names.get(namespace).is_some_and(|known| known.is(&names)) {
            return;
        }
        if names.is_empty() {
            self.names.remove(namespace);
        } else {
            self.names.insert(namespace.into(), names);
        }
        let mut wanted = Wanted::new();
        for (question, askers) in self.names.values().flat_map(|names| names.iter()) {
            wanted.entry(question.clone()).or_default().extend(askers.iter().cloned());
        }
        self.resolver.want(wanted);
    }

    /// Logs what is wrong, when that changes, and counts it.
    fn report(&mut self, namespace: &str, plan: &Plan) {
        let text = plan.problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
        if text.is_empty() {
            self.problems.remove(namespace);
        } else if self.problems.get(namespace).is_none_or(|(_, told)| *told != text) {
            let problems = plan.problems.len();
            tracing::warn!(namespace, problems, "{text}");
            self.problems.insert(namespace.into(), (problems, text));
        }
        self.health.count_problems(self.problems.values().map(|(problems, _)| problems).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_listed_again_after_the_interval_and_not_while_lists_are_under_way() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut resync = Resync::begin(second, start);
        assert_eq!(resync.next(), start + 300 * second, "lists that are under way are not cut");
        let last = Source::all().last().unwrap();
        for source in Source::all() {
            assert_eq!(resync.is_completed_by(source), source == last);
            assert!(!resync.is_completed_by(source), "a list that a watch repeats by itself is no resync");
        }
        assert_eq!(resync.next(), start + second);
        assert_eq!(Resync::begin(600 * second, start).next(), start + 600 * second);
    }
}
