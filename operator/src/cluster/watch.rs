//! The watches: one task for each source.
//!
//! Decides what of an object is kept, that a watch which fails is begun anew, and that one which is
//! silent ends. Refuses to know what the objects say.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, TypeMeta};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Client, CustomResourceExt};
use serde_json::Value as Json;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::connect::WATCH_TIME;
use super::health::Health;
use super::objects::{Change, News, Source, key};
use crate::store_keys::SECRET_TYPE;
use crate::workloads::{MANAGED_BY, WorkloadKind};
use crate::world::Key;
use crds::Kind;

/// Begins to watch everything; dropping what it gives ends that.
pub(super) fn start(
    client: &Client,
    namespace: Option<&str>,
    changes: &Sender<Change>,
    health: &Arc<Health>,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for source in Source::all() {
        let resource = resource(source);
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        watches.spawn(follow(api, source, changes.clone(), Arc::clone(health)));
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
        Source::Kind(Kind::UMAutoAttendant) => crds::UMAutoAttendant::api_resource(),
        Source::Kind(Kind::UMMailboxPolicy) => crds::UMMailboxPolicy::api_resource(),
        Source::Kind(Kind::UMMailbox) => crds::UMMailbox::api_resource(),
        Source::Kind(Kind::UMCallRouter) => crds::UMCallRouter::api_resource(),
        Source::Kind(Kind::UMService) => crds::UMService::api_resource(),
        Source::Certificates | Source::StoreKeys | Source::TokenKeys => core("Secret", "secrets"),
        Source::Configurations => core("ConfigMap", "configmaps"),
        Source::Claims => core("PersistentVolumeClaim", "persistentvolumeclaims"),
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
    let config = Config::default().timeout(u32::try_from(WATCH_TIME.as_secs()).unwrap_or(u32::MAX));
    match source {
        Source::Kind(_) | Source::Claims => config,
        Source::Certificates => config.fields("type=kubernetes.io/tls"),
        Source::StoreKeys => config.fields(&format!("type={SECRET_TYPE}")),
        Source::Configurations | Source::TokenKeys | Source::Pods | Source::Workloads(_) => {
            config.labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1))
        }
    }
}

async fn follow(api: Api<DynamicObject>, source: Source, changes: Sender<Change>, health: Arc<Health>) {
    let resource = resource(source);
    let name = format!("watch of {}", resource.plural);
    let mut events = watcher::watcher(api, selection(source)).default_backoff().boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(event) => {
                health.well(&name);
                news(event, &resource, &mut listed)
            }
            Err(error) => {
                health.trouble(&name, &error.to_string());
                None
            }
        };
        let Some(news) = news else { continue };
        if changes.send(Change { source, news }).await.is_err() {
            return;
        }
    }
}

/// What an event tells; `listed` are the names in the list that is under way.
fn news(event: Event<DynamicObject>, resource: &ApiResource, listed: &mut BTreeSet<Key>) -> Option<News> {
    match event {
        Event::Init => {
            listed.clear();
            None
        }
        Event::InitApply(mut object) => {
            // The objects in a list do not say what they are; the list does.
            object.types.get_or_insert_with(|| TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            let object = kept(&object)?;
            listed.insert(key(&object));
            Some(News::Is(object))
        }
        Event::InitDone => Some(News::All(std::mem::take(listed))),
        Event::Apply(object) => kept(&object).map(News::Is),
        Event::Delete(object) => kept(&object).map(News::Gone),
    }
}

/// The object without what nobody looks at.
pub(super) fn kept(object: &DynamicObject) -> Option<Json> {
    let mut object = serde_json::to_value(object).ok()?;
    object["metadata"].as_object_mut()?.remove("managedFields");
    Some(object)
}
