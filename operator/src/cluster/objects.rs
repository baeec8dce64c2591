//! [`Objects`]: the objects of the cluster as the watches tell them.
//!
//! Decides what a change does to what is known: the end of a list takes away what was not in it,
//! and news that are not newer than what is known are none. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::Kind;
use serde_json::Value as Json;

use super::place::{Identity, Place};
use crate::workloads::WorkloadKind;
use crate::world::{Key, ObjectRef};

/// Where objects come from; each is watched by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// What a person wrote.
    Kind(Kind),
    /// Secrets with certificates.
    Certificates,
    /// Secrets with the keys of buckets.
    StoreKeys,
    /// ConfigMaps with indices and parts.
    Configurations,
    /// Secrets with the keys of redirect tokens.
    TokenKeys,
    /// PersistentVolumeClaims.
    Claims,
    /// Pods of servers.
    Pods,
    /// What runs the servers.
    Workloads(WorkloadKind),
}

impl Source {
    /// Every source.
    pub(super) fn all() -> impl Iterator<Item = Source> {
        let others = [
            Source::Certificates,
            Source::StoreKeys,
            Source::Configurations,
            Source::TokenKeys,
            Source::Claims,
            Source::Pods,
        ];
        let workloads = WorkloadKind::ALL.map(Source::Workloads);
        Kind::ALL.map(Source::Kind).into_iter().chain(others).chain(workloads)
    }
}

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) source: Source,
    pub(super) news: News,
}

/// What became of the objects of one source.
#[derive(Debug)]
pub(super) enum News {
    /// One is there; it may be new, or have changed.
    Is(Json),
    /// Those that were told last are all, and these are their names.
    All(BTreeSet<Key>),
    /// One is gone.
    Gone(Json),
}

/// Everything that is known of the cluster.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// What people wrote and what is written for servers, read, by namespace.
    places: BTreeMap<String, Place>,
    /// Everything else as it was told, and of ConfigMaps that are read who they are.
    by_source: BTreeMap<Source, BTreeMap<Key, Json>>,
    /// The sources that were listed to their end.
    listed: BTreeSet<Source>,
}

impl Objects {
    /// Whether every source has been listed.
    pub(super) fn is_complete(&self) -> bool {
        Source::all().all(|source| self.listed.contains(&source))
    }

    /// Takes up a change; gives the namespaces in which something is not as it was.
    pub(super) fn take(&mut self, change: Change) -> BTreeSet<String> {
        let Change { source, news } = change;
        match news {
            News::All(names) => {
                self.listed.insert(source);
                let gone: Vec<Key> =
                    self.names(source).filter(|key| !names.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.drop(source, key));
                gone.into_iter().map(|key| key.namespace).collect()
            }
            News::Is(object) => self.put(source, object).into_iter().collect(),
            News::Gone(object) => {
                let key = key(&object);
                // Another one of this name may be there already.
                if self.identity(source, &key).is_some_and(|known| known.uid == Identity::of(&object).uid) {
                    self.drop(source, &key);
                }
                BTreeSet::from([key.namespace])
            }
        }
    }

    /// Takes up one object, if it is news.
    pub(super) fn put(&mut self, source: Source, mut object: Json) -> Option<String> {
        let key = key(&object);
        let namespace = key.namespace.clone();
        if let Source::Kind(kind) = source {
            let place = self.places.entry(namespace.clone()).or_default();
            return place.put(kind, &key, &object).then_some(namespace);
        }
        let known = self.identity(source, &key);
        if known.is_some_and(|known| !Identity::of(&object).is_newer(&known)) {
            return None;
        }
        if source == Source::Configurations {
            self.places.entry(namespace.clone()).or_default().configure(&key, Some(&object));
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|field, _| field == "metadata");
            }
        }
        self.by_source.entry(source).or_default().insert(key, object);
        Some(namespace)
    }

    /// Forgets one object, which is gone.
    pub(super) fn drop(&mut self, source: Source, key: &Key) {
        self.by_source.entry(source).or_default().remove(key);
        let Some(place) = self.places.get_mut(&key.namespace) else { return };
        if let Source::Kind(kind) = source {
            place.remove(kind, key);
        } else if source == Source::Configurations {
            place.configure(key, None);
        }
    }

    /// The names of the objects of one source.
    fn names(&self, source: Source) -> impl Iterator<Item = &Key> {
        let kind = if let Source::Kind(kind) = source { Some(kind) } else { None };
        let written = kind.into_iter().flat_map(|kind| self.places.values().map(move |place| (kind, place)));
        let written = written.flat_map(|(kind, place)| place.identities().names(kind));
        self.by_source.get(&source).into_iter().flat_map(BTreeMap::keys).chain(written)
    }

    /// Which object it is that has this name, if there is one.
    pub(super) fn identity(&self, source: Source, key: &Key) -> Option<Identity> {
        if let Source::Kind(kind) = source {
            return self.place(&key.namespace)?.identities().get(&ObjectRef::new(kind, key)).cloned();
        }
        self.get(source, key).map(Identity::of)
    }

    /// What people wrote into a namespace.
    pub(super) fn place(&self, namespace: &str) -> Option<&Place> {
        self.places.get(namespace)
    }

    /// The objects of one source in one namespace.
    pub(super) fn of<'o>(
        &'o self,
        source: Source,
        namespace: &'o str,
    ) -> impl Iterator<Item = (&'o Key, &'o Json)> {
        let objects = self.by_source.get(&source).into_iter().flatten();
        objects.filter(move |(key, _)| key.namespace == namespace)
    }

    /// One object.
    pub(super) fn get(&self, source: Source, key: &Key) -> Option<&Json> {
        self.by_source.get(&source)?.get(key)
    }

    /// The objects of one source.
    pub(super) fn every(&self, source: Source) -> impl Iterator<Item = &Json> {
        self.by_source.get(&source).into_iter().flat_map(BTreeMap::values)
    }

    /// The namespaces in which a person wrote something.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        let written = self.places.iter().filter(|(_, place)| !place.identities().is_empty());
        written.map(|(namespace, _)| namespace.clone()).collect()
    }
}

/// Which object of its kind.
pub(super) fn key(object: &Json) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PODS: Source = Source::Pods;

    fn pod(name: &str, version: &str) -> Json {
        json!({ "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": version } })
    }

    fn versions(objects: &Objects) -> Vec<&str> {
        objects
            .of(PODS, "a")
            .filter_map(|(_, object)| object["metadata"]["resourceVersion"].as_str())
            .collect()
    }

    #[test]
    fn old_news_are_none() {
        let mut objects = Objects::default();
        objects.put(PODS, pod("one", "10"));
        assert_eq!(objects.put(PODS, pod("one", "9")), None);
        assert_eq!(versions(&objects), ["10"]);
        assert_eq!(objects.put(PODS, pod("one", "10")), None);
        assert_eq!(objects.put(PODS, pod("one", "11")), Some("a".into()));
        assert_eq!(versions(&objects), ["11"]);
    }

    #[test]
    fn a_list_takes_away_what_is_not_in_it_once_it_is_complete() {
        let mut objects = Objects::default();
        let mut told = |news| objects.take(Change { source: PODS, news });
        let a = BTreeSet::from(["a".to_owned()]);
        assert_eq!(told(News::Is(pod("one", "1"))), a);
        assert_eq!(told(News::Is(pod("two", "2"))), a);
        // The same again, as after a watch was begun anew: one has changed, and one is gone.
        assert_eq!(told(News::Is(pod("two", "3"))), a);
        assert_eq!(told(News::All(BTreeSet::from([Key::new("a", "two")]))), a);
        assert_eq!(told(News::Is(pod("two", "3"))), BTreeSet::new());
        assert_eq!(told(News::All(BTreeSet::from([Key::new("a", "two")]))), BTreeSet::new());
        assert_eq!(versions(&objects), ["3"]);
        assert!(!objects.is_complete());
        for source in Source::all() {
            objects.take(Change { source, news: News::All(BTreeSet::new()) });
        }
        assert!(objects.is_complete());
    }

    #[test]
    fn the_end_of_one_object_is_not_that_of_its_successor() {
        let mut objects = Objects::default();
        objects.put(PODS, pod("one", "5"));
        let mut before = pod("one", "4");
        before["metadata"]["uid"] = "another".into();
        objects.take(Change { source: PODS, news: News::Gone(before) });
        assert_eq!(versions(&objects), ["5"]);
        objects.take(Change { source: PODS, news: News::Gone(pod("one", "6")) });
        assert!(versions(&objects).is_empty());
    }
}
