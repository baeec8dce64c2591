//! Text becomes documents.
//!
//! Decides what is YAML: one tree for each document, and for a document that is none the line and
//! the reason, while the documents after it are still read. Refuses to know what documents mean.

use granit_parser::{BorrowedInput, Event, Options, Parser, ScalarStyle, ScanError};

use crate::node::{Node, Value};

/// Nested groups and lists of one document. The API needs five.
const MAX_DEPTH: usize = 32;

/// Values of one document, each repetition by an alias counted, so that a short text cannot become
/// an endless tree.
const MAX_NODES: usize = 100_000;

/// Documents of one file: every mailbox of the largest company.
const MAX_DOCUMENTS: usize = 100_000;

/// What to do about a text that breaks the grammar.
const REPAIR: &str = "repair this line or the one above it: a space after each colon, spaces for indentation, \
    every quote and bracket closed";

/// What to do about a document that is too large.
const SPLIT: &str = "write less into one document";

/// Fields at the root that say which object a document is.
const HEAD: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Why a document is not one, and on which line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NotYaml {
    pub(crate) line: usize,
    pub(crate) reason: String,
    pub(crate) fix: &'static str,
    /// What was read of [`HEAD`] before.
    pub(crate) head: Node,
}

/// Every document of `text` that says anything.
pub(crate) fn parse(text: &str) -> Vec<Result<Node, NotYaml>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    loop {
        if documents.len() > MAX_DOCUMENTS {
            let reason = format!("more than {MAX_DOCUMENTS} documents in one file");
            documents.push(Err(fault(1, reason, "divide it into several files")));
            return documents;
        }
        let mut reader = Reader { parser: &mut parser, anchors: Vec::new(), nodes: 0, head: Vec::new() };
        match reader.document() {
            Ok(Some(Node { value: Value::Null, .. })) => {}
            Ok(Some(node)) => documents.push(Ok(node)),
            Ok(None) => return documents,
            Err(mut fault) => {
                fault.head.value = Value::Map(reader.head);
                documents.push(Err(fault));
                // What is broken ends at the next `---`.
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    return documents;
                }
            }
        }
    }
}

struct Reader<'p, 'i, T: BorrowedInput<'i>> {
    parser: &'p mut Parser<'i, T>,
    /// Finished values that an alias may repeat.
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    head: Vec<(String, Node)>,
}

impl<'i, T: BorrowedInput<'i>> Reader<'_, 'i, T> {
    /// The next document, or `None` where the text ends.
    fn document(&mut self) -> Result<Option<Node>, NotYaml> {
        loop {
            let Some((event, line)) = self.next()? else { return Ok(None) };
            if event == Event::StreamEnd {
                return Ok(None);
            }
            if event.is_node() {
                let node = self.node(&event, line, 0)?;
                // The end of the document belongs to it: what is broken there breaks it.
                self.next()?;
                return Ok(Some(node));
            }
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'i>, usize)>, NotYaml> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, span.start.line()))),
            Some(Err(error)) => Err(not_yaml(&error)),
        }
    }

    /// The value that begins with `event`.
    fn node(&mut self, event: &Event<'i>, line: usize, depth: usize) -> Result<Node, NotYaml> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(fault(line, format!("more than {MAX_DEPTH} values inside each other"), SPLIT));
        }
        if self.nodes > MAX_NODES {
            return Err(fault(line, format!("more than {MAX_NODES} values in one document"), SPLIT));
        }
        if let Some(anchor) = event.alias_id() {
            return self.alias(anchor, line);
        }
        let value = if let Some((text, style)) = event.scalar() {
            let quoted = style != ScalarStyle::Plain
                || event.tag().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
            if quoted { Value::Text(text.into()) } else { Value::plain(text) }
        } else if matches!(event, Event::SequenceStart(..)) {
            self.list(depth)?
        } else {
            self.map(depth)?
        };
        let node = Node { line, value };
        if let Some(anchor) = event.anchor_id().filter(|anchor| *anchor != 0) {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, NotYaml> {
        let known = self.anchors.iter().rev().find(|(id, _)| *id == anchor);
        let Some((_, node)) = known else {
            return Err(fault(line, "an alias of something unknown".into(), REPAIR));
        };
        self.nodes = self.nodes.saturating_add(size(node));
        if self.nodes > MAX_NODES {
            return Err(fault(line, format!("more than {MAX_NODES} values in one document"), SPLIT));
        }
        Ok(Node { line, value: node.value.clone() })
    }

    fn list(&mut self, depth: usize) -> Result<Value, NotYaml> {
        let mut items = Vec::new();
        loop {
            let Some((event, line)) = self.next()? else { return Ok(Value::List(items)) };
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            if event.is_node() {
                items.push(self.node(&event, line, depth + 1)?);
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, NotYaml> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        loop {
            let Some((event, line)) = self.next()? else { return Ok(Value::Map(fields)) };
            if event == Event::MappingEnd {
                return Ok(Value::Map(fields));
            }
            if !event.is_node() {
                continue;
            }
            let Some((name, _)) = event.scalar() else {
                return Err(fault(line, "a key that is not a word".into(), REPAIR));
            };
            if fields.iter().any(|(field, _)| field == name) {
                let fix = "remove one of the two; where another object begins, write a line --- before it";
                return Err(fault(line, format!("the key {name} a second time in one group"), fix));
            }
            let name = name.to_owned();
            let Some((event, _)) = self.next()? else { return Ok(Value::Map(fields)) };
            // Where a field was written is where its key stands.
            let mut node = self.node(&event, line, depth + 1)?;
            node.line = line;
            if depth == 0 && HEAD.contains(&name.as_str()) {
                self.head.push((name.clone(), node.clone()));
            }
            fields.push((name, node));
        }
    }
}

/// How many values a tree has.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::OtherNumber(_) | Value::Text(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(fields) => 1 + fields.iter().map(|(_, node)| size(node)).sum::<usize>(),
    }
}

fn not_yaml(error: &ScanError) -> NotYaml {
    fault(error.marker().line(), error.info(), REPAIR)
}

fn fault(line: usize, reason: String, fix: &'static str) -> NotYaml {
    NotYaml { line, reason, fix, head: Node { line, value: Value::Null } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Result<usize, usize>> {
        parse(text)
            .iter()
            .map(|document| document.as_ref().map(|node| node.line).map_err(|fault| fault.line))
            .collect()
    }

    #[test]
    fn every_document_of_a_file_is_read_and_empty_ones_are_not() {
        assert_eq!(lines("# only a comment\n"), []);
        assert_eq!(lines(""), []);
        assert_eq!(lines("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n"), [Ok(3), Ok(7)]);
    }

    #[test]
    fn a_broken_document_does_not_hide_the_next_one() {
        assert_eq!(lines("a: 1\n---\nb: [1, 2\nc: 3\n---\nd: 4\n"), [Ok(1), Err(4), Ok(6)]);
    }

    #[test]
    fn a_field_is_on_the_line_of_its_key() {
        let documents =
            parse("kind: A\nspec:\n  extensions:\n    - \"101\"\n    - \"102\"\n  flow: [1, 2]\n");
        let node = documents[0].as_ref().expect("a document");
        assert_eq!(node.line_of("spec"), 2);
        assert_eq!(node.line_of("spec.extensions"), 3);
        assert_eq!(node.line_of("spec.extensions[1]"), 5);
        assert_eq!(node.line_of("spec.flow[1]"), 6);
    }

    #[test]
    fn quotes_make_a_text() {
        let documents = parse("a: \"101\"\nb: 101\nc: '~'\nd: |\n  1\ne: !!str 7\n");
        let node = documents[0].as_ref().expect("a document");
        assert_eq!(node.text("a"), Some("101"));
        assert_eq!(node.get("b").map(|node| node.value.clone()), Some(Value::Integer("101".into())));
        assert_eq!(node.text("c"), Some("~"));
        assert_eq!(node.text("d"), Some("1\n"));
        assert_eq!(node.text("e"), Some("7"));
    }

    #[test]
    fn a_key_written_twice_is_not_yaml() {
        assert_eq!(lines("a: 1\nb: 2\na: 3\n"), [Err(3)]);
    }

    #[test]
    fn an_alias_repeats_its_anchor() {
        let documents = parse("a: &x {b: 1}\nc: *x\n");
        let node = documents[0].as_ref().expect("a document");
        assert_eq!(
            node.get("c").and_then(|node| node.get("b")).map(|node| node.value.clone()),
            Some(Value::Integer("1".into()))
        );
    }

    #[test]
    fn a_tree_that_grows_without_end_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        assert!(matches!(&parse(&text)[..], [Err(fault)] if fault.reason.contains("100000 values")));
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(matches!(&parse(&deep)[..], [Err(fault)] if fault.reason.contains("inside each other")));
    }
}
