//! What was accepted: the objects as an API server would have them.
//!
//! Decides what an edit of the folder does to the objects. An edit that was refused leaves the last
//! good object; a source that cannot be read leaves everything that came from it, because an
//! unreadable source is not an empty one; only what is gone from a readable source is gone. Refuses
//! to know how sources are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crds::{Kind, UMAutoAttendantSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec, Violation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::admit::Document;
use crate::defaults::DefaultObject;
use crate::folder::{Listing, Text};
use crate::identify::{DEFAULT_NAMESPACE, SECRET};
use crate::problem::{Located, Problem};
use crate::store_keys::StoreKeys;
use crate::world::{Key, Object, ObjectRef, TlsSecret, World};

/// The accepted objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Store {
    objects: BTreeMap<ObjectRef, Stored>,
}

#[derive(Clone, Debug, PartialEq)]
struct Stored {
    /// The file that it was last read from.
    file: PathBuf,
    generation: i64,
    spec: Json,
    /// The object that it was made for, if nobody wrote it.
    made_for: Option<ObjectRef>,
}

/// One object, as it is kept between two starts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    kind: String,
    namespace: String,
    name: String,
    file: PathBuf,
    generation: i64,
    spec: Json,
    /// Kind and name of the object that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_for: Option<(String, String)>,
}

impl Store {
    /// The store that [`Store::to_json`] wrote.
    pub(crate) fn from_json(text: &str) -> Result<Store, serde_json::Error> {
        let kept: Vec<Kept> = serde_json::from_str(text)?;
        let objects = kept.into_iter().map(|kept| {
            let object =
                ObjectRef { kind: kept.kind, key: Key { namespace: kept.namespace, name: kept.name } };
            let made_for =
                kept.made_for.map(|(kind, name)| ObjectRef { kind, key: object.key.beside(&name) });
            (object, Stored { file: kept.file, generation: kept.generation, spec: kept.spec, made_for })
        });
        Ok(Store { objects: objects.collect() })
    }

    /// The store as text, to be kept until the next start.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        let kept: Vec<Kept> = self
            .objects
            .iter()
            .map(|(object, stored)| Kept {
                kind: object.kind.clone(),
                namespace: object.key.namespace.clone(),
                name: object.key.name.clone(),
                file: stored.file.clone(),
                generation: stored.generation,
                spec: stored.spec.clone(),
                made_for: stored.made_for.as_ref().map(|owner| (owner.kind.clone(), owner.key.name.clone())),
            })
            .collect();
        serde_json::to_string_pretty(&kept)
    }

    /// Whether it has no object but Secrets, which nobody serves.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.keys().all(|object| object.kind == SECRET)
    }

    /// Takes up what a folder says now; what it refuses comes back.
    pub(crate) fn fold(&mut self, listing: &Listing) -> Vec<Located> {
        let mut refused = listing.problems.clone();
        let Some(files) = &listing.files else { return refused };
        let mut seen: BTreeMap<ObjectRef, (&Path, usize)> = BTreeMap::new();
        let mut held: BTreeSet<ObjectRef> = BTreeSet::new();
        let mut unclear: BTreeSet<&Path> = BTreeSet::new();
        for (path, text) in files {
            let documents = match text {
                Text::Unreadable => {
                    unclear.insert(path);
                    continue;
                }
                Text::Read(documents) => documents,
            };
            for document in documents.iter() {
                let located = |(line, problem): &(usize, Problem)| Located {
                    file: path.clone(),
                    line: *line,
                    problem: problem.clone(),
                };
                refused.extend(document.problems.iter().map(located));
                // What it says is not known for certain: other objects may stand in it too.
                if document.problems.iter().any(|(_, problem)| is_unclear(problem.code)) {
                    unclear.insert(path);
                }
                match (&document.object, &document.spec) {
                    (None, _) => {
                        unclear.insert(path);
                    }
                    (Some(object), None) => {
                        held.insert(object.clone());
                    }
                    (Some(object), Some(spec)) => {
                        let line = document.node.as_ref().map_or(0, |node| node.line_of("metadata.name"));
                        if let Some(first) = seen.get(object) {
                            refused.push(duplicate(object, (path, line), *first));
                            continue;
                        }
                        seen.insert(object.clone(), (path, line));
                        let changed = self.changed_for_good(object, spec);
                        if changed.is_empty() {
                            self.accept(object, path, spec);
                        }
                        refused.extend(changed.into_iter().map(|problem| {
                            let node = document.node.as_ref();
                            let line = node.map_or(0, |node| node.line_of(&problem.field));
                            Located { file: path.clone(), line, problem }
                        }));
                    }
                }
            }
        }
        self.objects.retain(|object, stored| {
            let written =
                seen.contains_key(object) || held.contains(object) || unclear.contains(stored.file.as_path());
            written || stored.made_for.is_some()
        });
        // What was made for an object goes with it.
        let written: BTreeSet<ObjectRef> = self.objects.keys().cloned().collect();
        self.objects.retain(|_, stored| stored.made_for.as_ref().is_none_or(|owner| written.contains(owner)));
        refused
    }

    /// What `spec` would change of the object that cannot change while it exists.
    fn changed_for_good(&self, object: &ObjectRef, spec: &Json) -> Vec<Problem> {
        let Some(stored) = self.objects.get(object) else { return Vec::new() };
        // What a person writes takes the place of what was made.
        if stored.made_for.is_some() {
            return Vec::new();
        }
        let changes = match Kind::of(&object.kind) {
            Some(Kind::UMDialPlan) => changes(&stored.spec, spec, UMDialPlanSpec::check_change),
            Some(Kind::UMHuntGroup) => changes(&stored.spec, spec, UMHuntGroupSpec::check_change),
            Some(Kind::UMAutoAttendant) => changes(&stored.spec, spec, UMAutoAttendantSpec::check_change),
            Some(Kind::UMIPGateway) => changes(&stored.spec, spec, UMIPGatewaySpec::check_change),
            Some(Kind::UMMailboxPolicy | Kind::UMMailbox | Kind::UMCallRouter | Kind::UMService) | None => {
                Vec::new()
            }
        };
        changes.into_iter().map(|violation| Problem::violation(object, violation)).collect()
    }

    fn accept(&mut self, object: &ObjectRef, file: &Path, spec: &Json) {
        let fresh = || Stored { file: file.into(), generation: 0, spec: Json::Null, made_for: None };
        let stored = self.objects.entry(object.clone()).or_insert_with(fresh);
        stored.file = file.into();
        stored.made_for = None;
        if stored.spec != *spec {
            stored.spec = spec.clone();
            stored.generation += 1;
        }
    }

    /// Takes up an object that is made for one of these.
    pub(crate) fn make(&mut self, default: &DefaultObject) {
        let made_for = default.made_for();
        let file = self.file_of(&made_for).map(Path::to_owned).unwrap_or_default();
        let stored = Stored { file, generation: 1, spec: default.spec(), made_for: Some(made_for) };
        self.objects.insert(default.object(), stored);
    }

    /// The file that an object was last read from.
    pub(crate) fn file_of(&self, object: &ObjectRef) -> Option<&Path> {
        self.objects.get(object).map(|stored| stored.file.as_path())
    }

    /// The first object of `kind` that is called `name`, in whatever namespace.
    pub(crate) fn key_of(&self, kind: Kind, name: &str) -> Key {
        let mut named =
            self.objects.keys().filter(|object| object.kind == kind.name() && object.key.name == name);
        named.next().map_or_else(|| Key::new(DEFAULT_NAMESPACE, name), |object| object.key.clone())
    }

    /// Puts every object into `world`.
    pub(crate) fn populate(&self, world: &mut World) {
        for (object, stored) in &self.objects {
            match Kind::of(&object.kind) {
                Some(Kind::UMDialPlan) => world.dial_plans.extend(stored.read(object)),
                Some(Kind::UMIPGateway) => world.gateways.extend(stored.read(object)),
                Some(Kind::UMHuntGroup) => world.hunt_groups.extend(stored.read(object)),
                Some(Kind::UMAutoAttendant) => world.attendants.extend(stored.read(object)),
                Some(Kind::UMMailboxPolicy) => world.policies.extend(stored.read(object)),
                Some(Kind::UMMailbox) => world.mailboxes.extend(stored.read(object)),
                Some(Kind::UMCallRouter) => world.routers.extend(stored.read(object)),
                Some(Kind::UMService) => world.services.extend(stored.read(object)),
                None if object.kind == SECRET => {
                    let text = |field: &str| stored.spec[field].as_str().map(str::to_owned);
                    let [chain, key, authorities] = ["chain", "key", "authorities"].map(text);
                    let secret = TlsSecret { chain, key, authorities };
                    world.secrets.insert(object.key.clone(), secret);
                    world.store_keys.insert(object.key.clone(), StoreKeys::read(text));
                }
                None => {}
            }
        }
    }
}

impl Stored {
    /// The object as one of its kind. One that another version of the program kept and this one
    /// cannot read is left out, until its source is read again.
    fn read<S: DeserializeOwned>(&self, object: &ObjectRef) -> Option<(Key, Object<S>)> {
        let spec = S::deserialize(&self.spec).ok()?;
        Some((object.key.clone(), Object { generation: self.generation, spec }))
    }
}

/// What `check` has against a change. A spec that only another version of the program could read has
/// nothing that could stay as it was.
fn changes<S: DeserializeOwned>(
    before: &Json,
    now: &Json,
    check: impl Fn(&S, &S) -> Vec<Violation>,
) -> Vec<Violation> {
    let read = |spec: &Json| serde_json::from_value::<S>(spec.clone());
    match (read(before), read(now)) {
        (Ok(before), Ok(now)) => check(&now, &before),
        (Ok(_), Err(_)) | (Err(_), _) => Vec::new(),
    }
}

/// Whether a document with this problem may hold any object.
fn is_unclear(code: config::Code) -> bool {
    matches!(code, config::Code::NotYaml | config::Code::UnknownKind)
}

/// The second document of one object. The first stays.
fn duplicate(object: &ObjectRef, place: (&Path, usize), first: (&Path, usize)) -> Located {
    let (file, line) = place;
    let first = format!("{}:{}", first.0.display(), first.1);
    let problem = Problem {
        code: config::Code::DuplicateObject,
        object: Some(object.clone()),
        field: "metadata.name".into(),
        value: object.key.name.clone(),
        rule: format!("one {} of this name in a namespace; {first} has it already", object.kind),
        fix: "give one of them another name, or remove it".into(),
        waits_for: None,
    };
    Located { file: file.into(), line, problem }
}

/// Where a problem of an accepted object was written: its file and the line of the field.
pub(crate) fn locate(store: &Store, listing: &Listing, problem: Problem) -> Located {
    let Some(object) = problem.object.as_ref() else {
        return Located { file: PathBuf::new(), line: 0, problem };
    };
    let file = store.file_of(object).map(Path::to_owned).unwrap_or_default();
    let documents = match listing.files.as_ref().and_then(|files| files.get(&file)) {
        Some(Text::Read(documents)) => documents.as_slice(),
        Some(Text::Unreadable) | None => &[],
    };
    let document: Option<&Document> =
        documents.iter().find(|document| document.object.as_ref() == Some(object));
    let line =
        document.and_then(|document| document.node.as_ref()).map_or(0, |node| node.line_of(&problem.field));
    Located { file, line, problem }
}
