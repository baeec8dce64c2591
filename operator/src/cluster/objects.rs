//! [`Objects`]: the objects of the cluster as the watches tell them.
//!
//! Decides what a change does to what is known: the end of a list takes away what was not in it,
//! and news that are not newer than what is known are none. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::Kind;
use serde_json::Value as Json;

use crate::workloads::WorkloadKind;
use crate::world::Key;

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
                let known = self.by_source.entry(source).or_default();
                let gone = known.extract_if(.., |key, _| !names.contains(key));
                gone.map(|(key, _)| key.namespace).collect()
            }
            News::Is(object) => self.put(source, object).into_iter().collect(),
            News::Gone(object) => {
                let key = key(&object);
                let known = self.by_source.entry(source).or_default();
                // Another one of this name may be there already.
                if known.get(&key).is_some_and(|known| known["metadata"]["uid"] == object["metadata"]["uid"])
                {
                    known.remove(&key);
                }
                BTreeSet::from([key.namespace])
            }
        }
    }

    /// Takes up one object, if it is news.
    pub(super) fn put(&mut self, source: Source, object: Json) -> Option<String> {
        let key = key(&object);
        let namespace = key.namespace.clone();
        let known = self.by_source.entry(source).or_default();
        if known.get(&key).is_some_and(|known| !is_newer(&object, known)) {
            return None;
        }
        known.insert(key, object);
        Some(namespace)
    }

    /// Forgets one object, which is gone.
    pub(super) fn drop(&mut self, source: Source, key: &Key) {
        self.by_source.entry(source).or_default().remove(key);
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
        let written = Kind::ALL.into_iter().filter_map(|kind| self.by_source.get(&Source::Kind(kind)));
        written.flat_map(BTreeMap::keys).map(|key| key.namespace.clone()).collect()
    }
}

/// Which object of its kind.
pub(super) fn key(object: &Json) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

/// Whether `object` says something that `known` does not. Versions of one object are numbers that
/// grow.
fn is_newer(object: &Json, known: &Json) -> bool {
    let version =
        |of: &Json| of["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    object["metadata"]["uid"] != known["metadata"]["uid"]
        || !matches!((version(object), version(known)), (Some(new), Some(known)) if new <= known)
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
