//! [`Gateways`]: what becomes of all gateways.
//!
//! Decides what each is known by and which of them stand in a configuration. A slice of them is looked at again
//! if one of its gateways changed or a name leads elsewhere, and all beside each other only while two claim the
//! same. Refuses to know hunt groups and dial plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Gateway;
use crds::{Kind, PeerAddress, UMIPGatewaySpec};

use crate::check::sound;
use crate::counts::Counts;
use crate::directory::Documents;
use crate::guards::{Referred, Users};
use crate::names::{Answers, Asked, Wanted, wanted};
use crate::problem::Problem;
use crate::resolve::{LastGood, resolve};
use crate::shared::{SLICES, Shared, Sliced};
use crate::translate;
use crate::validate::gateway_addresses;
use crate::world::{Key, Object};

/// The gateways of one slice.
type Slice = BTreeMap<Key, Object<UMIPGatewaySpec>>;

/// All gateways: what [`Gateways`] follows from.
#[derive(Debug)]
pub(crate) struct GatewayObjects {
    pub(crate) objects: Sliced<Object<UMIPGatewaySpec>>,
    pub(crate) answers: GatewayAnswers,
}

/// What was found out about the names of gateways, and what servers were told of them last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GatewayAnswers {
    pub(crate) names: Arc<Answers>,
    pub(crate) told: LastGood,
}

/// What follows from all gateways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways {
    /// Everything that is wrong with them.
    pub(crate) problems: Vec<Problem>,
    /// Those that calls may come from.
    pub(crate) kept: Sliced<()>,
    /// The others.
    pub(crate) left_out: Sliced<()>,
    /// The names that somebody should ask for.
    pub(crate) names: Shared<Wanted>,
    /// What servers read of them.
    pub(crate) documents: Documents,
    /// Which of them refer to each dial plan, whether it is there or not.
    pub(crate) users: BTreeMap<Key, Users>,
}

/// What follows from the gateways of one slice by themselves.
#[derive(Debug, Default, PartialEq)]
struct Found {
    problems: Vec<Problem>,
    gateways: BTreeMap<Key, Gateway>,
    asked: Asked,
}

/// What followed from one slice.
#[derive(Debug, Default)]
struct SliceMemory {
    objects: Shared<Slice>,
    found: Shared<Found>,
    /// Those that stand in a configuration, as they stand there.
    kept: Shared<BTreeMap<Key, Gateway>>,
}

/// What followed from the gateways of an earlier world.
#[derive(Debug, Default)]
pub(crate) struct GatewayMemory {
    answers: GatewayAnswers,
    slices: Vec<SliceMemory>,
    claims: Counts,
    users: Referred,
    all: Gateways,
    /// How many were looked at for the last plan.
    pub(crate) looked_at: usize,
}

impl GatewayMemory {
    /// What follows from `now`.
    pub(crate) fn look(&mut self, now: &GatewayObjects) -> &Gateways {
        self.looked_at = 0;
        self.slices.resize_with(SLICES, SliceMemory::default);
        let same_answers = self.answers == now.answers;
        self.answers = now.answers.clone();
        let was_contested = self.claims.is_contested();
        let (mut changed, mut asks_otherwise) = (Vec::new(), false);
        for (number, (memory, objects)) in self.slices.iter_mut().zip(now.objects.slices()).enumerate() {
            if same_answers && memory.objects.is(objects) {
                continue;
            }
            self.looked_at += objects.len();
            let mut is_news = !memory.objects.is(objects);
            if is_news {
                self.users.refer(number, users(objects));
                memory.objects = objects.clone();
            }
            let found = found(objects, &now.answers);
            if found != *memory.found {
                claims(&memory.found).for_each(|claim| self.claims.remove(claim));
                claims(&found).for_each(|claim| self.claims.add(claim));
                asks_otherwise |= found.asked != memory.found.asked;
                memory.found = found.into();
                is_news = true;
            }
            if is_news {
                changed.push(number);
            }
        }
        self.users.sum_up();
        self.all.users.clone_from(self.users.users());
        if self.claims.is_contested() || was_contested {
            self.keep_beside_each_other();
        } else {
            self.all.problems = self.problems();
            for number in changed {
                let kept = self.slices[number].found.gateways.clone();
                self.keep(number, kept);
            }
        }
        if asks_otherwise {
            self.all.names = wanted(self.slices.iter().map(|memory| &memory.found.asked)).into();
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
        let mut problems = self.problems();
        let found: Vec<Shared<Found>> = self.slices.iter().map(|memory| memory.found.clone()).collect();
        let all = found.iter().flat_map(|found| &found.gateways);
        let mut linked: BTreeMap<&Key, Gateway> = all.map(|(key, gateway)| (key, gateway.clone())).collect();
        gateway_addresses(&mut linked, &mut problems);
        self.all.problems = problems;
        for (number, found) in found.iter().enumerate() {
            let kept = found.gateways.keys().filter_map(|key| Some((key.clone(), linked.remove(key)?)));
            self.keep(number, kept.collect());
        }
    }

    /// Takes up which gateways of a slice stand in a configuration, and how.
    fn keep(&mut self, number: usize, kept: BTreeMap<Key, Gateway>) {
        let memory = &mut self.slices[number];
        let left_out = memory.objects.keys().filter(|key| !kept.contains_key(key));
        self.all.left_out.put_names(number, left_out.cloned());
        if *memory.kept == kept {
            return;
        }
        self.all.kept.put_names(number, kept.keys().cloned());
        memory.kept = kept.into();
        let division = Documents::slices_beside(number);
        let gateways = self.slices[division.clone()].iter().flat_map(|memory| memory.kept.iter());
        self.all.documents.write(division.start, gateways, |directory, gateway: &Gateway| {
            directory.gateways.push(gateway.clone());
        });
    }
}

/// What the gateways of a slice are by themselves, given what their names lead to.
fn found(objects: &Slice, answers: &GatewayAnswers) -> Found {
    let mut found = Found::default();
    let specs = sound(Kind::UMIPGateway, objects, UMIPGatewaySpec::check, &mut found.problems);
    for (key, spec) in specs {
        let (fqdn, addresses) = match spec.peer_address() {
            Some(PeerAddress::Prefix(net)) => (None, vec![net.into()]),
            Some(PeerAddress::Name(fqdn)) => {
                let addresses = resolve(answers, key, spec, &fqdn, &mut found.problems);
                let generation = objects.get(key).map_or(0, |object| object.generation);
                found.asked.add(&fqdn, spec, (key, generation));
                (Some(fqdn), addresses)
            }
            None => continue,
        };
        let status = translate::gateway_status(spec.status);
        found.gateways.insert(key.clone(), Gateway { name: key.name.clone(), addresses, fqdn, status });
    }
    found
}

/// What the gateways of a slice claim.
fn claims(found: &Found) -> impl Iterator<Item = (&str, Option<&str>, Option<config::Prefix>)> {
    found.gateways.iter().flat_map(|(key, gateway)| {
        let namespace = key.namespace.as_str();
        let name = gateway.fqdn.as_deref().map(|name| (namespace, Some(name), None));
        let addresses = gateway.addresses.iter().map(move |address| (namespace, None, Some(*address)));
        name.into_iter().chain(addresses)
    })
}

/// Which gateways of a slice refer to each dial plan.
fn users(objects: &Slice) -> BTreeMap<Key, Users> {
    let mut users: BTreeMap<Key, Users> = BTreeMap::new();
    for (key, gateway) in objects {
        if let Some(dial_plan) = &gateway.spec.um_dial_plan {
            users.entry(key.beside(dial_plan)).or_default().add(Kind::UMIPGateway, &key.name);
        }
    }
    users
}
