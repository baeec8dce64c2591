//! A Kubernetes Secret: the certificate and key of a server, or the keys of its bucket.
//!
//! Decides where in it they stand. Problems never repeat its values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::Code;
use serde_json::Value as Json;

use crate::node::{Node, Value};
use crate::schema::Fault;
use crate::store_keys::FIELDS;

/// The certificate, its key and who signs those of peers, and what we call them.
const CERTIFICATE: [(&str, &str); 3] = [("tls.crt", "chain"), ("tls.key", "key"), ("ca.crt", "authorities")];

/// What a Secret holds for a server, where it has it: for TLS `chain`, `key` and `authorities`, and the
/// keys of a bucket by their own names.
pub(crate) fn secret(node: &Node) -> Result<Json, Fault> {
    let mut held = serde_json::Map::new();
    for (field, ours) in CERTIFICATE.into_iter().chain(FIELDS.map(|field| (field, field))) {
        if let Some(text) = node.get("stringData").and_then(|data| data.text(field)) {
            held.insert(ours.into(), text.into());
            continue;
        }
        let Some(data) = node.get("data").and_then(|data| data.get(field)) else { continue };
        let text = match &data.value {
            Value::Text(text) => STANDARD.decode(text.split_whitespace().collect::<String>()).ok(),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::OtherNumber(_)
            | Value::List(_)
            | Value::Map(_) => None,
        };
        let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Err(Fault {
                line: data.line,
                code: Code::WrongType,
                field: format!("data.{field}"),
                value: "(not shown)".into(),
                rule: "text in base64".into(),
                fix: format!("encode it with base64, or put the text itself under stringData.{field}"),
            });
        };
        held.insert(ours.into(), text.into());
    }
    Ok(Json::Object(held))
}
