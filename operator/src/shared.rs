//! [`Shared`], [`ByDatabase`] and [`PerObject`]: how a hundred thousand of something are held.
//!
//! Decides that a world can be handed on without a copy, and that a change of one mailbox leaves all
//! but a slice of its database where they are: what is the very same need not be looked at. Refuses to
//! know what is held.

use std::any::Any;
use std::collections::{BTreeMap, btree_map};
use std::ops::{Deref, DerefMut, Index};
use std::sync::Arc;

use config::{DATABASES, SLICES_OF_A_DATABASE, slice_of};
use crds::Kind;

use crate::world::{Key, ObjectRef};

/// Something that is handed on without a copy. Whoever changes it has one of its own from then on,
/// unless nobody else has it.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Whether both are one and the same, so that nothing in them differs. Two that are not may be
    /// equal all the same.
    pub(crate) fn is(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    /// Which one it is.
    pub(crate) fn identity(&self) -> Identity {
        Identity(Arc::clone(&self.0) as Arc<dyn Any + Send + Sync>)
    }
}

/// Which one something is, whatever it is. It stays that one's for as long as anybody knows it.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<dyn Any + Send + Sync>);

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || *self.0 == *other.0
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<'s, K, V> IntoIterator for &'s Shared<BTreeMap<K, V>> {
    type Item = (&'s K, &'s V);
    type IntoIter = btree_map::Iter<'s, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Shared<BTreeMap<K, V>> {
    /// Puts something in, or takes out what there is; does nothing if that is so already.
    pub(crate) fn set(&mut self, key: &K, value: Option<V>) {
        if self.0.get(key) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => drop(self.insert(key.clone(), value)),
            None => drop(self.remove(key)),
        }
    }
}

/// How many slices of databases there are.
pub(crate) const SLICES: usize = DATABASES * SLICES_OF_A_DATABASE;

/// Something for each of many mailboxes, by database and slice.
#[derive(Clone, Debug, PartialEq)]
pub struct ByDatabase<T> {
    /// Always [`SLICES`] of them.
    slices: Vec<Shared<BTreeMap<Key, T>>>,
}

impl<T> Default for ByDatabase<T> {
    fn default() -> Self {
        let empty = Shared::from(BTreeMap::new());
        ByDatabase { slices: vec![empty; SLICES] }
    }
}

impl<T> ByDatabase<T> {
    /// What there is for a mailbox.
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.slices.get(slice_of(&key.name))?.get(key)
    }

    /// Everything, slice by slice and by name in each.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.slices.iter().flat_map(|slice| slice.iter())
    }

    /// For how many mailboxes there is something.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each slice, by number.
    pub(crate) fn slices(&self) -> &[Shared<BTreeMap<Key, T>>] {
        &self.slices
    }

    /// Puts a whole slice in the place of another one.
    pub(crate) fn put(&mut self, number: usize, slice: Shared<BTreeMap<Key, T>>) {
        if let Some(place) = self.slices.get_mut(number) {
            *place = slice;
        }
    }
}

impl<T: Clone> ByDatabase<T> {
    /// Puts something in for a mailbox; gives what was there before.
    pub fn insert(&mut self, key: Key, value: T) -> Option<T> {
        self.slices.get_mut(slice_of(&key.name))?.insert(key, value)
    }

    /// Takes out what there is for a mailbox.
    pub fn remove(&mut self, key: &Key) -> Option<T> {
        let slice = self.slices.get_mut(slice_of(&key.name))?;
        // What is not there is not worth a copy.
        if slice.contains_key(key) { slice.remove(key) } else { None }
    }
}

impl<T: Clone + PartialEq> ByDatabase<T> {
    /// Puts something in for a mailbox, or takes out what there is; does nothing if that is so already.
    pub(crate) fn set(&mut self, key: &Key, value: Option<T>) {
        if let Some(slice) = self.slices.get_mut(slice_of(&key.name)) {
            slice.set(key, value);
        }
    }
}

impl<T: Clone> Extend<(Key, T)> for ByDatabase<T> {
    fn extend<I: IntoIterator<Item = (Key, T)>>(&mut self, all: I) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

impl<T: Clone> FromIterator<(Key, T)> for ByDatabase<T> {
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(all: I) -> Self {
        let mut by_database = ByDatabase::default();
        by_database.extend(all);
        by_database
    }
}

/// Something for each of many objects: mailboxes by database, others by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct PerObject<T> {
    mailboxes: ByDatabase<T>,
    /// By the place of the kind in [`Kind::ALL`]; nothing for mailboxes.
    others: [Shared<BTreeMap<Key, T>>; Kind::ALL.len()],
}

impl<T> Default for PerObject<T> {
    fn default() -> Self {
        let others = Kind::ALL.map(|_| Shared::from(BTreeMap::new()));
        PerObject { mailboxes: ByDatabase::default(), others }
    }
}

impl<T> PerObject<T> {
    /// What there is for an object.
    pub fn get(&self, object: &ObjectRef) -> Option<&T> {
        let kind = Kind::of(&object.kind)?;
        if kind == Kind::UMMailbox {
            return self.mailboxes.get(&object.key);
        }
        self.of_kind(kind).get(&object.key)
    }

    /// Everything.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectRef, &T)> {
        let others = Kind::ALL.into_iter().zip(&self.others);
        let others = others.flat_map(|(kind, all)| all.iter().map(move |(key, value)| (kind, key, value)));
        let mailboxes = self.mailboxes.iter().map(|(key, value)| (Kind::UMMailbox, key, value));
        others.chain(mailboxes).map(|(kind, key, value)| (ObjectRef::new(kind, key), value))
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty() && self.others.iter().all(|others| others.is_empty())
    }

    /// The names of the objects of one kind that there is something for.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &Key> {
        let mailboxes = (kind == Kind::UMMailbox).then(|| self.mailboxes.iter().map(|(key, _)| key));
        self.of_kind(kind).keys().chain(mailboxes.into_iter().flatten())
    }

    /// What there is for mailboxes.
    pub(crate) fn mailboxes(&self) -> &ByDatabase<T> {
        &self.mailboxes
    }

    /// What there is for mailboxes, to be changed.
    pub(crate) fn mailboxes_mut(&mut self) -> &mut ByDatabase<T> {
        &mut self.mailboxes
    }

    /// What there is for objects of a kind that are no mailboxes.
    pub(crate) fn of_kind(&self, kind: Kind) -> &Shared<BTreeMap<Key, T>> {
        &self.others[kind as usize]
    }

    /// What there is for objects of a kind that are no mailboxes, to be changed.
    pub(crate) fn of_kind_mut(&mut self, kind: Kind) -> &mut Shared<BTreeMap<Key, T>> {
        &mut self.others[kind as usize]
    }
}

impl<T: Clone> PerObject<T> {
    /// Puts something in for an object, if there is such a kind.
    pub fn insert(&mut self, object: ObjectRef, value: T) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if kind == Kind::UMMailbox {
            self.mailboxes.insert(object.key, value);
        } else {
            self.of_kind_mut(kind).insert(object.key, value);
        }
    }

    /// Takes out what there is for an object.
    pub fn remove(&mut self, object: &ObjectRef) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if kind == Kind::UMMailbox {
            self.mailboxes.remove(&object.key);
        } else {
            self.of_kind_mut(kind).remove(&object.key);
        }
    }
}

impl<T: Clone + PartialEq> PerObject<T> {
    /// Puts something in for an object, or takes out what there is; does nothing if that is so already.
    pub(crate) fn set(&mut self, object: &ObjectRef, value: Option<T>) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if kind == Kind::UMMailbox {
            self.mailboxes.set(&object.key, value);
        } else {
            self.of_kind_mut(kind).set(&object.key, value);
        }
    }
}

impl<T> Index<&ObjectRef> for PerObject<T> {
    type Output = T;

    /// # Panics
    /// If there is nothing for this object.
    fn index(&self, object: &ObjectRef) -> &T {
        match self.get(object) {
            Some(value) => value,
            None => panic!("there is nothing for {object}"),
        }
    }
}

impl<T: Clone> FromIterator<(ObjectRef, T)> for PerObject<T> {
    fn from_iter<I: IntoIterator<Item = (ObjectRef, T)>>(all: I) -> Self {
        let mut per_object = PerObject::default();
        for (object, value) in all {
            per_object.insert(object, value);
        }
        per_object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_mailbox_leaves_every_other_slice_where_it_was() {
        let key = |number: u32| Key::new("default", &format!("mailbox-{number}"));
        let before: ByDatabase<u32> = (0..1_000).map(|number| (key(number), number)).collect();
        let mut after = before.clone();
        assert_eq!(after.insert(key(7), 0), Some(7));
        assert_eq!(after.remove(&key(5_000)), None);
        let same = before.slices().iter().zip(after.slices()).filter(|(one, other)| one.is(other));
        assert_eq!(same.count(), 511);
        assert_eq!((before.get(&key(7)), after.get(&key(7)), after.len()), (Some(&7), Some(&0), 1_000));
    }

    #[test]
    fn each_object_has_a_place_of_its_own() {
        let of = |kind| ObjectRef::new(kind, &Key::new("default", "one"));
        let all: PerObject<Kind> = Kind::ALL.into_iter().map(|kind| (of(kind), kind)).collect();
        assert!(Kind::ALL.into_iter().all(|kind| all[&of(kind)] == kind));
        assert_eq!(all.iter().count(), 8);
        let mut none = all.clone();
        Kind::ALL.into_iter().for_each(|kind| none.remove(&of(kind)));
        assert_eq!((none, all.get(&of(Kind::UMMailbox))), (PerObject::default(), Some(&Kind::UMMailbox)));
    }
}
