//! How a plan is carried out: by server-side apply, with a field manager of our own.
//!
//! Decides that each write is one request, that one which is refused holds up no other, that fields
//! which somebody else took are taken back, and that what the API server answers is known at once.
//! What is made for an object is only created: it is the person's from then on.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use config::ConfigError;
use config::parts::token_keys_to_yaml;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value as Json, json};

use super::backoff::Retries;
use super::health::Health;
use super::objects::{Objects, Source};
use super::{FIELD_MANAGER, watch};
use crate::defaults::DefaultObject;
use crate::events::{Event, events};
use crate::plan::Write;
use crate::site::Cluster;
use crate::status::ObjectStatus;
use crate::workloads::{Owner, Role, TOKEN_SECRET, WorkloadRef, index, part, part_name, token_secret};
use crate::world::{Key, ObjectRef, World};
use crds::{GROUP, Kind, VERSION};

/// `404 Not Found`.
const NOT_FOUND: u16 = 404;

/// `409 Conflict`.
const CONFLICT: u16 = 409;

/// `429 Too Many Requests`, `503 Service Unavailable` and `504 Gateway Timeout`.
const BUSY: [u16; 3] = [429, 503, 504];

/// Why something is not written. What else there is to write is written all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// A configuration cannot be put into text.
    #[error("{0}")]
    Text(String),
    /// The API server does not take it.
    #[error("{0}")]
    Refused(Box<kube::Error>),
}

impl ApplyError {
    /// Whether nobody answered.
    fn is_silence(&self) -> bool {
        matches!(self, ApplyError::Refused(error) if !matches!(**error, kube::Error::Api(_)))
    }

    /// Whether the API server has no time for anything.
    fn is_busy(&self) -> bool {
        let ApplyError::Refused(error) = self else { return false };
        matches!(&**error, kube::Error::Api(answer) if BUSY.contains(&answer.code))
    }
}

impl From<ConfigError> for ApplyError {
    fn from(error: ConfigError) -> ApplyError {
        ApplyError::Text(error.to_string())
    }
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> ApplyError {
        ApplyError::Refused(Box::new(error))
    }
}

/// What came of the writes of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What people should be told of what was written, and of what was refused.
    pub(super) events: Vec<Event>,
    /// What is still to be written.
    pub(super) failed: BTreeSet<String>,
    /// Whether a configuration is not what it should be.
    pub(super) lacks_configuration: bool,
    /// Whether nobody answers.
    pub(super) is_silence: bool,
    /// Whether anything was sent to be written.
    pub(super) has_tried: bool,
    /// Whether something was not tried, because nobody answers or has time.
    pub(super) is_cut_short: bool,
    /// Whether an answer told of a change that no plan has looked at yet.
    pub(super) is_overtaken: bool,
}

/// What became of a write that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It is as it should be.
    Written,
    /// The same, and the answer tells of a change by somebody else. Its watch will have nothing to say that
    /// is not known, so that nobody else says so.
    Overtaken,
    /// There is nothing to write to any more, or somebody else was first.
    Left,
}

/// Where writes go.
pub(super) struct Desk<'a> {
    pub(super) client: &'a Client,
    pub(super) objects: &'a mut Objects,
    pub(super) retries: &'a mut Retries,
    pub(super) health: &'a Health,
}

impl Desk<'_> {
    /// Carries out the writes of a plan for `namespace`, in their order. One that is refused holds up
    /// no others but configurations: those come in an order.
    pub(super) async fn carry_out(
        &mut self,
        namespace: &str,
        world: &World,
        writes: Vec<Write>,
        outcome: &mut Outcome,
    ) {
        for write in writes {
            if outcome.is_cut_short {
                return;
            }
            self.health.turn();
            let is_configuration = is_configuration(&write);
            if is_configuration && outcome.lacks_configuration {
                continue;
            }
            let what = name(&write);
            if self.retries.waits(namespace, &what, || text(&write), Instant::now()) {
                outcome.lacks_configuration |= is_configuration;
                outcome.failed.insert(what);
                continue;
            }
            outcome.has_tried = true;
            let sent = self.send(world, &write).await;
            self.health.count_write(sent.is_ok());
            let error = match sent {
                Ok(written @ (Sent::Written | Sent::Overtaken)) => {
                    outcome.is_overtaken |= written == Sent::Overtaken;
                    for event in events(world, &write) {
                        if !(is_configuration && outcome.events.contains(&event)) {
                            outcome.events.push(event);
                        }
                    }
                    continue;
                }
                Ok(Sent::Left) => continue,
                Err(error) => error,
            };
            tracing::warn!(namespace, what, "cannot be written: {error}; it is tried again");
            let is_news = self.retries.failed(namespace, &what, text(&write), Instant::now());
            if error.is_silence() || error.is_busy() {
                outcome.is_silence = error.is_silence();
                outcome.lacks_configuration = true;
                outcome.is_cut_short = true;
                return;
            }
            if let Some(object) = about(&write).filter(|_| is_news) {
                let note = format!("{what} cannot be written: {error}; it is tried again");
                outcome.events.push(Event { object, warning: true, reason: "WriteRefused".into(), note });
            }
            outcome.lacks_configuration |= is_configuration;
            outcome.failed.insert(what);
        }
    }

    async fn send(&mut self, world: &World, write: &Write) -> Result<Sent, ApplyError> {
        let (client, objects) = (self.client, &mut *self.objects);
        match write {
            Write::TokenKeys(namespace, keys) => {
                let text = token_keys_to_yaml(&keys.keys)?;
                let manifest = token_secret(owners(world), namespace, keys, &text);
                let key = Key::new(namespace, TOKEN_SECRET);
                apply(client, objects, Source::TokenKeys, &key, &manifest).await
            }
            Write::Part(named, write) => {
                let manifest = part(owners(world), named, &write.part);
                let key = Key::new(&named.namespace, &part_name(named.name));
                apply(client, objects, Source::Configurations, &key, &manifest).await
            }
            Write::Router(key, index) => {
                configure(client, objects, world, (Role::Router, key), &index.to_yaml()?).await
            }
            Write::Mailbox(key, index) => {
                configure(client, objects, world, (Role::Mailbox, key), &index.to_yaml()?).await
            }
            Write::Workload(workload) => {
                let source = Source::Workloads(workload.object.kind);
                apply(client, objects, source, &workload.object.key, &workload.manifest).await
            }
            Write::Remove(object) => remove(client, objects, object).await,
            Write::Status(object, status) => write_status(client, objects, object, status).await,
            // An object that is gone took its status with it.
            Write::Forget(_) => Ok(Sent::Left),
            Write::Default(default) => make(client, objects, world, default).await,
        }
    }
}

/// Whether servers read it. They are told of what is there by what comes last, so none goes out of
/// its order.
fn is_configuration(write: &Write) -> bool {
    match write {
        Write::TokenKeys(..) | Write::Part(..) | Write::Mailbox(..) | Write::Router(..) => true,
        Write::Workload(_) | Write::Remove(_) | Write::Status(..) | Write::Forget(_) | Write::Default(_) => {
            false
        }
    }
}

/// What a write is called in the log and in events.
fn name(write: &Write) -> String {
    match write {
        Write::TokenKeys(namespace, _) => format!("Secret {namespace}/{TOKEN_SECRET}"),
        Write::Part(named, _) => format!("ConfigMap {}/{}", named.namespace, part_name(named.name)),
        Write::Router(key, _) => format!("the configuration of {}", ObjectRef::new(Kind::UMCallRouter, key)),
        Write::Mailbox(key, _) => format!("the configuration of {}", ObjectRef::new(Kind::UMService, key)),
        Write::Workload(workload) => {
            let (_, _, kind, _) = workload.object.kind.api();
            format!("{kind} {}", workload.object.key)
        }
        Write::Remove(object) => format!("the removal of {} {}", object.kind.api().2, object.key),
        Write::Status(object, _) | Write::Forget(object) => format!("the status of {object}"),
        Write::Default(default) => default.object().to_string(),
    }
}

/// The object that a person wrote for which something is written.
fn about(write: &Write) -> Option<ObjectRef> {
    match write {
        Write::Router(key, _) => Some(ObjectRef::new(Kind::UMCallRouter, key)),
        Write::Mailbox(key, _) => Some(ObjectRef::new(Kind::UMService, key)),
        Write::Workload(workload) => {
            let owner = &workload.manifest["metadata"]["ownerReferences"][0];
            let (kind, name) = (owner["kind"].as_str().and_then(Kind::of)?, owner["name"].as_str()?);
            Some(ObjectRef::new(kind, &workload.object.key.beside(name)))
        }
        Write::TokenKeys(..) | Write::Part(..) | Write::Remove(_) => None,
        Write::Status(object, _) | Write::Forget(object) => Some(object.clone()),
        Write::Default(default) => Some(default.made_for()),
    }
}

/// A number that stands for what a write says, whenever that is.
fn text(write: &Write) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = match write {
        Write::Status(object, status) => {
            let mut status = status.clone();
            status.waiting_since = None;
            status.conditions.iter_mut().for_each(|condition| condition.last_transition_time.clear());
            format!("{:?}", Write::Status(object.clone(), status))
        }
        Write::Part(named, write) => format!("{named:?} {} {:?}", write.part.digest, write.owners),
        Write::TokenKeys(..)
        | Write::Router(..)
        | Write::Mailbox(..)
        | Write::Workload(_)
        | Write::Remove(_)
        | Write::Forget(_)
        | Write::Default(_) => format!("{write:?}"),
    };
    text.hash(&mut hasher);
    hasher.finish()
}

/// The server objects of a namespace and their identities.
fn owners(world: &World) -> impl Iterator<Item = (&ObjectRef, &String)> {
    world.cluster.iter().flat_map(Cluster::servers)
}

/// Writes the index of one server object.
async fn configure(
    client: &Client,
    objects: &mut Objects,
    world: &World,
    (role, key): (Role, &Key),
    text: &str,
) -> Result<Sent, ApplyError> {
    let object = ObjectRef::new(role.kind(), key);
    let uid = world.cluster.as_ref().and_then(|cluster| cluster.uids.get(&object));
    let owner = Owner { role, key, uid: uid.map(String::as_str).unwrap_or_default() };
    let manifest = index(&owner, text);
    let key = Key::new(&key.namespace, &owner.name());
    apply(client, objects, Source::Configurations, &key, &manifest).await
}

async fn apply(
    client: &Client,
    objects: &mut Objects,
    source: Source,
    key: &Key,
    manifest: &Json,
) -> Result<Sent, ApplyError> {
    let api = api(client, source, &key.namespace);
    let object = api.patch(&key.name, &ours(), &Patch::Apply(manifest)).await?;
    tracing::info!(kind = manifest["kind"].as_str(), object = %key, "applied");
    watch::kept(&object).and_then(|object| objects.put(source, object));
    Ok(Sent::Written)
}

/// Makes an object for another one, unless there is one of its name.
async fn make(
    client: &Client,
    objects: &mut Objects,
    world: &World,
    default: &DefaultObject,
) -> Result<Sent, ApplyError> {
    let object = default.object();
    let uid = world.cluster.as_ref().and_then(|cluster| cluster.uids.get(&default.made_for()));
    let (Some(uid), Some(kind)) = (uid, Kind::of(&object.kind)) else { return Ok(Sent::Left) };
    let source = Source::Kind(kind);
    let manifest =
        serde_json::from_value(default.manifest(uid)).map_err(|error| ApplyError::Text(error.to_string()))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api(client, source, &object.key.namespace).create(&params, &manifest).await {
        Ok(answer) => {
            tracing::info!(%object, made_for = %default.made_for(), "made");
            watch::kept(&answer).and_then(|answer| objects.put(source, answer));
            Ok(Sent::Written)
        }
        // A person was faster. What they wrote takes its place; its watch says in a moment what that is.
        Err(kube::Error::Api(answer)) if answer.code == CONFLICT => Ok(Sent::Left),
        Err(error) => Err(error.into()),
    }
}

async fn remove(client: &Client, objects: &mut Objects, object: &WorkloadRef) -> Result<Sent, ApplyError> {
    let (source, key) = (Source::Workloads(object.kind), &object.key);
    match api(client, source, &key.namespace).delete(&key.name, &DeleteParams::default()).await {
        Ok(_) => tracing::info!(kind = object.kind.api().2, object = %key, "removed"),
        // Somebody was faster.
        Err(kube::Error::Api(answer)) if answer.code == NOT_FOUND => {}
        Err(error) => return Err(error.into()),
    }
    objects.drop(source, key);
    Ok(Sent::Written)
}

async fn write_status(
    client: &Client,
    objects: &mut Objects,
    object: &ObjectRef,
    status: &ObjectStatus,
) -> Result<Sent, ApplyError> {
    let Some(kind) = Kind::of(&object.kind) else { return Ok(Sent::Left) };
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
            let sent = if is_overtaken(status, &answer) { Sent::Overtaken } else { Sent::Written };
            watch::kept(&answer).and_then(|answer| objects.put(source, answer));
            Ok(sent)
        }
        // Gone in the meantime; its watch says so in a moment.
        Err(kube::Error::Api(answer)) if answer.code == NOT_FOUND => Ok(Sent::Left),
        Err(error) => Err(error.into()),
    }
}

/// Whether the object in the answer is not the one any more that the status is about.
fn is_overtaken(status: &ObjectStatus, answer: &DynamicObject) -> bool {
    answer.metadata.generation.unwrap_or(1) != status.observed_generation
}

fn api(client: &Client, source: Source, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &watch::resource(source))
}

/// Fields that somebody else wrote are taken back: they are ours.
fn ours() -> PatchParams {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..params }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::defaults::DefaultSpec;

    /// An API server that gives every request this answer.
    fn answering(status: u16, answer: Json) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| {
            let body = Body::from(answer.to_string().into_bytes());
            async move { Ok::<_, std::io::Error>(Response::builder().status(status).body(body).unwrap()) }
        });
        Client::new(service, "default")
    }

    /// Carries out the write of a mailbox policy that is made for a dial plan.
    fn make_a_default(status: u16, answer: &Json) -> (Outcome, Retries) {
        let spec = serde_json::from_value(json!({ "umDialPlan": "contoso" })).unwrap();
        let default = DefaultObject {
            key: Key::new("a", "contoso-default"),
            owner: "contoso".into(),
            spec: DefaultSpec::Policy(spec),
        };
        carry_out(status, answer, Write::Default(Box::new(default)))
    }

    /// Carries out a write about the dial plan `contoso` or for it.
    fn carry_out(status: u16, answer: &Json, write: Write) -> (Outcome, Retries) {
        let mut world = World::empty(IpAddr::V4(Ipv4Addr::UNSPECIFIED), jiff::Timestamp::UNIX_EPOCH);
        let dial_plan = ObjectRef::new(Kind::UMDialPlan, &Key::new("a", "contoso"));
        let uids = BTreeMap::from([(dial_plan, "1".to_owned())]);
        world.cluster = Some(Cluster { uids, ..Cluster::default() });
        let (mut outcome, mut retries) = (Outcome::default(), Retries::default());
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        executor.block_on(async {
            let (client, mut objects, health) =
                (answering(status, answer.clone()), Objects::default(), Health::default());
            let mut desk =
                Desk { client: &client, objects: &mut objects, retries: &mut retries, health: &health };
            desk.carry_out("a", &world, vec![write], &mut outcome).await;
        });
        (outcome, retries)
    }

    #[test]
    fn an_edit_that_an_answer_tells_of_before_its_watch_does_is_looked_at() {
        for (generation, is_overtaken) in [(3, false), (4, true)] {
            let answer = json!({
                "apiVersion": "umbriel.dev/v1alpha1", "kind": "UMDialPlan",
                "spec": { "numberOfDigitsInExtension": 3 },
                "metadata": { "namespace": "a", "name": "contoso", "uid": "1", "generation": generation },
            });
            let status = ObjectStatus { observed_generation: 3, ..ObjectStatus::default() };
            let object = ObjectRef::new(Kind::UMDialPlan, &Key::new("a", "contoso"));
            let (outcome, _) = carry_out(200, &answer, Write::Status(object, status));
            assert_eq!((outcome.failed.len(), outcome.is_overtaken), (0, is_overtaken));
        }
    }

    #[test]
    fn what_a_person_made_under_the_name_of_a_default_meanwhile_is_theirs() {
        let answer = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409,
            "message": "ummailboxpolicies.umbriel.dev \"contoso-default\" already exists",
        });
        let (outcome, retries) = make_a_default(409, &answer);
        assert_eq!(outcome.events, [], "nobody is told that the operator made it");
        assert!(outcome.failed.is_empty() && retries.deadline().is_none(), "it is not tried again");
        assert!(!outcome.is_cut_short, "what comes after it is written");
    }

    #[test]
    fn a_default_that_is_made_is_told_and_one_that_is_refused_is_tried_again() {
        let made = json!({
            "apiVersion": "umbriel.dev/v1alpha1", "kind": "UMMailboxPolicy", "spec": { "umDialPlan": "contoso" },
            "metadata": { "namespace": "a", "name": "contoso-default", "uid": "2", "resourceVersion": "1" },
        });
        let (outcome, _) = make_a_default(201, &made);
        assert_eq!(
            outcome.events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(),
            ["DefaultMade"]
        );
        let answer = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "no",
        });
        let (outcome, retries) = make_a_default(403, &answer);
        assert_eq!(outcome.failed.len(), 1);
        assert!(retries.deadline().is_some());
    }
}
