//! Second: the mailboxes of all slices beside each other.
//!
//! Decides who keeps an extension that two mailboxes of a dial plan ask for: the first by name
//! (spec 1.10 rule 8). Only extensions that somebody began or ceased to ask for are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crds::UMMailboxSpec;

use super::Slice;
use super::asked::{Asked, Names, Place, asking};
use crate::world::Key;

/// How many mailboxes of each slice ask for each extension or address, by its hash. Two may have
/// the same, and are told from each other later.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<(u64, usize), u32>);

/// What the mailboxes of one slice lose: mailbox and place of the extension in its spec, with its
/// hash and who keeps it.
pub(super) type Lost = BTreeMap<(Key, Place), (u64, Key)>;

impl Claims {
    /// Takes up that a slice changed; gives the hashes that somebody began or ceased to ask for.
    pub(super) fn change(
        &mut self,
        number: usize,
        before: (&Slice, &Names),
        now: (&Slice, &Names),
    ) -> BTreeSet<u64> {
        let mut news = BTreeSet::new();
        let same_names = before.1 == now.1;
        let leads =
            |key: &Key, spec: &UMMailboxSpec| same_names || leads_to_the_same(key, spec, before.1, now.1);
        for (key, object) in before.0 {
            let same = now.0.get(key).is_some_and(|now| now.spec == object.spec);
            if !(same && leads(key, &object.spec)) {
                self.remove(number, key, &object.spec, before.1, &mut news);
            }
        }
        for (key, object) in now.0 {
            let same = before.0.get(key).is_some_and(|before| before.spec == object.spec);
            if !(same && leads(key, &object.spec)) {
                for hash in hashes(key, &object.spec, now.1) {
                    *self.0.entry((hash, number)).or_default() += 1;
                    news.insert(hash);
                }
            }
        }
        news
    }

    fn remove(
        &mut self,
        number: usize,
        key: &Key,
        spec: &UMMailboxSpec,
        names: &Names,
        news: &mut BTreeSet<u64>,
    ) {
        for hash in hashes(key, spec, names) {
            let count = self.0.entry((hash, number)).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&(hash, number));
            }
            news.insert(hash);
        }
    }

    /// The slices that ask for an extension of this hash.
    pub(super) fn slices(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.0.range((hash, 0)..=(hash, usize::MAX)).map(|((_, slice), _)| *slice)
    }

    /// The slices that ask for an extension of this hash, if it is asked for more than once.
    pub(super) fn contested(&self, hash: u64) -> Vec<usize> {
        let all = self.0.range((hash, 0)..=(hash, usize::MAX));
        let (slices, counts): (Vec<usize>, Vec<u32>) =
            all.map(|((_, slice), count)| (*slice, *count)).unzip();
        if counts.into_iter().sum::<u32>() > 1 { slices } else { Vec::new() }
    }
}

/// Whether the policy of a mailbox leads to what it led to before.
fn leads_to_the_same(key: &Key, spec: &UMMailboxSpec, before: &Names, now: &Names) -> bool {
    let policy = key.beside(&spec.um_mailbox_policy);
    let mut plans = spec.secondary_addresses.iter().map(|address| key.beside(&address.um_dial_plan));
    before.policies.get(&policy) == now.policies.get(&policy)
        && plans.all(|plan| before.dial_plans.get(&plan) == now.dial_plans.get(&plan))
}

/// The hashes of the extensions that a mailbox asks for.
fn hashes(key: &Key, spec: &UMMailboxSpec, names: &Names) -> Vec<u64> {
    let asking = asking(key, spec, names, &mut Vec::new());
    let names = asking.iter().flat_map(|asking| &asking.names);
    names.map(|name| hash(&name.dial_plan, &name.normal)).collect()
}

pub(super) fn hash(dial_plan: &Key, extension: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (dial_plan, extension).hash(&mut hasher);
    hasher.finish()
}

/// Who asks for an extension.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claimant<'d> {
    mailbox: &'d Key,
    place: Place,
    slice: usize,
    hash: u64,
}

/// Who keeps the extensions of which the hashes are `contested`, given what is asked for in every
/// slice that asks for one of them. Gives what the mailboxes of each slice lose.
pub(super) fn lost<'a, 'd: 'a>(
    contested: &BTreeSet<u64>,
    asked: impl Iterator<Item = (&'a usize, &'a Asked<'d>)>,
) -> BTreeMap<usize, Lost> {
    let mut lost: BTreeMap<usize, Lost> = BTreeMap::new();
    if contested.is_empty() {
        return lost;
    }
    let mut claimants: BTreeMap<(&Key, &str), BTreeSet<Claimant<'_>>> = BTreeMap::new();
    for (slice, asked) in asked {
        for asking in &asked.mailboxes {
            for name in &asking.names {
                let (plan, normal) = (name.dial_plan.as_ref(), name.normal.as_ref());
                let hash = hash(plan, normal);
                if contested.contains(&hash) {
                    let (mailbox, place) = (asking.key, name.place);
                    let claimant = Claimant { mailbox, place, slice: *slice, hash };
                    claimants.entry((plan, normal)).or_default().insert(claimant);
                }
            }
        }
    }
    for claimants in claimants.into_values() {
        let Some(keeper) = claimants.first().map(|first| first.mailbox) else { continue };
        for claimant in claimants.iter().filter(|claimant| claimant.mailbox != keeper) {
            let place = (claimant.mailbox.clone(), claimant.place);
            lost.entry(claimant.slice).or_default().insert(place, (claimant.hash, keeper.clone()));
        }
    }
    lost
}
