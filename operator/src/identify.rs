//! Which object a document is.
//!
//! Decides whether its kind exists and its name can be one, and proposes the nearest that would do.
//! Refuses to know what is in the object.

use config::Code;
use crds::{GROUP, Kind, VERSION, check_name};

use crate::node::{Node, Value};
use crate::schema::Fault;
use crate::suggest::nearest;
use crate::world::{Key, ObjectRef};

/// The kind of a Kubernetes Secret, which is accepted beside our own kinds.
pub(crate) const SECRET: &str = "Secret";

/// The namespace of objects that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// A kind that may stand in a document.
#[derive(Clone, Copy)]
pub(crate) enum Known {
    Ours(Kind),
    Secret,
}

impl Known {
    /// The kind as it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Known::Ours(kind) => kind.name(),
            Known::Secret => SECRET,
        }
    }
}

/// Which kind of object a document is.
pub(crate) fn identify(node: &Node) -> Result<Known, Vec<Fault>> {
    let ours = format!("{GROUP}/{VERSION}");
    if !matches!(node.value, Value::Map(_)) {
        let rule = "a document with apiVersion, kind, metadata and spec";
        let fix = "write an object, or remove the document";
        return Err(vec![unknown_kind(node.line, "", &node.value.shown(), rule.into(), fix.into())]);
    }
    let mut missing = Vec::new();
    for (field, fix) in [
        ("apiVersion", format!("add apiVersion: {ours}")),
        ("kind", "add the kind, such as kind: UMMailbox".into()),
    ] {
        if node.text(field).is_none() {
            missing.push(Fault {
                line: node.line_of(field),
                code: Code::MissingField,
                field: field.into(),
                value: node.get(field).map(|node| node.value.shown()).unwrap_or_default(),
                rule: "required: it says which kind of object this is".into(),
                fix,
            });
        }
    }
    let (Some(version), Some(kind)) = (node.text("apiVersion"), node.text("kind")) else {
        return Err(missing);
    };
    if version == "v1" && kind == SECRET {
        return Ok(Known::Secret);
    }
    let names = Kind::ALL.map(Kind::name);
    let known = Kind::of(kind);
    if version != ours {
        let fix = match known.map(Kind::name).or_else(|| nearest(kind, names)) {
            Some(_) => format!("write apiVersion: {ours}"),
            None => format!("remove it; kinds of {ours} are {}", names.join(", ")),
        };
        let rule = format!("{ours}, or v1 for a {SECRET}");
        return Err(vec![unknown_kind(node.line_of("apiVersion"), "apiVersion", version, rule, fix)]);
    }
    known.map(Known::Ours).ok_or_else(|| {
        let fix = match nearest(kind, names) {
            Some(near) => format!("did you mean {near}?"),
            None => "write one of them".into(),
        };
        let rule = format!("one of {}", names.join(", "));
        vec![unknown_kind(node.line_of("kind"), "kind", kind, rule, fix)]
    })
}

/// Which object a document was most likely meant to be, although it does not quite say so.
pub(crate) fn meant(node: &Node) -> Option<ObjectRef> {
    let kind = match identify(node) {
        Ok(kind) => kind.name(),
        Err(_) => nearest(node.text("kind")?, Kind::ALL.map(Kind::name))?,
    };
    name(node, kind).ok().filter(|(_, fault)| fault.is_none()).map(|(object, _)| object)
}

fn unknown_kind(line: usize, field: &str, value: &str, rule: String, fix: String) -> Fault {
    Fault { line, code: Code::UnknownKind, field: field.into(), value: value.into(), rule, fix }
}

/// Which object of its kind a document is, and what is wrong with its name.
pub(crate) fn name(node: &Node, kind: &str) -> Result<(ObjectRef, Option<Fault>), Fault> {
    let metadata = node.get("metadata");
    let named_here = metadata.and_then(|metadata| metadata.get("name"));
    let Some(found) = named_here.filter(|name| name.value != Value::Null) else {
        return Err(Fault {
            line: node.line_of("metadata.name"),
            code: Code::MissingField,
            field: "metadata.name".into(),
            value: String::new(),
            rule: "required: the name of the object, unique among those of its kind".into(),
            fix: "add name, such as contoso, to metadata".into(),
        });
    };
    let namespace_node = metadata.and_then(|metadata| metadata.get("namespace"));
    let namespace = match namespace_node.map(|node| &node.value) {
        None | Some(Value::Null) => DEFAULT_NAMESPACE.to_owned(),
        Some(value) => value.shown(),
    };
    let object = ObjectRef { kind: kind.into(), key: Key { namespace, name: found.value.shown() } };
    let fault = named("metadata.name", found).or_else(|| {
        namespace_node
            .filter(|node| node.value != Value::Null)
            .and_then(|node| named("metadata.namespace", node))
    });
    Ok((object, fault))
}

/// What is wrong with a name.
fn named(field: &str, node: &Node) -> Option<Fault> {
    let Value::Text(name) = &node.value else {
        return Some(Fault {
            line: node.line,
            code: Code::WrongType,
            field: field.into(),
            value: node.value.shown(),
            rule: format!("a text; without quotes YAML reads this as {}", node.value.type_name()),
            fix: match &node.value {
                Value::List(_) | Value::Map(_) | Value::Null => String::from("write one word"),
                Value::Text(_) | Value::Bool(_) | Value::Integer(_) | Value::OtherNumber(_) => {
                    format!("write {:?}, with the quotes", node.value.shown())
                }
            },
        });
    };
    let violation = check_name(field, name)?;
    Some(Fault {
        line: node.line,
        code: Code::InvalidName,
        field: field.into(),
        value: violation.value,
        rule: violation.rule,
        fix: violation.fix,
    })
}
