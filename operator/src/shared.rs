//! [`Shared`], [`Sliced`] and [`PerObject`]: how a hundred thousand of something are held.
//!
//! Decides that a world can be handed on without a copy, and that a change of one object leaves all but
//! one slice of its kind where they are: what is the very same need not be looked at. Refuses to know
//! what is held.

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

/// How many slices there are.
pub(crate) const SLICES: usize = DATABASES * SLICES_OF_A_DATABASE;

/// Whether there may be so many objects of a kind that they are held in slices.
pub(crate) const fn is_sliced(kind: Kind) -> bool {
    match kind {
        Kind::UMIPGateway | Kind::UMHuntGroup | Kind::UMAutoAttendant | Kind::UMMailbox => true,
        Kind::UMDialPlan | Kind::UMMailboxPolicy | Kind::UMCallRouter | Kind::UMService => false,
    }
}

/// The slice of the object `key` of `kind`; all are one where they are not held in slices.
pub(crate) fn slice(kind: Kind, key: &Key) -> usize {
    if is_sliced(kind) { slice_of(&key.name) } else { 0 }
}

/// Something for each of many objects of a kind, in slices by their names. Those of mailboxes are slices of
/// databases.
#[derive(Clone, Debug)]
pub struct Sliced<T> {
    /// Always [`SLICES`] of them.
    slices: Arc<Vec<Shared<BTreeMap<Key, T>>>>,
}

impl<T> Default for Sliced<T> {
    fn default() -> Self {
        let empty = Shared::from(BTreeMap::new());
        Sliced { slices: Arc::new(vec![empty; SLICES]) }
    }
}

impl<T: PartialEq> PartialEq for Sliced<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.slices == other.slices
    }
}

impl<T> Sliced<T> {
    /// Whether both are one and the same, so that nothing in them differs.
    pub(crate) fn is(&self, other: &Sliced<T>) -> bool {
        Arc::ptr_eq(&self.slices, &other.slices)
    }

    /// What there is for an object.
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.slices.get(slice_of(&key.name))?.get(key)
    }

    /// Whether there is something for an object.
    pub fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Everything, slice by slice and by name in each.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.slices.iter().flat_map(|slice| slice.iter())
    }

    /// The names of all objects that there is something for, in the same order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.iter().map(|(key, _)| key)
    }

    /// For how many objects there is something.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| slice.is_empty())
    }

    /// Each slice, by number.
    pub(crate) fn slices(&self) -> &[Shared<BTreeMap<Key, T>>] {
        &self.slices
    }

    /// The slice of an object, to be changed.
    fn slice_mut(&mut self, key: &Key) -> Option<&mut Shared<BTreeMap<Key, T>>> {
        Arc::make_mut(&mut self.slices).get_mut(slice_of(&key.name))
    }

    /// Puts a whole slice in the place of another one.
    pub(crate) fn put(&mut self, number: usize, slice: Shared<BTreeMap<Key, T>>) {
        if self.slices.get(number).is_some_and(|place| !place.is(&slice)) {
            Arc::make_mut(&mut self.slices)[number] = slice;
        }
    }
}

impl Sliced<()> {
    /// Puts names into a slice, in the place of those that were in it.
    pub(crate) fn put_names(&mut self, number: usize, names: impl Iterator<Item = Key>) {
        let names: BTreeMap<Key, ()> = names.map(|key| (key, ())).collect();
        if self.slices.get(number).is_some_and(|before| **before != names) {
            self.put(number, names.into());
        }
    }
}

impl<T: Clone> Sliced<T> {
    /// Puts something in for an object; gives what was there before.
    pub fn insert(&mut self, key: Key, value: T) -> Option<T> {
        self.slice_mut(&key)?.insert(key, value)
    }

    /// Takes out what there is for an object.
    pub fn remove(&mut self, key: &Key) -> Option<T> {
        // What is not there is not worth a copy.
        if self.contains_key(key) { self.slice_mut(key)?.remove(key) } else { None }
    }
}

impl<T: Clone + PartialEq> Sliced<T> {
    /// Puts something in for an object, or takes out what there is; does nothing if that is so already.
    pub(crate) fn set(&mut self, key: &Key, value: Option<T>) {
        if self.get(key) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => drop(self.insert(key.clone(), value)),
            None => drop(self.remove(key)),
        }
    }
}

impl<T> Index<&Key> for Sliced<T> {
    type Output = T;

    /// # Panics
    /// If there is nothing for this object.
    fn index(&self, key: &Key) -> &T {
        match self.get(key) {
            Some(value) => value,
            None => panic!("there is nothing for {key}"),
        }
    }
}

impl<T: Clone> Extend<(Key, T)> for Sliced<T> {
    fn extend<I: IntoIterator<Item = (Key, T)>>(&mut self, all: I) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

impl<T: Clone> FromIterator<(Key, T)> for Sliced<T> {
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(all: I) -> Self {
        let mut sliced = Sliced::default();
        sliced.extend(all);
        sliced
    }
}

/// Something for each of many objects: by kind, and in slices where there may be many of one.
#[derive(Clone, Debug, PartialEq)]
pub struct PerObject<T> {
    /// By the place of the kind in [`Kind::ALL`]; nothing for kinds in slices.
    whole: [Shared<BTreeMap<Key, T>>; Kind::ALL.len()],
    /// By the place of the kind; nothing for the other kinds.
    sliced: [Sliced<T>; Kind::ALL.len()],
}

impl<T> Default for PerObject<T> {
    fn default() -> Self {
        let sliced = Sliced::default();
        PerObject {
            whole: Kind::ALL.map(|_| Shared::from(BTreeMap::new())),
            sliced: Kind::ALL.map(|_| Sliced { slices: Arc::clone(&sliced.slices) }),
        }
    }
}

impl<T> PerObject<T> {
    /// What there is for an object.
    pub fn get(&self, object: &ObjectRef) -> Option<&T> {
        self.of(Kind::of(&object.kind)?, &object.key)
    }

    /// What there is for the object `key` of `kind`.
    pub(crate) fn of(&self, kind: Kind, key: &Key) -> Option<&T> {
        if is_sliced(kind) { self.sliced(kind).get(key) } else { self.whole(kind).get(key) }
    }

    /// Everything.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectRef, &T)> {
        let of_kind = |kind| self.of_kind(kind).map(move |(key, value)| (ObjectRef::new(kind, key), value));
        Kind::ALL.into_iter().flat_map(of_kind)
    }

    /// What there is for each object of one kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &T)> {
        self.whole(kind).iter().chain(self.sliced(kind).iter())
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.whole.iter().all(|all| all.is_empty()) && self.sliced.iter().all(Sliced::is_empty)
    }

    /// The names of the objects of one kind that there is something for.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &Key> {
        self.of_kind(kind).map(|(key, _)| key)
    }

    /// What there is for objects of a kind in slices.
    pub(crate) fn sliced(&self, kind: Kind) -> &Sliced<T> {
        &self.sliced[kind as usize]
    }

    /// What there is for objects of a kind in slices, to be changed.
    pub(crate) fn sliced_mut(&mut self, kind: Kind) -> &mut Sliced<T> {
        &mut self.sliced[kind as usize]
    }

    /// What there is for objects of another kind.
    pub(crate) fn whole(&self, kind: Kind) -> &Shared<BTreeMap<Key, T>> {
        &self.whole[kind as usize]
    }

    /// What there is for objects of another kind, to be changed.
    pub(crate) fn whole_mut(&mut self, kind: Kind) -> &mut Shared<BTreeMap<Key, T>> {
        &mut self.whole[kind as usize]
    }
}

impl<T: Clone> PerObject<T> {
    /// Puts something in for an object, if there is such a kind.
    pub fn insert(&mut self, object: ObjectRef, value: T) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if is_sliced(kind) {
            self.sliced_mut(kind).insert(object.key, value);
        } else {
            self.whole_mut(kind).insert(object.key, value);
        }
    }

    /// Takes out what there is for an object.
    pub fn remove(&mut self, object: &ObjectRef) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if is_sliced(kind) {
            self.sliced_mut(kind).remove(&object.key);
        } else {
            self.whole_mut(kind).remove(&object.key);
        }
    }
}

impl<T: Clone + PartialEq> PerObject<T> {
    /// Puts something in for an object, or takes out what there is; does nothing if that is so already.
    pub(crate) fn set(&mut self, object: &ObjectRef, value: Option<T>) {
        let Some(kind) = Kind::of(&object.kind) else { return };
        if is_sliced(kind) {
            self.sliced_mut(kind).set(&object.key, value);
        } else {
            self.whole_mut(kind).set(&object.key, value);
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
    fn a_change_of_one_object_leaves_every_other_slice_where_it_was() {
        let key = |number: u32| Key::new("default", &format!("mailbox-{number}"));
        let before: Sliced<u32> = (0..1_000).map(|number| (key(number), number)).collect();
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
