//! [`Picture`]: what is known of a cluster, and the plans that follow from it.
//!
//! Decides what is remembered of a namespace from one plan to the next. Refuses to know how anything
//! is found out, and when a plan is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::TokenKey;
use crds::Kind;
use serde_json::Value as Json;

use super::objects::{Objects, Source};
use super::pods::Pods;
use super::populate;
use crate::memory::Effort;
use crate::names::Answers;
use crate::plan::Plan;
use crate::reconcile::Reconciler;
use crate::rotation::remember;
use crate::site::{AdminPeers, Image};
use crate::workloads::{TOKEN_SECRET, WorkloadKind};
use crate::world::{Awaited, ObjectRef, World, WrittenKeys};

/// What is known of a cluster.
#[derive(Debug, Default)]
pub struct Picture {
    pub(super) objects: Objects,
    pub(super) pods: Pods,
    /// The objects of each namespace that wait to be served, and where its last plan was cut.
    last: BTreeMap<String, (Awaited, Option<ObjectRef>)>,
    /// What is remembered of each namespace with servers.
    reconcilers: BTreeMap<String, Reconciler>,
    /// What is known of the names that gateways are known by.
    names: Arc<Answers>,
    /// Who may ask servers how they are; with `None` nobody is kept from anything.
    admin_peers: Option<AdminPeers>,
    /// The keys of the redirect token of each namespace, as they were when they could be read.
    pub(super) token_keys: BTreeMap<String, WrittenKeys>,
}

impl Picture {
    /// Nothing is known yet but who may ask servers how they are.
    pub(super) fn with(admin_peers: Option<AdminPeers>) -> Picture {
        Picture { admin_peers, ..Picture::default() }
    }

    /// Takes up an object as the API server gives it; says whether it is news.
    pub fn told(&mut self, object: Json) -> bool {
        let kind = object["kind"].as_str().unwrap_or_default();
        let workload = || WorkloadKind::ALL.into_iter().find(|workload| workload.api().2 == kind);
        let source = match kind {
            "ConfigMap" => Some(Source::Configurations),
            "Pod" => Some(Source::Pods),
            "Secret" if object["metadata"]["name"] == TOKEN_SECRET => Some(Source::TokenKeys),
            "Secret" => Some(Source::Certificates),
            _ => Kind::of(kind).map(Source::Kind).or_else(|| workload().map(Source::Workloads)),
        };
        source.is_some_and(|source| self.objects.put(source, object).is_some())
    }

    /// Takes up that the server in `pod` says that it serves this generation.
    pub fn heard(&mut self, pod: &Json, generation: u64) {
        self.pods.answered(pod, generation);
    }

    /// Takes up what was found out about the names that gateways are known by.
    pub fn found_out(&mut self, names: Arc<Answers>) {
        self.names = names;
    }

    /// What is known of a namespace now, and what should be written there. A `spare_key` is one that
    /// nobody has had before, for when one is needed.
    pub fn plan(
        &mut self,
        namespace: &str,
        image: &Image,
        spare_key: TokenKey,
        now: jiff::Timestamp,
    ) -> (World, Plan) {
        let mut world = populate::world(&self.objects, &self.pods, namespace, image, now);
        world.spare_key = Some(spare_key);
        world.names = Arc::clone(&self.names);
        if let Some(cluster) = &mut world.cluster {
            cluster.admin_peers.clone_from(&self.admin_peers);
        }
        remember(&mut world, &mut self.token_keys, namespace);
        let observed = &mut world.observed;
        (observed.awaited, observed.cut_after) = self.last.remove(namespace).unwrap_or_default();
        let plan = self.reconcilers.entry(namespace.into()).or_default().reconcile(&world);
        if world.routers.is_empty() && world.services.is_empty() {
            self.reconcilers.remove(namespace);
        }
        self.last.insert(namespace.into(), (plan.awaited.clone(), plan.cut_after.clone()));
        (world, plan)
    }

    /// What the last plan of a namespace took.
    pub fn effort(&self, namespace: &str) -> Effort {
        self.reconcilers.get(namespace).map(Reconciler::effort).unwrap_or_default()
    }
}
