//! [`Mailboxes`]: from the mailboxes of a world to what servers read and people are told of them.
//!
//! Decides that a slice of a database is looked at again only if its mailboxes changed, if a policy that
//! they name leads elsewhere, if they lose or gain an extension, or if one is called for something else; and its statuses only if something
//! changed that they say. What followed from the rest is remembered, and is what would follow anew.
//!
//! ```text
//! mailboxes, policies -> Asked -> Claims of all slices -> Lost -> Found: pieces and problems -> parts
//! Found, statuses, servers -> what is to be written about them
//! ```

mod asked;
mod found;
mod policies;
mod taken;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use config::parts::Part;
use config::{DATABASES, SLICES_OF_A_DATABASE, slice_of};
use crds::{Kind, UMMailboxSpec};

use crate::memory::Effort;
use crate::plan::Write;
use crate::problem::Problem;
use crate::settled::Settled;
use crate::shared::{SLICES, Shared, Sliced};
use crate::status::{Details, Group, Round};
use crate::world::{Key, Object, Waits, World};
use asked::{Asked, Names, asked, names};
use found::found;
use taken::{Claims, Lost, hash, lost};

pub(crate) use found::Found;
pub(crate) use policies::{Policies, Reserved, reserved};
pub(crate) use totals::Totals;

/// The mailboxes of one slice.
pub(crate) type Slice = BTreeMap<Key, Object<UMMailboxSpec>>;

/// What followed from the mailboxes of the last world.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    policies: Shared<Policies>,
    reserved: Shared<Reserved>,
    slices: Vec<Memory>,
    parts: Vec<Parts>,
    claims: Claims,
    totals: Totals,
    effort: Effort,
}

/// The part of a database in each namespace that has mailboxes in it; nothing if it cannot be written.
pub(crate) type Parts = BTreeMap<String, Option<Part>>;

/// What followed from one slice.
#[derive(Debug, Default)]
struct Memory {
    objects: Shared<Slice>,
    names: Arc<Names>,
    lost: Lost,
    found: Found,
    /// Given the edits of them that were refused.
    settled: Option<Settled<Vec<Problem>>>,
}

impl Mailboxes {
    /// What followed from each slice, by number.
    pub(crate) fn found(&self) -> impl Iterator<Item = &Found> {
        self.slices.iter().map(|memory| &memory.found)
    }

    /// The parts of each database, by number.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Parts> {
        self.parts.iter()
    }

    /// What they come to together.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What the last plan took.
    pub(crate) fn effort(&self) -> Effort {
        self.effort
    }

    /// Looks at the mailboxes of `world`, of which the policies lead to `policies`, where calls for what is
    /// `reserved` go elsewhere.
    pub(crate) fn look(&mut self, world: &World, policies: &Shared<Policies>, reserved: &Shared<Reserved>) {
        self.effort = Effort::default();
        self.slices.resize_with(SLICES, Memory::default);
        self.parts.resize_with(DATABASES, Parts::default);
        let slices = world.mailboxes.slices();
        let (changed, news) = self.take_up(slices, policies);
        self.policies = policies.clone();
        let all_names: Vec<Arc<Names>> = self.slices.iter().map(|memory| Arc::clone(&memory.names)).collect();
        let ask = |number: usize| asked(&slices[number], &all_names[number]);
        let mut all_asked: BTreeMap<usize, Asked<'_>> =
            changed.iter().map(|number| (*number, ask(*number))).collect();
        let mut contested = BTreeSet::new();
        for hash in &news {
            for number in self.claims.contested(*hash) {
                contested.insert(*hash);
                all_asked.entry(number).or_insert_with(|| ask(number));
            }
        }
        self.effort.mailboxes = all_asked.keys().map(|number| slices[*number].len()).sum();
        let mut again = self.lose(&news, lost(&contested, all_asked.iter()));
        again.extend(self.reserve(reserved));
        let mut written = BTreeSet::new();
        for number in changed.union(&again).copied() {
            let asked = all_asked.remove(&number).unwrap_or_else(|| {
                self.effort.mailboxes += slices[number].len();
                ask(number)
            });
            let memory = &mut self.slices[number];
            let found = found(&slices[number], asked, &memory.lost, reserved);
            self.totals.count(&memory.found.counts, &found.counts);
            memory.found = found;
            memory.settled = None;
            self.effort.slices += 1;
            written.insert(number / SLICES_OF_A_DATABASE);
        }
        for database in written {
            let slices = self.slices.chunks(SLICES_OF_A_DATABASE).nth(database).unwrap_or_default();
            self.parts[database] = found::parts(slices.iter().map(|memory| &memory.found));
        }
    }

    /// Takes up the slices that changed, or of which a policy leads elsewhere: which they are, and
    /// the hashes of the extensions that somebody began or ceased to ask for.
    fn take_up(
        &mut self,
        slices: &[Shared<Slice>],
        policies: &Shared<Policies>,
    ) -> (BTreeSet<usize>, BTreeSet<u64>) {
        let same_policies = self.policies == *policies;
        let (mut changed, mut news) = (BTreeSet::new(), BTreeSet::new());
        for (number, (memory, objects)) in self.slices.iter_mut().zip(slices).enumerate() {
            let same_objects = memory.objects.is(objects);
            if same_objects && same_policies {
                continue;
            }
            let names = if same_objects { memory.names.again(policies) } else { names(objects, policies) };
            if same_objects && names == *memory.names {
                continue;
            }
            news.extend(self.claims.change(number, (&memory.objects, &memory.names), (objects, &names)));
            self.totals.refer(number, objects);
            memory.objects = objects.clone();
            memory.names = Arc::new(names);
            changed.insert(number);
        }
        self.totals.sum_up();
        (changed, news)
    }

    /// Takes up what calls go elsewhere for; gives the slices that ask for what is new of it.
    fn reserve(&mut self, reserved: &Shared<Reserved>) -> BTreeSet<usize> {
        let before = std::mem::replace(&mut self.reserved, reserved.clone());
        let mut again = BTreeSet::new();
        if before.is(reserved) {
            return again;
        }
        let nothing = BTreeMap::new();
        for plan in before.keys().chain(reserved.keys()) {
            let [before, now] = [&before, reserved].map(|reserved| reserved.get(plan).unwrap_or(&nothing));
            let all = before.keys().chain(now.keys());
            for number in all.filter(|number| before.get(*number) != now.get(*number)) {
                again.extend(self.claims.slices(hash(plan, number)));
            }
        }
        again
    }

    /// Takes up who lost what of the extensions in `news`; gives the slices for which that is new.
    fn lose(&mut self, news: &BTreeSet<u64>, mut lost: BTreeMap<usize, Lost>) -> BTreeSet<usize> {
        let mut again = BTreeSet::new();
        for (number, memory) in self.slices.iter_mut().enumerate() {
            let now = lost.remove(&number).unwrap_or_default();
            let before: Lost = memory.lost.extract_if(.., |_, (hash, _)| news.contains(hash)).collect();
            if before != now {
                again.insert(number);
            }
            memory.lost.extend(now);
        }
        again
    }

    /// What is to be written about the mailboxes in these slices of `world`, until there is no `room`, and
    /// whether there may be more. Notes in `awaited` which of them wait for servers.
    pub(crate) fn statuses(
        &mut self,
        world: &World,
        round: &Round<'_>,
        (slices, room): (Range<usize>, usize),
        awaited: &mut Sliced<Waits>,
    ) -> (Vec<Write>, bool) {
        let mut refused: BTreeMap<usize, Vec<Problem>> = BTreeMap::new();
        for problem in &world.refused {
            let object = problem.object.as_ref().filter(|object| object.kind == Kind::UMMailbox.name());
            if let Some(object) = object {
                refused.entry(slice_of(&object.key.name)).or_default().push(problem.clone());
            }
        }
        let (mut writes, mut is_cut) = (Vec::new(), false);
        for number in slices {
            let Some(memory) = self.slices.get_mut(number) else { continue };
            let now = Settled {
                statuses: world.observed.statuses.sliced(Kind::UMMailbox).slices()[number].clone(),
                awaited: world.observed.awaited.sliced(Kind::UMMailbox).slices()[number].clone(),
                servers: Arc::clone(round.servers),
                from: refused.remove(&number).unwrap_or_default(),
                waits: false,
            };
            if writes.len() >= room {
                // Whether there is more is not known before it is looked at.
                is_cut = true;
                awaited.put(number, now.awaited);
                continue;
            }
            let Memory { objects, found: Found { problems, left_out, .. }, settled, .. } = memory;
            let said = Settled::say(settled, now, |now| {
                let group = Group::new(Kind::UMMailbox, (&now.statuses, &now.awaited), &now.from, &*problems);
                group.compare(round, objects, |key| !left_out.contains(key), |_| Details::default())
            });
            self.effort.statuses += usize::from(said.was_compared);
            writes.extend(said.writes);
            awaited.put(number, said.awaited);
        }
        (writes, is_cut)
    }
}
