//! Whether the server in a pod takes calls: [`word`] and [`spare`].
//!
//! Decides whom to believe. The kubelet of a pod says whether it is ready. When the kubelet has not
//! been heard of for a while, such as after an API server that was away, Kubernetes says of all its
//! pods that they are not ready; that is about the kubelet, and the pods may take calls all the same.
//! Refuses to know how they are asked. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::site::Instance;
use crate::world::ObjectRef;

/// What the status of a pod says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Its kubelet says that it takes calls.
    Ready,
    /// Its kubelet says that it takes none.
    NotReady,
    /// Its kubelet said last that it takes calls, and has not been heard of since.
    Unheard,
}

/// What the status of `pod` says. A kubelet says of a pod whose containers are ready that it is ready
/// itself, because ours have no other gates. Only the node controller says otherwise.
pub(super) fn word(pod: &Json) -> Word {
    let is_true = |type_: &str| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == type_ && condition["status"] == "True")
    };
    match (is_true("Ready"), is_true("ContainersReady")) {
        (true, _) => Word::Ready,
        (false, true) => Word::Unheard,
        (false, false) => Word::NotReady,
    }
}

/// Leaves in service whoever is in `unheard`, by server object and name of the pod, where nobody else
/// of the kind takes calls: it may be us who hear nothing, and nobody at all is no better host.
pub(super) fn spare(
    instances: &mut BTreeMap<ObjectRef, Vec<Instance>>,
    unheard: &BTreeSet<(ObjectRef, String)>,
) {
    let kinds: BTreeSet<String> = unheard.iter().map(|(server, _)| server.kind.to_string()).collect();
    for kind in kinds {
        let of_kind = || instances.iter().filter(|(server, _)| server.kind == kind);
        if of_kind().flat_map(|(_, instances)| instances).any(|instance| instance.ready) {
            continue;
        }
        for (server, name) in unheard.iter().filter(|(server, _)| server.kind == kind) {
            let of_server = instances.get_mut(server).into_iter().flatten();
            of_server.filter(|instance| instance.name == *name).for_each(|instance| instance.ready = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use crds::Kind;
    use serde_json::json;

    use super::*;
    use crate::world::Key;

    fn pod(ready: &str, containers: &str) -> Json {
        json!({ "status": { "conditions": [
            { "type": "Initialized", "status": "True" },
            { "type": "Ready", "status": ready },
            { "type": "ContainersReady", "status": containers },
        ] } })
    }

    #[test]
    fn a_node_that_was_not_heard_of_is_told_from_a_server_that_is_not_ready() {
        assert_eq!(word(&pod("True", "True")), Word::Ready);
        assert_eq!(word(&pod("False", "False")), Word::NotReady);
        assert_eq!(word(&pod("False", "True")), Word::Unheard);
        assert_eq!(word(&json!({ "status": {} })), Word::NotReady, "it is about to start");
    }

    /// Two services with a server each, and a router.
    fn instances(ready: [bool; 3]) -> BTreeMap<ObjectRef, Vec<Instance>> {
        let servers = [(Kind::UMService, "a"), (Kind::UMService, "b"), (Kind::UMCallRouter, "c")];
        let instance = |((kind, name), ready): ((Kind, &str), bool)| {
            let (address, node_address) = (None, None);
            let named =
                Instance { name: name.into(), address, node_address, ready, ends: false, serves: None };
            (ObjectRef::new(kind, &Key::new("office", name)), vec![named])
        };
        servers.into_iter().zip(ready).map(instance).collect()
    }

    fn spared(ready: [bool; 3], unheard: &[&str]) -> Vec<String> {
        let mut instances = instances(ready);
        let of = |(server, _): (&ObjectRef, &Vec<Instance>)| (server.clone(), server.key.name.clone());
        let known = instances.iter().map(of).filter(|(_, name)| unheard.contains(&name.as_str()));
        let known = known.collect();
        spare(&mut instances, &known);
        let ready = instances.into_values().flatten().filter(|instance| instance.ready);
        ready.map(|instance| instance.name).collect()
    }

    #[test]
    fn whoever_is_not_heard_of_stays_only_where_nobody_else_of_the_kind_takes_calls() {
        assert_eq!(spared([true, false, true], &["b"]), ["c", "a"]);
        assert_eq!(spared([false, false, true], &["b"]), ["c", "b"]);
        assert_eq!(spared([false, false, false], &["a", "b"]), ["a", "b"]);
        assert_eq!(spared([false, false, false], &[]), Vec::<String>::new());
    }
}
