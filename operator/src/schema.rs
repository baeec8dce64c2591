//! Structure: does a document have the fields that its kind has?
//!
//! Decides what an API server would say about unknown, missing and mistyped fields, from the very
//! schema that it is given, and says it with the line and the nearest word that would do. Refuses
//! to know ranges and lengths; those are the kind's own `check`.

use config::Code;
use serde_json::Value as Json;

use crate::node::{Node, Value};
use crate::suggest::nearest;

/// One mistake of structure, not yet of a named object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) code: Code,
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) rule: String,
    pub(crate) fix: String,
}

/// Fields of every document.
const DOCUMENT: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Fields of `metadata` that a person writes.
const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// Fields of `metadata` that an API server writes, so that what `kubectl get -o yaml` shows can be
/// put into a folder as it is.
const METADATA_OF_SERVERS: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What is wrong with the structure of a document whose kind has `schema`.
pub(crate) fn walk(document: &Node, schema: &Json) -> Vec<Fault> {
    let mut faults = Vec::new();
    let fields = fields_of(&document.value);
    unknown_fields(document, "", &DOCUMENT, &[], &mut faults);
    if let Some(metadata) = document.get("metadata") {
        unknown_fields(metadata, "metadata", &METADATA, &METADATA_OF_SERVERS, &mut faults);
    }
    let spec = fields.iter().find(|(name, _)| name == "spec").map(|(_, node)| node);
    let spec_schema = &schema["properties"]["spec"];
    match spec {
        // Every field may be left out where none is required.
        None if required(spec_schema).is_empty() => {}
        None => faults.push(missing_spec(document.line, spec_schema)),
        Some(spec) if spec.value == Value::Null && required(spec_schema).is_empty() => {}
        Some(spec) if spec.value == Value::Null => faults.push(missing_spec(spec.line, spec_schema)),
        Some(spec) => value("spec", spec, spec_schema, &mut faults),
    }
    faults
}

/// The fields of a group; none for anything else.
fn fields_of(value: &Value) -> &[(String, Node)] {
    match value {
        Value::Map(fields) => fields,
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::OtherNumber(_)
        | Value::Text(_)
        | Value::List(_) => &[],
    }
}

fn required(schema: &Json) -> Vec<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// `path.name`, or `name` at the root.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// Reports the fields that are neither `known` nor `tolerated`.
fn unknown_fields(node: &Node, path: &str, known: &[&str], tolerated: &[&str], faults: &mut Vec<Fault>) {
    for (name, field) in fields_of(&node.value) {
        if known.contains(&name.as_str()) || tolerated.contains(&name.as_str()) {
            continue;
        }
        let place = if path.is_empty() { "the document" } else { path };
        faults.push(Fault {
            line: field.line,
            code: Code::UnknownField,
            field: below(path, name),
            value: field.value.shown(),
            rule: format!("{place} has the fields {}", known.join(", ")),
            fix: match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => "remove it".into(),
            },
        });
    }
}

/// No spec, or one that says nothing, where fields are required.
fn missing_spec(line: usize, schema: &Json) -> Fault {
    let fields = required(schema).join(" and ");
    Fault { fix: format!("add spec with {fields}"), ..missing(line, "spec", schema) }
}

fn missing(line: usize, path: &str, schema: &Json) -> Fault {
    let description = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let (group, name) = path.rsplit_once('.').unwrap_or(("the document", path));
    Fault {
        line,
        code: Code::MissingField,
        field: path.into(),
        value: String::new(),
        rule: format!("required: {description}"),
        fix: format!("add {name} to {group}"),
    }
}

/// Checks one value against its schema.
fn value(path: &str, node: &Node, schema: &Json, faults: &mut Vec<Fault>) {
    let expected = schema["type"].as_str().unwrap_or_default();
    match (expected, &node.value) {
        ("object", Value::Map(fields)) => group(path, node, fields, schema, faults),
        ("array", Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                value(&format!("{path}[{index}]"), item, &schema["items"], faults);
            }
        }
        ("string", Value::Text(text)) => word(path, node.line, text, schema, faults),
        ("integer", Value::Integer(_)) | ("boolean", Value::Bool(_)) => {}
        (_, found) => faults.push(wrong_type(path, node.line, expected, found, schema)),
    }
}

fn group(path: &str, node: &Node, fields: &[(String, Node)], schema: &Json, faults: &mut Vec<Fault>) {
    let properties = schema["properties"].as_object();
    let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    unknown_fields(node, path, &known, &[], faults);
    let required = required(schema);
    for name in &required {
        let absent = node.get(name).is_none_or(|field| field.value == Value::Null);
        if absent {
            let line = node.get(name).map_or(node.line, |field| field.line);
            faults.push(missing(line, &below(path, name), &schema["properties"][*name]));
        }
    }
    for (name, field) in fields {
        // A field that says nothing is a field that is left out.
        if known.contains(&name.as_str()) && field.value != Value::Null {
            value(&below(path, name), field, &schema["properties"][name.as_str()], faults);
        }
    }
}

/// The only words that a text with this schema can be; none if it can be any.
fn enumerated(schema: &Json) -> Vec<&str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// A text whose schema may list the only words that it can be.
fn word(path: &str, line: usize, text: &str, schema: &Json, faults: &mut Vec<Fault>) {
    let words = enumerated(schema);
    if words.is_empty() || words.contains(&text) {
        return;
    }
    faults.push(Fault {
        line,
        code: Code::OutOfRange,
        field: path.into(),
        value: Value::Text(text.into()).shown(),
        rule: format!("one of {}", words.join(", ")),
        fix: match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write {}", words.join(" or ")),
        },
    });
}

fn wrong_type(path: &str, line: usize, expected: &str, found: &Value, schema: &Json) -> Fault {
    let in_quotes = matches!(found, Value::Text(_));
    let shown = if in_quotes { format!("{:?}", found.shown()) } else { found.shown() };
    let words = enumerated(schema);
    let (rule, fix) = match (expected, found) {
        ("string", _) if !words.is_empty() => {
            (format!("one of {}", words.join(", ")), format!("write {}", words.join(" or ")))
        }
        ("string", Value::Integer(text) | Value::OtherNumber(text) | Value::Bool(text)) => (
            format!("a text; without quotes YAML reads this as {}", found.type_name()),
            format!("write {text:?}, with the quotes"),
        ),
        ("string", _) => (String::from("a text"), String::from("write one text, in quotes")),
        ("integer", Value::Text(text)) if text.parse::<i64>().is_ok() => {
            (String::from("a whole number; in quotes it is a text"), format!("write {text} without quotes"))
        }
        ("integer", _) => {
            let example = schema["default"].as_i64().or_else(|| schema["example"].as_i64());
            let example = example.unwrap_or_default();
            (
                String::from("a whole number"),
                format!("write a whole number without quotes, such as {example}"),
            )
        }
        ("boolean", _) => {
            (String::from("true or false"), String::from("write true or false, without quotes"))
        }
        ("array", _) => (String::from("a list"), format!("write a list, such as [{}]", quoted(found))),
        ("object", _) => {
            (String::from("a group of fields"), String::from("write its fields below it, one a line"))
        }
        (_, _) => (format!("a value of type {expected}"), String::from("write a value of that type")),
    };
    Fault { line, code: Code::WrongType, field: path.into(), value: shown, rule, fix }
}

/// The value as one item of a list.
fn quoted(value: &Value) -> String {
    match value {
        Value::Text(_) | Value::OtherNumber(_) | Value::Integer(_) => format!("{:?}", value.shown()),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => String::from("\"101\""),
    }
}
