//! [`HuntGroups`]: what becomes of all hunt groups.
//!
//! Decides which of them lead on, and how many gateways lead to a dial plan. A slice of them is looked at again if
//! one of its hunt groups changed, all slices if a gateway or dial plan comes or goes, and all beside each other
//! only while two claim the same or too many gateways lead to a dial plan. Refuses to know anything of gateways
//! and dial plans but their names.

use std::collections::{BTreeMap, BTreeSet};

use config::{HuntGroup, Party};
use crds::{Kind, UMHuntGroupSpec};

use crate::check::sound;
use crate::counts::Counts;
use crate::dereference::hunt_groups;
use crate::directory::Documents;
use crate::guards::{Referred, Users};
use crate::problem::Problem;
use crate::shared::{SLICES, Shared, Sliced};
use crate::validate::{
    MAX_GATEWAYS_PER_DIAL_PLAN, gateways_per_dial_plan, gateways_without_hunt_group, pilots,
};
use crate::world::{Key, Object};

/// The hunt groups of one slice.
type Slice = BTreeMap<Key, Object<UMHuntGroupSpec>>;

/// All hunt groups, and what they lead from and to: what [`HuntGroups`] follows from.
#[derive(Debug)]
pub(crate) struct HuntGroupObjects {
    pub(crate) objects: Sliced<Object<UMHuntGroupSpec>>,
    pub(crate) ends: Ends,
}

/// What hunt groups lead from and to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ends {
    /// The gateways that calls may come from, and those that are there all the same.
    pub(crate) gateways: Sliced<()>,
    pub(crate) left_out_gateways: Sliced<()>,
    /// The dial plans that can be used, and those that are there all the same.
    pub(crate) dial_plans: BTreeSet<Key>,
    pub(crate) left_out_dial_plans: BTreeSet<Key>,
    /// What was refused.
    pub(crate) refused: Vec<Problem>,
}

/// What follows from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct HuntGroups {
    /// Everything that is wrong with them, and with gateways and dial plans because of them.
    pub(crate) problems: Vec<Problem>,
    /// Those that stand in no configuration.
    pub(crate) left_out: Sliced<()>,
    /// How many gateways lead to each dial plan.
    pub(crate) gateways: BTreeMap<Key, i64>,
    /// What servers read of them.
    pub(crate) documents: Documents,
    /// Which of them refer to each dial plan, whether it is there or not.
    pub(crate) users: BTreeMap<Key, Users>,
}

/// A hunt group that leads from a gateway to a dial plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LinkedHuntGroup {
    pub(crate) gateway: Key,
    pub(crate) dial_plan: Key,
    pub(crate) pilot: Option<String>,
}

/// What follows from the hunt groups of one slice by themselves.
#[derive(Debug, Default, PartialEq)]
struct Found {
    problems: Vec<Problem>,
    linked: BTreeMap<Key, LinkedHuntGroup>,
}

/// What followed from one slice.
#[derive(Debug, Default)]
struct SliceMemory {
    objects: Shared<Slice>,
    found: Shared<Found>,
    /// Those that stand in a configuration.
    kept: Shared<BTreeMap<Key, LinkedHuntGroup>>,
}

/// What followed from the hunt groups of an earlier world.
#[derive(Debug, Default)]
pub(crate) struct HuntGroupMemory {
    ends: Ends,
    slices: Vec<SliceMemory>,
    /// By gateway and pilot.
    claims: Counts,
    users: Referred,
    /// How many of those that stand in a configuration lead from each gateway to each dial plan.
    leading: BTreeMap<Key, BTreeMap<Key, usize>>,
    /// How many lead from each gateway.
    led: BTreeMap<Key, usize>,
    all: HuntGroups,
    /// Whether they are looked at beside each other, because somebody lost what others keep.
    is_contested: bool,
    /// How many were looked at for the last plan.
    pub(crate) looked_at: usize,
}

impl HuntGroupMemory {
    /// What follows from `now`.
    pub(crate) fn look(&mut self, now: &HuntGroupObjects) -> &HuntGroups {
        self.looked_at = 0;
        self.slices.resize_with(SLICES, SliceMemory::default);
        let same_ends = self.ends == now.ends;
        self.ends = now.ends.clone();
        let mut changed = Vec::new();
        for (number, (memory, objects)) in self.slices.iter_mut().zip(now.objects.slices()).enumerate() {
            if same_ends && memory.objects.is(objects) {
                continue;
            }
            self.looked_at += objects.len();
            let mut is_news = !memory.objects.is(objects);
            if is_news {
                self.users.refer(number, users(objects));
                memory.objects = objects.clone();
            }
            let found = found(objects, &now.ends);
            if found != *memory.found {
                claims(&memory.found).for_each(|claim| self.claims.remove(claim));
                claims(&found).for_each(|claim| self.claims.add(claim));
                memory.found = found.into();
                is_news = true;
            }
            if is_news {
                changed.push(number);
            }
        }
        self.users.sum_up();
        self.all.users.clone_from(self.users.users());
        self.all.problems = self.problems();
        // What was taken from somebody may be theirs again.
        if self.is_contested || self.claims.is_contested() {
            self.keep_beside_each_other();
        } else {
            for number in changed {
                let kept = self.slices[number].found.linked.clone();
                self.keep(number, kept);
            }
            if self.leading.values().any(|gateways| gateways.len() > MAX_GATEWAYS_PER_DIAL_PLAN) {
                self.keep_beside_each_other();
            }
        }
        let count = |gateways: &BTreeMap<Key, usize>| i64::try_from(gateways.len()).unwrap_or(i64::MAX);
        self.all.gateways =
            self.leading.iter().map(|(plan, gateways)| (plan.clone(), count(gateways))).collect();
        // Each of them leads from a gateway that is there.
        if self.led.len() < now.ends.gateways.len() {
            gateways_without_hunt_group(now, |key| self.led.contains_key(key), &mut self.all.problems);
        }
        &self.all
    }

    /// What is wrong with each by itself.
    fn problems(&self) -> Vec<Problem> {
        self.slices.iter().flat_map(|memory| memory.found.problems.iter().cloned()).collect()
    }

    /// Decides who keeps what several of them claim.
    fn keep_beside_each_other(&mut self) {
        self.looked_at = self.slices.iter().map(|memory| memory.objects.len()).sum();
        let found: Vec<Shared<Found>> = self.slices.iter().map(|memory| memory.found.clone()).collect();
        let mut linked: BTreeMap<&Key, &LinkedHuntGroup> =
            found.iter().flat_map(|found| &found.linked).collect();
        let claiming = linked.len();
        pilots(&mut linked, &mut self.all.problems);
        gateways_per_dial_plan(&mut linked, &mut self.all.problems);
        self.is_contested = self.claims.is_contested() || linked.len() < claiming;
        for (number, found) in found.iter().enumerate() {
            let kept = found.linked.iter().filter(|(key, _)| linked.contains_key(key));
            self.keep(number, kept.map(|(key, hunt_group)| (key.clone(), hunt_group.clone())).collect());
        }
    }

    /// Takes up which hunt groups of a slice stand in a configuration.
    fn keep(&mut self, number: usize, kept: BTreeMap<Key, LinkedHuntGroup>) {
        let memory = &mut self.slices[number];
        let left_out = memory.objects.keys().filter(|key| !kept.contains_key(key));
        self.all.left_out.put_names(number, left_out.cloned());
        if *memory.kept == kept {
            return;
        }
        for hunt_group in memory.kept.values() {
            count_down(&mut self.led, &hunt_group.gateway);
            if let Some(gateways) = self.leading.get_mut(&hunt_group.dial_plan) {
                count_down(gateways, &hunt_group.gateway);
                if gateways.is_empty() {
                    self.leading.remove(&hunt_group.dial_plan);
                }
            }
        }
        for LinkedHuntGroup { gateway, dial_plan, .. } in kept.values() {
            *self.led.entry(gateway.clone()).or_default() += 1;
            let gateways = self.leading.entry(dial_plan.clone()).or_default();
            *gateways.entry(gateway.clone()).or_default() += 1;
        }
        memory.kept = kept.into();
        let division = Documents::slices_beside(number);
        let hunt_groups = self.slices[division.clone()].iter().flat_map(|memory| memory.kept.iter());
        let named = hunt_groups.map(|(key, hunt_group)| (key, (key, hunt_group)));
        self.all.documents.write(division.start, named, |directory, (key, hunt_group)| {
            directory.hunt_groups.push(HuntGroup {
                name: key.name.clone(),
                gateway: hunt_group.gateway.name.clone(),
                pilot: hunt_group.pilot.clone(),
                dial_plan: hunt_group.dial_plan.name.clone(),
            });
        });
    }
}

/// Takes one from the count of `key`; what is at nothing is not there.
fn count_down(counts: &mut BTreeMap<Key, usize>, key: &Key) {
    let Some(count) = counts.get_mut(key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

/// What the hunt groups of a slice are by themselves, given what they lead from and to.
fn found(objects: &Slice, ends: &Ends) -> Found {
    let mut problems = Vec::new();
    let specs = sound(Kind::UMHuntGroup, objects, UMHuntGroupSpec::check, &mut problems);
    let linked = hunt_groups(ends, specs, &mut problems);
    Found { problems, linked }
}

/// What the hunt groups of a slice claim: a pilot of a gateway in normal form, or all of its other calls.
fn claims(found: &Found) -> impl Iterator<Item = (&Key, Option<String>)> {
    found.linked.values().map(|hunt_group| (&hunt_group.gateway, hunt_group.normal_pilot()))
}

impl LinkedHuntGroup {
    /// Its pilot in normal form.
    pub(crate) fn normal_pilot(&self) -> Option<String> {
        self.pilot.as_deref().map(|pilot| Party::from(pilot).normal().into_owned())
    }
}

/// Which hunt groups of a slice refer to each dial plan.
fn users(objects: &Slice) -> BTreeMap<Key, Users> {
    let mut users: BTreeMap<Key, Users> = BTreeMap::new();
    for (key, hunt_group) in objects {
        let dial_plan = key.beside(&hunt_group.spec.um_dial_plan);
        users.entry(dial_plan).or_default().add(Kind::UMHuntGroup, &key.name);
    }
    users
}
