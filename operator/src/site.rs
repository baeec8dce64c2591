//! [`Cluster`]: what is around the objects where the servers run as pods.
//!
//! Decides what may be known of pods and their surroundings when a plan is made. Refuses to know
//! how it was found out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::Kind;

use crate::world::{Key, ObjectRef};

/// A namespace of a cluster, as far as servers run in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The image of the servers' pods.
    pub image: Image,
    /// The identity that the API server gave to each object that others belong to, or may still be
    /// made for: what does names it, and goes with it.
    pub uids: BTreeMap<ObjectRef, String>,
    /// The identities of the objects that one belongs to, and goes with.
    pub owners: BTreeMap<ObjectRef, Vec<String>>,
    /// The PersistentVolumeClaims, each with its access modes.
    pub claims: BTreeMap<Key, Vec<String>>,
    /// The pods of each server object that run.
    pub instances: BTreeMap<ObjectRef, Vec<Instance>>,
    /// Addresses of nodes, as far as they are known from pods.
    pub nodes: BTreeSet<IpAddr>,
    /// Who may ask servers how they are; with `None` nobody is kept from anything.
    pub admin_peers: Option<AdminPeers>,
}

/// Who may ask servers for their generation, health and metrics, beside the nodes that they run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminPeers {
    /// The namespace of the operator's pods.
    pub operator_namespace: String,
    /// The namespaces of those who collect metrics.
    pub metrics_namespaces: Vec<String>,
}

/// An image, and how nodes get it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its name, such as `registry.example/umbriel:1`.
    pub name: String,
    /// Secrets with which a registry lets nodes have it. Each namespace with servers has its own of
    /// these names.
    pub pull_secrets: Vec<String>,
}

impl From<&str> for Image {
    /// An image that anybody may have.
    fn from(name: &str) -> Self {
        Image { name: name.to_owned(), pull_secrets: Vec::new() }
    }
}

/// One pod of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The name of the pod.
    pub name: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// The address of its node, once it has one.
    pub node_address: Option<IpAddr>,
    /// Whether it takes calls.
    pub ready: bool,
    /// Whether it is about to end. It takes no new calls then, and those that it has go on.
    pub ends: bool,
    /// The generation that it says it serves, if it has said anything.
    pub serves: Option<u64>,
}

impl Cluster {
    /// The generation that every instance of `server` that stays serves at least; `None` if there
    /// is none, or one that takes calls is silent. One that is silent and takes no calls is about to
    /// start.
    pub fn served(&self, server: &ObjectRef) -> Option<u64> {
        let speaks = |instance: &&Instance| !instance.ends && (instance.ready || instance.serves.is_some());
        // The smallest of them, and silence is smaller than any number.
        self.instances(server).iter().filter(speaks).map(|instance| instance.serves).min().flatten()
    }

    /// The objects of servers, each with its identity: what all servers share belongs to them.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (&ObjectRef, &String)> {
        let kinds = [Kind::UMCallRouter.name(), Kind::UMService.name()];
        self.uids.iter().filter(move |(object, _)| kinds.contains(&object.kind.as_str()))
    }

    /// How many pods of `server` there are that stay and say what they serve.
    pub(crate) fn running(&self, server: &ObjectRef) -> usize {
        let running = |instance: &&Instance| !instance.ends && instance.serves.is_some();
        self.instances(server).iter().filter(running).count()
    }

    /// How many pods of `server` there are that stay, and take calls or say what they serve; others
    /// are about to start, with whatever is written then.
    pub(crate) fn present(&self, server: &ObjectRef) -> usize {
        let present = |instance: &&Instance| !instance.ends && (instance.ready || instance.serves.is_some());
        self.instances(server).iter().filter(present).count()
    }

    /// How many pods of `server` take calls.
    pub(crate) fn ready(&self, server: &ObjectRef) -> usize {
        self.instances(server).iter().filter(|instance| instance.ready && !instance.ends).count()
    }

    /// Whether `object` belongs to something, and not to `owner`.
    pub(crate) fn belongs_to_another(&self, object: &ObjectRef, owner: &ObjectRef) -> bool {
        let owner = self.uids.get(owner);
        self.owners.get(object).is_some_and(|owners| !owners.iter().any(|uid| Some(uid) == owner))
    }

    /// The pods of `server`.
    pub(crate) fn instances(&self, server: &ObjectRef) -> &[Instance] {
        self.instances.get(server).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(ready: bool, serves: Option<u64>) -> Instance {
        Instance { name: "a".into(), address: None, node_address: None, ready, ends: false, serves }
    }

    fn served(instances: Vec<Instance>) -> Option<u64> {
        let server = ObjectRef::new(Kind::UMCallRouter, &Key::new("default", "main"));
        let instances = BTreeMap::from([(server.clone(), instances)]);
        Cluster { instances, ..Cluster::default() }.served(&server)
    }

    #[test]
    fn what_the_slowest_instance_serves_is_served() {
        assert_eq!(served(vec![instance(true, Some(3)), instance(true, Some(2))]), Some(2));
        assert_eq!(served(vec![instance(true, Some(3)), instance(true, None)]), None);
        assert_eq!(served(vec![instance(true, Some(3)), instance(false, None)]), Some(3));
        assert_eq!(served(vec![instance(false, Some(3))]), Some(3));
        assert_eq!(served(vec![instance(false, None)]), None);
        assert_eq!(served(vec![]), None);
        let ending = Instance { ends: true, ..instance(false, Some(1)) };
        assert_eq!(served(vec![instance(true, Some(3)), ending]), Some(3));
    }
}
