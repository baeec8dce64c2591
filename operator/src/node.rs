//! A YAML document as a tree that remembers its lines.
//!
//! Decides how a plain word is read (YAML 1.2, and where `kubectl` would read it otherwise, as
//! something that is not a text) and where a field was written. Refuses to know what fields mean.

/// A value and the line on which it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// From 1. For a value below a key it is the line of the key.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    /// As it was written, like the numbers: `no` and `0101` may have been meant as texts.
    Bool(String),
    /// A whole number that fits into 64 bits.
    Integer(String),
    /// Any other number.
    OtherNumber(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What a plain scalar means to programs that read YAML 1.1, `kubectl` among them: a word of these
/// that is meant as a text has to stand in quotes.
const YAML_1_1_BOOLEANS: [&str; 8] = ["true", "yes", "on", "y", "false", "no", "off", "n"];

/// Those of them that mean true.
const YAML_1_1_TRUE: [&str; 4] = ["true", "yes", "on", "y"];

/// Longest value that a problem repeats.
const MAX_SHOWN_CHARS: usize = 80;

impl Value {
    /// A scalar without quotes.
    pub(crate) fn plain(text: &str) -> Value {
        if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Value::Null;
        }
        let lower = text.to_ascii_lowercase();
        // Either all letters in one case, or only the first large: yes, Yes, YES. All are ASCII.
        let one_case = || text[1..] == lower[1..] || text == text.to_ascii_uppercase();
        if YAML_1_1_BOOLEANS.contains(&lower.as_str()) && one_case() {
            return Value::Bool(text.into());
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let fits = text.parse::<i64>().is_ok();
            return if fits { Value::Integer(text.into()) } else { Value::OtherNumber(text.into()) };
        }
        let starts_like_a_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let is_number = starts_like_a_number
            && (text.parse::<f64>().is_ok() || digits.starts_with("0x") || digits.starts_with("0o"));
        if is_number { Value::OtherNumber(text.into()) } else { Value::Text(text.into()) }
    }

    /// What it is, for people.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::OtherNumber(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a group of fields",
        }
    }

    /// The value as JSON, as the API has it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Integer(text) => text.parse::<i64>().unwrap_or_default().into(),
            Value::Bool(text) => {
                let lower = text.to_ascii_lowercase();
                YAML_1_1_TRUE.contains(&lower.as_str()).into()
            }
            Value::OtherNumber(text) | Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Value::Map(fields) => {
                let fields = fields.iter().map(|(name, node)| (name.clone(), node.value.to_json()));
                serde_json::Value::Object(fields.collect())
            }
        }
    }

    /// The value as a problem shows it.
    pub(crate) fn shown(&self) -> String {
        let text = match self {
            Value::Text(text) | Value::Bool(text) | Value::Integer(text) | Value::OtherNumber(text) => {
                text.clone()
            }
            Value::Null => "(nothing)".into(),
            Value::List(_) | Value::Map(_) => self.to_json().to_string(),
        };
        if text.chars().count() <= MAX_SHOWN_CHARS {
            return text;
        }
        text.chars().take(MAX_SHOWN_CHARS).chain(['…']).collect()
    }
}

impl Node {
    /// The value of the field `name`, if this is a group that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, node)| node),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::OtherNumber(_)
            | Value::Text(_)
            | Value::List(_) => None,
        }
    }

    /// The text at the field `name`, if there is one.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::OtherNumber(_)
            | Value::List(_)
            | Value::Map(_) => None,
        }
    }

    /// The line of the field at `path`, such as `spec.extensions[1]`, or of the nearest group around it.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let inner = match (&node.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index))
                }
                (_, _) => node.get(step),
            };
            let Some(inner) = inner else { return node.line };
            node = inner;
        }
        node.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_is_read_as_kubectl_reads_it() {
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("NO", Value::Bool("NO".into())),
            ("Yes", Value::Bool("Yes".into())),
            ("y", Value::Bool("y".into())),
            ("N", Value::Bool("N".into())),
            ("yEs", Value::Text("yEs".into())),
            ("101", Value::Integer("101".into())),
            ("-5", Value::Integer("-5".into())),
            ("0101", Value::Integer("0101".into())),
            ("99999999999999999999", Value::OtherNumber("99999999999999999999".into())),
            ("1.5", Value::OtherNumber("1.5".into())),
            ("0x1F", Value::OtherNumber("0x1F".into())),
            ("127.0.0.1", Value::Text("127.0.0.1".into())),
            ("::1", Value::Text("::1".into())),
            ("é", Value::Text("é".into())),
            ("ÉA", Value::Text("ÉA".into())),
            ("-", Value::Text("-".into())),
            ("infinity", Value::Text("infinity".into())),
        ] {
            assert_eq!(Value::plain(text), value, "{text:?}");
        }
    }

    #[test]
    fn the_line_of_a_field_that_is_not_there_is_that_of_the_group_around_it() {
        let leaf = |line| Node { line, value: Value::Null };
        let list = Node { line: 4, value: Value::List(vec![leaf(5), leaf(6)]) };
        let spec = Node { line: 3, value: Value::Map(vec![("extensions".into(), list)]) };
        let root = Node { line: 1, value: Value::Map(vec![("spec".into(), spec)]) };
        assert_eq!(root.line_of("spec.extensions[1]"), 6);
        assert_eq!(root.line_of("spec.extensions[9]"), 4);
        assert_eq!(root.line_of("spec.displayName"), 3);
        assert_eq!(root.line_of("metadata.name"), 1);
        assert_eq!(root.line_of(""), 1);
    }
}
