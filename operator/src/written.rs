//! [`Written`]: the indices of one kind of server, as earlier plans wrote them.
//!
//! Decides which of them goes before a new one, and which server objects have one to come. In a
//! cluster each server object has its own; one machine has one server of each kind, whose
//! configuration is rewritten when another object takes its place.

use std::collections::BTreeMap;

use config::parts::{MailboxIndex, RouterIndex};

use crate::world::{Key, Object, World};

/// An index.
pub(crate) trait Generation {
    /// The generation.
    fn generation(&self) -> u64;
}

impl Generation for RouterIndex {
    fn generation(&self) -> u64 {
        self.generation
    }
}

impl Generation for MailboxIndex {
    fn generation(&self) -> u64 {
        self.generation
    }
}

/// The indices of one kind of server.
pub(crate) struct Written<'w, C> {
    by_key: &'w BTreeMap<Key, C>,
    /// On one machine, the one that the server reads.
    pub(crate) last: Option<(&'w Key, &'w C)>,
}

impl<'w, C: Generation> Written<'w, C> {
    /// Those in `by_key`, which are of `world`.
    pub(crate) fn new(world: &World, by_key: &'w BTreeMap<Key, C>) -> Written<'w, C> {
        let last = by_key.iter().max_by_key(|(_, config)| config.generation());
        Written { by_key, last: last.filter(|_| world.cluster.is_none()) }
    }

    /// What goes before the next configuration of `key`.
    pub(crate) fn of(&self, key: &Key) -> Option<&'w C> {
        self.last.map(|(_, config)| config).or_else(|| self.by_key.get(key))
    }

    /// The server objects that have a configuration: those that can be used, and those that are
    /// still there and had one before.
    pub(crate) fn served<S>(
        &self,
        objects: &'w BTreeMap<Key, Object<S>>,
        usable: impl Iterator<Item = &'w Key>,
    ) -> Vec<&'w Key> {
        let usable: Vec<&Key> = usable.collect();
        match self.last {
            Some(_) if !usable.is_empty() => usable,
            Some((key, _)) => objects.keys().filter(|object| *object == key).collect(),
            None => {
                objects.keys().filter(|key| usable.contains(key) || self.by_key.contains_key(*key)).collect()
            }
        }
    }
}
