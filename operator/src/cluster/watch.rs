//! The watches: one task for each source.
//!
//! Decides what of an object is kept, and that a watch which fails is begun anew. Refuses to know
//! what the objects say.

use futures_util::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Client, CustomResourceExt};
use serde_json::Value as Json;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::objects::{Change, News, Source};
use crate::workloads::{MANAGED_BY, WorkloadKind};
use crds::Kind;

/// Begins to watch everything; dropping what it gives ends that.
pub(super) fn start(client: &Client, namespace: Option<&str>, changes: &Sender<Change>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for source in Source::all() {
        let resource = resource(source);
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        watches.spawn(follow(api, source, changes.clone()));
    }
    watches
}

/// What the API server calls the objects of a source.
pub(super) fn resource(source: Source) -> ApiResource {
    let core = |kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural)
    };
    match source {
        Source::Kind(Kind::UMDialPlan) => crds::UMDialPlan::api_resource(),
        Source::Kind(Kind::UMIPGateway) => crds::UMIPGateway::api_resource(),
        Source::Kind(Kind::UMHuntGroup) => crds::UMHuntGroup::api_resource(),
        Source::Kind(Kind::UMMailboxPolicy) => crds::UMMailboxPolicy::api_resource(),
        Source::Kind(Kind::UMMailbox) => crds::UMMailbox::api_resource(),
        Source::Kind(Kind::UMCallRouter) => crds::UMCallRouter::api_resource(),
        Source::Kind(Kind::UMService) => crds::UMService::api_resource(),
        Source::Certificates | Source::Configurations => core("Secret", "secrets"),
        Source::Pods => core("Pod", "pods"),
        Source::Workloads(kind) => workload_resource(kind),
    }
}

fn workload_resource(kind: WorkloadKind) -> ApiResource {
    let (group, version, kind, plural) = kind.api();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Only what is asked for is sent: a cluster has many Secrets and pods that are none of our business.
fn selection(source: Source) -> Config {
    match source {
        Source::Kind(_) => Config::default(),
        Source::Certificates => Config::default().fields("type=kubernetes.io/tls"),
        Source::Configurations | Source::Pods | Source::Workloads(_) => {
            Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1))
        }
    }
}

async fn follow(api: Api<DynamicObject>, source: Source, changes: Sender<Change>) {
    let mut events = watcher::watcher(api, selection(source)).default_backoff().boxed();
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(kept(&object));
                continue;
            }
            Ok(Event::InitDone) => Some(News::All(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => kept(&object).map(News::Is),
            Ok(Event::Delete(object)) => kept(&object).map(News::Gone),
            Err(error) => {
                tracing::warn!(?source, %error, "a watch is interrupted; what is known goes on being used");
                continue;
            }
        };
        let Some(news) = news else { continue };
        if changes.send(Change { source, news }).await.is_err() {
            return;
        }
    }
}

/// The object without what nobody looks at.
pub(super) fn kept(object: &DynamicObject) -> Option<Json> {
    let mut object = serde_json::to_value(object).ok()?;
    object["metadata"].as_object_mut()?.remove("managedFields");
    Some(object)
}
