//! [`Mailboxes`]: from the mailboxes of a world to what servers read and people are told of them.
//!
//! Decides that a slice of a database is looked at again only if its mailboxes changed, if a policy that
//! they name leads elsewhere, or if they lose or gain an extension; and its statuses only if something
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
use std::sync::Arc;

use config::parts::Part;
use config::{DATABASES, SLICES_OF_A_DATABASE, slice_of};
use crds::{Kind, UMMailboxSpec};

use crate::plan::Write;
use crate::problem::Problem;
use crate::served::Servers;
use crate::shared::{ByDatabase, SLICES, Shared};
use crate::status::{Details, Group, ObjectStatus, Round};
use crate::world::{Key, Object, Waits, World};
use asked::{Asked, Names, asked, names};
use found::found;
use taken::{Claims, Lost, lost};

pub(crate) use found::Found;
pub(crate) use policies::Policies;
pub(crate) use totals::Totals;

/// The mailboxes of one slice.
pub(crate) type Slice = BTreeMap<Key, Object<UMMailboxSpec>>;

/// What a plan took to be made, counted: how much of a world was looked at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Slices of databases whose pieces and problems were found out.
    pub slices: usize,
    /// Mailboxes that were looked at for that.
    pub mailboxes: usize,
    /// Slices whose statuses were compared.
    pub statuses: usize,
}

/// What followed from the mailboxes of the last world.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    policies: Policies,
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
    settled: Option<Settled>,
}

/// What it followed from that nothing is to be written about the mailboxes of a slice.
#[derive(Debug)]
struct Settled {
    statuses: Shared<BTreeMap<Key, ObjectStatus>>,
    awaited: Shared<BTreeMap<Key, Waits>>,
    refused: Vec<Problem>,
    servers: Arc<Servers>,
    /// Whether it depends on what servers say, because somebody waits for them.
    waits: bool,
}

impl Settled {
    fn holds(&self, now: &Settled) -> bool {
        self.statuses.is(&now.statuses)
            && self.awaited == now.awaited
            && self.refused == now.refused
            && if self.waits { self.servers == now.servers } else { self.servers.stand_as(&now.servers) }
    }
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

    /// Looks at the mailboxes of `world`, of which the policies lead to `policies`.
    pub(crate) fn look(&mut self, world: &World, policies: Policies) {
        self.effort = Effort::default();
        self.slices.resize_with(SLICES, Memory::default);
        self.parts.resize_with(DATABASES, Parts::default);
        let slices = world.mailboxes.slices();
        let (changed, news) = self.take_up(slices, &policies);
        self.policies = policies;
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
        let again = self.lose(&news, lost(&contested, all_asked.iter()));
        let mut written = BTreeSet::new();
        for number in changed.union(&again).copied() {
            let asked = all_asked.remove(&number).unwrap_or_else(|| {
                self.effort.mailboxes += slices[number].len();
                ask(number)
            });
            let memory = &mut self.slices[number];
            let found = found(&slices[number], asked, &memory.lost);
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
    fn take_up(&mut self, slices: &[Shared<Slice>], policies: &Policies) -> (BTreeSet<usize>, BTreeSet<u64>) {
        let same_policies = self.policies == *policies;
        let (mut changed, mut news) = (BTreeSet::new(), BTreeSet::new());
        let mut referred = BTreeSet::new();
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
            referred.extend(self.totals.refer(number, objects));
            memory.objects = objects.clone();
            memory.names = Arc::new(names);
            changed.insert(number);
        }
        self.totals.sum_up(&referred);
        (changed, news)
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

    /// What is to be written about the mailboxes of `world`, at most `room` of it; which of them wait for
    /// servers, as far as they were looked at; and whether there is more to write.
    pub(crate) fn statuses(
        &mut self,
        world: &World,
        round: &Round<'_>,
        room: usize,
    ) -> (Vec<Write>, ByDatabase<Waits>, bool) {
        let mut refused: BTreeMap<usize, Vec<&Problem>> = BTreeMap::new();
        for problem in &world.refused {
            let object = problem.object.as_ref().filter(|object| object.kind == Kind::UMMailbox.name());
            if let Some(object) = object {
                refused.entry(slice_of(&object.key.name)).or_default().push(problem);
            }
        }
        let (mut writes, mut awaited, mut is_cut) = (Vec::new(), ByDatabase::default(), false);
        for (number, memory) in self.slices.iter_mut().enumerate() {
            let refused = refused.remove(&number).unwrap_or_default();
            let mut now = Settled {
                statuses: world.observed.statuses.mailboxes().slices()[number].clone(),
                awaited: world.observed.awaited.mailboxes().slices()[number].clone(),
                refused: refused.iter().copied().cloned().collect(),
                servers: Arc::clone(round.servers),
                waits: false,
            };
            if writes.len() >= room {
                // Whether there is more is not known before it is looked at.
                is_cut = true;
                awaited.put(number, now.awaited);
                continue;
            }
            if memory.settled.as_ref().is_some_and(|settled| settled.holds(&now)) {
                awaited.put(number, now.awaited);
                continue;
            }
            self.effort.statuses += 1;
            let Found { problems, left_out, .. } = &memory.found;
            let group =
                Group::new(Kind::UMMailbox, &now.statuses, &now.awaited, refused.iter().copied(), problems);
            let compared =
                group.compare(round, &memory.objects, |key| !left_out.contains(key), |_| Details::default());
            let settles = compared.writes.is_empty() && *now.awaited == compared.awaited;
            writes.extend(compared.writes);
            awaited.put(number, if settles { now.awaited.clone() } else { compared.awaited.into() });
            now.waits = compared.waits;
            memory.settled = settles.then_some(now);
        }
        is_cut |= writes.len() > room;
        writes.truncate(room);
        (writes, awaited, is_cut)
    }
}
