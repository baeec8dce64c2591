//! How a plan is carried out: by server-side apply, with a field manager of our own.
//!
//! Decides that each write is one request, that fields which somebody else took are taken back, and
//! that what the API server answers is known at once. What is made for an object is only created: it
//! is the person's from then on.

use config::ConfigError;
use config::parts::Files;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value as Json, json};

use super::objects::{Objects, Source};
use super::{FIELD_MANAGER, watch};
use crate::defaults::DefaultObject;
use crate::plan::Write;
use crate::status::ObjectStatus;
use crate::workloads::{Owner, Role, WorkloadRef, configuration};
use crate::world::{Key, ObjectRef, World};
use crds::{GROUP, Kind, VERSION};

/// `404 Not Found`.
const NOT_FOUND: u16 = 404;

/// `409 Conflict`.
const CONFLICT: u16 = 409;

/// Why something is not written. What was written before stays, and the next plan goes on from
/// there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// A configuration cannot be put into text.
    #[error("write the configuration of {object}: {reason}")]
    Text { object: ObjectRef, reason: String },
    /// The API server does not take it.
    #[error("apply {what}: {error}")]
    Refused { what: String, error: Box<kube::Error> },
}

impl ApplyError {
    /// Whether nobody answered.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            ApplyError::Text { .. } => false,
            ApplyError::Refused { error, .. } => !matches!(**error, kube::Error::Api(_)),
        }
    }
}

/// Carries out the writes of a plan, in their order.
pub(super) async fn carry_out(
    client: &Client,
    objects: &mut Objects,
    world: &World,
    writes: Vec<Write>,
) -> Result<(), ApplyError> {
    for write in writes {
        match write {
            Write::Router(key, config) => {
                configure(client, objects, world, (Role::Router, &key), config.to_files()).await?;
            }
            Write::Mailbox(key, config) => {
                configure(client, objects, world, (Role::Mailbox, &key), config.to_files()).await?;
            }
            Write::Workload(workload) => {
                let source = Source::Workloads(workload.object.kind);
                apply(client, objects, source, &workload.object.key, &workload.manifest).await?;
            }
            Write::Remove(object) => remove(client, objects, &object).await?,
            Write::Status(object, status) => write_status(client, objects, &object, &status).await?,
            // An object that is gone took its status with it.
            Write::Forget(_) => {}
            Write::Default(default) => make(client, objects, world, &default).await?,
        }
    }
    Ok(())
}

/// Writes the configuration of one server object.
async fn configure(
    client: &Client,
    objects: &mut Objects,
    world: &World,
    (role, key): (Role, &Key),
    files: Result<Files, ConfigError>,
) -> Result<(), ApplyError> {
    let object = ObjectRef::new(role.kind(), key);
    let files =
        files.map_err(|error| ApplyError::Text { object: object.clone(), reason: error.to_string() })?;
    let uid = world.cluster.as_ref().and_then(|cluster| cluster.uids.get(&object));
    let owner = Owner { role, key, uid: uid.map(String::as_str).unwrap_or_default() };
    let manifest = configuration(&owner, &files);
    let key = Key::new(&key.namespace, &owner.name());
    apply(client, objects, Source::Configurations, &key, &manifest).await
}

async fn apply(
    client: &Client,
    objects: &mut Objects,
    source: Source,
    key: &Key,
    manifest: &Json,
) -> Result<(), ApplyError> {
    let api = api(client, source, &key.namespace);
    let answer = api.patch(&key.name, &ours(), &Patch::Apply(manifest)).await;
    let object = answer.map_err(|error| {
        let what = format!("{} {key}", manifest["kind"].as_str().unwrap_or_default());
        ApplyError::Refused { what, error: Box::new(error) }
    })?;
    tracing::info!(kind = manifest["kind"].as_str(), object = %key, "applied");
    watch::kept(&object).and_then(|object| objects.put(source, object));
    Ok(())
}

/// Makes an object for another one, unless there is one of its name.
async fn make(
    client: &Client,
    objects: &mut Objects,
    world: &World,
    default: &DefaultObject,
) -> Result<(), ApplyError> {
    let object = default.object();
    let uid = world.cluster.as_ref().and_then(|cluster| cluster.uids.get(&default.made_for()));
    let (Some(uid), Some(kind)) = (uid, Kind::of(&object.kind)) else { return Ok(()) };
    let source = Source::Kind(kind);
    let manifest = serde_json::from_value(default.manifest(uid))
        .map_err(|error| ApplyError::Text { object: object.clone(), reason: error.to_string() })?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api(client, source, &object.key.namespace).create(&params, &manifest).await {
        Ok(answer) => {
            tracing::info!(%object, made_for = %default.made_for(), "made");
            watch::kept(&answer).and_then(|answer| objects.put(source, answer));
            Ok(())
        }
        // Its watch says in a moment whose it is.
        Err(kube::Error::Api(answer)) if answer.code == CONFLICT => Ok(()),
        Err(error) => Err(ApplyError::Refused { what: object.to_string(), error: Box::new(error) }),
    }
}

async fn remove(client: &Client, objects: &mut Objects, object: &WorkloadRef) -> Result<(), ApplyError> {
    let (source, key) = (Source::Workloads(object.kind), &object.key);
    match api(client, source, &key.namespace).delete(&key.name, &DeleteParams::default()).await {
        Ok(_) => tracing::info!(kind = object.kind.api().2, object = %key, "removed"),
        // Somebody was faster.
        Err(kube::Error::Api(answer)) if answer.code == NOT_FOUND => {}
        Err(error) => {
            let what = format!("the removal of {} {key}", object.kind.api().2);
            return Err(ApplyError::Refused { what, error: Box::new(error) });
        }
    }
    objects.drop(source, key);
    Ok(())
}

async fn write_status(
    client: &Client,
    objects: &mut Objects,
    object: &ObjectRef,
    status: &ObjectStatus,
) -> Result<(), ApplyError> {
    let Some(kind) = Kind::of(&object.kind) else { return Ok(()) };
    let source = Source::Kind(kind);
    let manifest = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": object.kind,
        "metadata": { "name": object.key.name, "namespace": object.key.namespace },
        "status": status,
    });
    let api = api(client, source, &object.key.namespace);
    match api.patch_status(&object.key.name, &ours(), &Patch::Apply(&manifest)).await {
        Ok(answer) => {
            watch::kept(&answer).and_then(|answer| objects.put(source, answer));
            Ok(())
        }
        // Gone in the meantime; its watch says so in a moment.
        Err(kube::Error::Api(answer)) if answer.code == NOT_FOUND => Ok(()),
        Err(error) => {
            Err(ApplyError::Refused { what: format!("the status of {object}"), error: Box::new(error) })
        }
    }
}

fn api(client: &Client, source: Source, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &watch::resource(source))
}

/// Fields that somebody else wrote are taken back: they are ours.
fn ours() -> PatchParams {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..params }
}
