//! Who is called by which number or address: the part of a [`Table`](crate::Table) that is as large as the
//! company.
//!
//! Decides how it lies in memory. A call names one user of very many, and none that the processor's caches
//! still know, so that what counts is how many cache lines are looked at: one, in which the entry that the hash
//! points to holds what the user is called and the name of the mailbox, or the one behind it; and one more where
//! those are long. Refuses to know dial
//! plans, and how users are named in them.

use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::database_of;

/// A mailbox as calls find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxRef<'a> {
    /// The name of the object.
    pub name: &'a str,
    /// The database that it belongs to.
    pub database: usize,
}

/// Users by what they are called.
pub(crate) struct Users {
    /// A power of two of places, of which a fifth at least is free. A user stands where the hash points to, or in the
    /// next place behind that was free.
    places: Box<[Entry]>,
    count: usize,
    /// The texts of entries that are too long for them.
    texts: Vec<u8>,
    /// Keyed anew in each table. Callers put nothing into it, and who writes mailboxes does not know the
    /// key, so that a quick hash is good enough.
    hasher: RandomState,
}

/// Bytes of the texts of most entries: an extension and a name such as `alice.archer`.
const SHORT_BYTES: usize = 26;

/// Half a cache line, and never of two.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Entry {
    /// The normal form of what names the user, and behind it the name of the mailbox. If that is more than
    /// fits, where it stands in [`Users::texts`], in the first four bytes.
    text: [u8; SHORT_BYTES],
    name_bytes: u16,
    /// The number of the dial plan; [`FREE`] where nobody stands.
    plan: u16,
    /// The longest is [`MAX_ADDRESS_BYTES`](crate::MAX_ADDRESS_BYTES).
    normal_bytes: u8,
    database: u8,
}

/// No dial plan has this number.
const FREE: u16 = u16::MAX;

impl Users {
    /// Room for so many.
    pub(crate) fn with_capacity(users: usize) -> Self {
        let (places, hasher) = (free_places(users), RandomState::default());
        Users { places, count: 0, texts: Vec::new(), hasher }
    }

    /// Adds a user of the dial plan of this number, unless somebody is called so already.
    pub(crate) fn add(&mut self, plan: u16, normal: &str, mailbox: &str) {
        if plan == FREE || self.get(plan, normal).is_some() {
            return;
        }
        // What is larger than can be counted is not found.
        let (Ok(start), Ok(name_bytes), Ok(normal_bytes), Ok(database)) = (
            u32::try_from(self.texts.len()),
            u16::try_from(mailbox.len()),
            u8::try_from(normal.len()),
            u8::try_from(database_of(mailbox)),
        ) else {
            return;
        };
        let mut entry = Entry { text: [0; SHORT_BYTES], name_bytes, plan, normal_bytes, database };
        if let Some(place) = entry.text.get_mut(..normal.len() + mailbox.len()) {
            let (front, behind) = place.split_at_mut(normal.len());
            front.copy_from_slice(normal.as_bytes());
            behind.copy_from_slice(mailbox.as_bytes());
        } else {
            entry.text[..4].copy_from_slice(&start.to_ne_bytes());
            self.texts.extend([normal, mailbox].concat().bytes());
        }
        if needed_places(self.count + 1) > self.places.len() {
            let grown = free_places(self.count + 1);
            let before = std::mem::replace(&mut self.places, grown);
            before.iter().filter(|entry| entry.plan != FREE).for_each(|entry| self.put(*entry));
        }
        self.put(entry);
        self.count += 1;
    }

    fn put(&mut self, entry: Entry) {
        let mut at = self.first_place(entry.plan, entry.texts(&self.texts).0);
        while self.places[at].plan != FREE {
            at = self.next_place(at);
        }
        self.places[at] = entry;
    }

    fn first_place(&self, plan: u16, normal: &[u8]) -> usize {
        let hash = self.hasher.hash_one((plan, normal));
        // A place is a usize.
        usize::try_from(hash & (self.places.len() as u64 - 1)).unwrap_or_default()
    }

    fn next_place(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// Gives back what is left over when all are there.
    pub(crate) fn shrink(&mut self) {
        self.texts.shrink_to_fit();
    }

    /// The mailbox of whom is called so in the dial plan of this number, and what they are called.
    pub(crate) fn get(&self, plan: u16, normal: &str) -> Option<(MailboxRef<'_>, &str)> {
        let normal = normal.as_bytes();
        let mut at = self.first_place(plan, normal);
        let entry = loop {
            let entry = &self.places[at];
            if entry.plan == plan && entry.texts(&self.texts).0 == normal {
                break entry;
            }
            if entry.plan == FREE {
                return None;
            }
            at = self.next_place(at);
        };
        let (normal, name) = entry.texts(&self.texts);
        let (normal, name) = (std::str::from_utf8(normal).ok()?, std::str::from_utf8(name).ok()?);
        Some((MailboxRef { name, database: usize::from(entry.database) }, normal))
    }
}

impl Entry {
    /// What names the user, and the name of the mailbox.
    fn texts<'t>(&'t self, long: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        let normal_bytes = usize::from(self.normal_bytes);
        let length = normal_bytes + usize::from(self.name_bytes);
        let text = self.text.get(..length).unwrap_or_else(|| {
            let [a, b, c, d, ..] = self.text;
            let start = u32::from_ne_bytes([a, b, c, d]) as usize;
            &long[start..start + length]
        });
        text.split_at(normal_bytes)
    }
}

/// How many places so many users need, one of five being left free.
fn needed_places(users: usize) -> usize {
    (users + users / 4 + 1).next_power_of_two()
}

fn free_places(users: usize) -> Box<[Entry]> {
    let free = Entry { text: [0; SHORT_BYTES], name_bytes: 0, plan: FREE, normal_bytes: 0, database: 0 };
    vec![free; needed_places(users)].into_boxed_slice()
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Users({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_plan_and_form_and_the_first_has_it() {
        let mut users = Users::with_capacity(0);
        users.add(0, "101", "alice");
        users.add(1, "101", "bob");
        users.add(0, "101", "carol");
        users.add(0, "", "nobody");
        (0..1000).for_each(|number| users.add(2, &number.to_string(), &format!("user-{number}")));
        users.shrink();
        let named = |plan, normal: &str| {
            let (mailbox, normal) = users.get(plan, normal)?;
            Some((mailbox.name.to_owned(), normal.to_owned()))
        };
        let is = |mailbox: &str, normal: &str| Some((mailbox.to_owned(), normal.to_owned()));
        assert_eq!(named(0, "101"), is("alice", "101"));
        assert_eq!(named(1, "101"), is("bob", "101"));
        assert_eq!(named(0, ""), is("nobody", ""));
        assert_eq!(
            [named(0, "1"), named(0, "10"), named(3, "101"), named(0, "1010")],
            [None, None, None, None]
        );
        for number in (0..1000).map(|number| number.to_string()) {
            assert_eq!(named(2, &number), is(&format!("user-{number}"), &number));
        }
    }

    #[test]
    fn the_database_is_that_of_the_name() {
        let mut users = Users::with_capacity(1);
        users.add(0, "101", "alice");
        assert_eq!(users.get(0, "101").map(|(mailbox, _)| mailbox.database), Some(database_of("alice")));
    }

    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (32, 32));
    }

    #[test]
    fn a_table_that_was_made_for_fewer_grows_and_always_has_a_free_place() {
        let mut users = Users::with_capacity(0);
        for number in 0..5_000_u32 {
            users.add(7, &number.to_string(), "user");
            assert!(users.places.len() * 4 >= users.count * 5 && users.places.len() > users.count);
            assert_eq!(users.get(7, "nobody"), None);
        }
        assert_eq!(users.count, 5_000);
        users.add(FREE, "101", "nobody");
        assert!((0..5_000).all(|number| users.get(7, &number.to_string()).is_some()));
        assert_eq!(users.get(FREE, "101"), None);
    }

    #[test]
    fn texts_may_be_short_or_long() {
        let mut users = Users::with_capacity(0);
        let normal = |bytes: usize| format!("{bytes:0>bytes$}");
        let lengths = || (3..60).chain([254]);
        for bytes in lengths() {
            users.add(0, &normal(bytes), "a");
            users.add(1, &normal(bytes), &"n".repeat(253));
        }
        for bytes in lengths() {
            let named = |plan| {
                users
                    .get(plan, &normal(bytes))
                    .map(|(mailbox, normal)| (mailbox.name.len(), normal.to_owned()))
            };
            assert_eq!(named(0), Some((1, normal(bytes))));
            assert_eq!(named(1), Some((253, normal(bytes))));
        }
        users.add(0, &"9".repeat(256), "nobody");
        assert_eq!(users.get(0, &"9".repeat(256)), None);
    }
}
