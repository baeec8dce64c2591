//! What a server reads, as objects of the cluster, and the volume that makes a folder of them.
//!
//! Decides which object holds which file, and whom it belongs to. Indices and parts are ConfigMaps,
//! because there is nothing secret in them; the keys of the redirect token are a Secret of their own,
//! and a
//! certificate and the keys of a bucket stay in the Secret of the person who wrote them. Parts are optional in the volume:
//! one that is not there yet keeps no pod from starting, and the server waits for what its index names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::parts::{CERTIFICATE_FILES, Part, STORE_FILES, TOKEN_KEYS_FILE};
use crds::{GROUP, VERSION};
use serde_json::{Value as Json, json};

use super::{MANAGED_BY, Owner};
use crate::store_keys::FIELDS;
use crate::world::{ObjectRef, PartName, PartRef, WrittenKeys};

/// The Secret with the keys of the redirect token.
pub(crate) const TOKEN_SECRET: &str = "umbriel-token";

/// How far the rotation of the keys is.
pub(crate) const PHASE_ANNOTATION: &str = "umbriel.dev/rotation";

/// Since when.
pub(crate) const SINCE_ANNOTATION: &str = "umbriel.dev/rotation-since";

/// The group reads the files, and nobody else: 0440.
const FILE_MODE: u32 = 0o440;

/// The ConfigMap of a part.
pub(crate) fn part_name(name: PartName) -> String {
    match name {
        PartName::Site => "umbriel-site".into(),
        PartName::Database(number) => format!("umbriel-database-{number:02}"),
    }
}

/// The ConfigMap with the index of one server object.
pub(crate) fn index(owner: &Owner<'_>, text: &str) -> Json {
    let mut metadata = owner.metadata();
    metadata["namespace"] = owner.key.namespace.clone().into();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": { owner.role.file(): text },
    })
}

/// The ConfigMap with a part that the servers of a namespace share.
pub(crate) fn part<'o>(
    owners: impl Iterator<Item = (&'o ObjectRef, &'o String)>,
    named: &PartRef,
    part: &Part,
) -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": shared(owners, &part_name(named.name), &named.namespace),
        "binaryData": { named.name.file(): STANDARD.encode(&part.bytes) },
    })
}

/// The Secret with the keys of the redirect token, of which `text` is the file.
pub(crate) fn token_secret<'o>(
    owners: impl Iterator<Item = (&'o ObjectRef, &'o String)>,
    namespace: &str,
    keys: &WrittenKeys,
    text: &str,
) -> Json {
    let mut metadata = shared(owners, TOKEN_SECRET, namespace);
    metadata["annotations"] =
        json!({ PHASE_ANNOTATION: keys.phase.name(), SINCE_ANNOTATION: keys.since.to_string() });
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": { TOKEN_KEYS_FILE: STANDARD.encode(text) },
    })
}

/// Metadata of what belongs to every server object of a namespace: it goes with the last of them.
fn shared<'o>(
    owners: impl Iterator<Item = (&'o ObjectRef, &'o String)>,
    name: &str,
    namespace: &str,
) -> Json {
    let owners = owners.map(|(object, uid)| {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": object.kind,
            "name": object.key.name,
            "uid": uid,
        })
    });
    json!({
        "name": name,
        "namespace": namespace,
        "labels": { "app.kubernetes.io/name": "umbriel", MANAGED_BY.0: MANAGED_BY.1 },
        "ownerReferences": owners.collect::<Vec<_>>(),
    })
}

/// The volume with the folder that a server reads; `certificate` is the Secret of that, and
/// `store_keys` that of the keys of its bucket.
pub(super) fn volume(owner: &Owner<'_>, certificate: Option<&str>, store_keys: Option<&str>) -> Json {
    let item = |file: &str| json!({ "key": file, "path": file });
    let named = |(key, file): (&str, &str)| json!({ "key": key, "path": file });
    let map = |name: &str, file: &str, optional: bool| json!({ "configMap": { "name": name, "items": [item(file)], "optional": optional } });
    let secret = |name: &str, items: Vec<Json>| json!({ "secret": { "name": name, "items": items, "optional": true } });
    let mut sources = vec![map(&owner.name(), owner.role.file(), false)];
    sources.extend(PartName::all().map(|name| map(&part_name(name), &name.file(), true)));
    sources.push(secret(TOKEN_SECRET, vec![item(TOKEN_KEYS_FILE)]));
    sources.extend(certificate.map(|name| secret(name, CERTIFICATE_FILES.map(item).into())));
    let keys = || FIELDS.into_iter().zip(STORE_FILES).map(named).collect();
    sources.extend(store_keys.map(|name| secret(name, keys())));
    json!({ "name": "config", "projected": { "sources": sources, "defaultMode": FILE_MODE } })
}

#[cfg(test)]
mod tests {
    use crds::Kind;

    use super::*;
    use crate::world::{Key, Phase};

    #[test]
    fn what_servers_share_belongs_to_all_of_them_and_only_keys_are_secret() {
        let object = ObjectRef::new(Kind::UMService, &Key::new("office", "main"));
        let uid = String::from("uid-2");
        let named = PartRef { namespace: "office".into(), name: PartName::Database(7) };
        let bytes = Part { bytes: b"abc".as_slice().into(), digest: String::new() };
        let metadata = |name: &str| {
            json!({
                "name": name,
                "namespace": "office",
                "labels": {
                    "app.kubernetes.io/name": "umbriel",
                    "app.kubernetes.io/managed-by": "umbriel-operator",
                },
                "ownerReferences": [{
                    "apiVersion": "umbriel.dev/v1alpha1", "kind": "UMService", "name": "main", "uid": "uid-2",
                }],
            })
        };
        assert_eq!(
            part([(&object, &uid)].into_iter(), &named, &bytes),
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata("umbriel-database-07"),
                "binaryData": { "database-07.json.gz": "YWJj" },
            })
        );
        let keys = WrittenKeys {
            keys: Vec::new(),
            phase: Phase::Signing,
            since: jiff::Timestamp::UNIX_EPOCH,
            owners: [uid.clone()].into(),
        };
        let secret = token_secret([(&object, &uid)].into_iter(), "office", &keys, "[]");
        assert_eq!(
            (&secret["kind"], &secret["data"]),
            (&json!("Secret"), &json!({ "token-keys.yaml": "W10=" }))
        );
        assert_eq!(secret["metadata"]["annotations"]["umbriel.dev/rotation"], "Signing");
        assert_eq!(secret["metadata"]["annotations"]["umbriel.dev/rotation-since"], "1970-01-01T00:00:00Z");
    }
}
