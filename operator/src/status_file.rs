//! `status.yaml`: the status of every object, as `kubectl get um -o yaml` shows it.
//!
//! Decides the shape of that file, and reads it back. Refuses to know when it is written.

use std::collections::BTreeMap;

use crds::{GROUP, VERSION};
use serde::{Deserialize, Serialize};

use crate::shared::PerObject;
use crate::status::ObjectStatus;
use crate::world::{Key, ObjectRef};

/// Values of one file: as many as 100,000 mailboxes with two conditions have, and room for more.
const MAX_NODES: usize = 10_000_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct List {
    api_version: String,
    kind: String,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    api_version: String,
    kind: String,
    metadata: Metadata,
    status: ObjectStatus,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    namespace: String,
    name: String,
}

/// Writes the file.
pub(crate) fn to_yaml(statuses: &PerObject<ObjectStatus>) -> Result<String, serde_yaml::SerializeError> {
    let sorted: BTreeMap<ObjectRef, &ObjectStatus> = statuses.iter().collect();
    let items = sorted.into_iter().map(|(object, status)| Item {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: object.kind,
        metadata: Metadata { namespace: object.key.namespace, name: object.key.name },
        status: status.clone(),
    });
    serde_yaml::to_string(&List { api_version: "v1".into(), kind: "List".into(), items: items.collect() })
}

/// Reads the file.
pub(crate) fn from_yaml(text: &str) -> Result<PerObject<ObjectStatus>, serde_yaml::Error> {
    let options = serde_yaml::options! {
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
    };
    let list: List = serde_yaml::from_str_with_options(text, options)?;
    let statuses = list.items.into_iter().map(|item| {
        let key = Key { namespace: item.metadata.namespace, name: item.metadata.name };
        (ObjectRef { kind: item.kind, key }, item.status)
    });
    Ok(statuses.collect())
}
