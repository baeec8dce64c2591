//! A document becomes an object, or the reasons why it is none.
//!
//! Decides what an API server decides when something is applied: whether the kind exists, whether
//! the fields do, and whether the object breaks a rule of its own. Refuses to know other documents
//! and earlier ones.

use std::sync::LazyLock;

use config::Code;
use crds::{
    Kind, UMAutoAttendantSpec, UMCallRouterSpec, UMDialPlanSpec, UMHuntGroupSpec, UMIPGatewaySpec,
    UMMailboxPolicySpec, UMMailboxSpec, UMServiceSpec, Violation,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::identify::{Known, identify, meant, name};
use crate::node::{Node, Value};
use crate::parse::{NotYaml, parse};
use crate::problem::Problem;
use crate::schema::{Fault, walk};
use crate::secret::secret;
use crate::world::ObjectRef;

/// What one document came to.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The tree, for the lines of its fields; `None` if it is not YAML.
    pub(crate) node: Option<Node>,
    /// Which object it is, as far as it says so.
    pub(crate) object: Option<ObjectRef>,
    /// The spec with every default filled in; `None` if it was refused.
    pub(crate) spec: Option<Json>,
    /// Why it was refused, each with its line.
    pub(crate) problems: Vec<(usize, Problem)>,
}

/// Every document of a text.
pub(crate) fn admit_all(text: &str) -> Vec<Document> {
    parse(text)
        .into_iter()
        .map(|document| match document {
            Ok(node) => admit(node),
            Err(fault) => not_yaml(text, &fault),
        })
        .collect()
}

/// The schema of every kind, as a cluster is given it.
static SCHEMAS: LazyLock<Vec<(Kind, Json)>> = LazyLock::new(|| {
    let schema = |kind: Kind| {
        let definition = serde_json::to_value(kind.definition()).unwrap_or_default();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    };
    Kind::ALL.into_iter().map(|kind| (kind, schema(kind))).collect()
});

fn admit(node: Node) -> Document {
    let kind = match identify(&node) {
        Ok(kind) => kind,
        Err(faults) => {
            let object = meant(&node);
            return refused(node, object, faults);
        }
    };
    let (object, name_fault) = match name(&node, kind.name()) {
        Ok(named) => named,
        Err(fault) => return refused(node, None, vec![fault]),
    };
    if let Some(fault) = name_fault {
        return refused(node, Some(object), vec![fault]);
    }
    match kind {
        Known::Secret => match secret(&node) {
            Ok(spec) => {
                Document { node: Some(node), object: Some(object), spec: Some(spec), problems: Vec::new() }
            }
            Err(fault) => refused(node, Some(object), vec![fault]),
        },
        Known::Ours(kind) => ours(node, object, kind),
    }
}

/// An object of one of our kinds: its structure first, then its own rules.
fn ours(node: Node, object: ObjectRef, kind: Kind) -> Document {
    let no_schema = Json::Null;
    let schema = SCHEMAS.iter().find(|(known, _)| *known == kind).map_or(&no_schema, |(_, schema)| schema);
    let faults = walk(&node, schema);
    if !faults.is_empty() {
        return refused(node, Some(object), faults);
    }
    let mut written = node.get("spec").map_or_else(|| json!({}), |spec| without_nulls(spec.value.to_json()));
    if written.is_null() {
        written = json!({});
    }
    match typed(kind, written) {
        Ok((spec, violations)) if violations.is_empty() => {
            Document { node: Some(node), object: Some(object), spec: Some(spec), problems: Vec::new() }
        }
        Ok((_, violations)) => {
            let problem = |violation: Violation| {
                (node.line_of(&violation.field), Problem::violation(&object, violation))
            };
            let problems = violations.into_iter().map(problem).collect();
            Document { node: Some(node), object: Some(object), spec: None, problems }
        }
        // The schema and the type are one, so this is only reached if they are not.
        Err(error) => {
            let fault = Fault {
                line: node.line_of("spec"),
                code: Code::WrongType,
                field: "spec".into(),
                value: String::new(),
                rule: error.to_string(),
                fix: "compare it with the definition of its kind".into(),
            };
            refused(node, Some(object), vec![fault])
        }
    }
}

/// The spec with its defaults, and what it says about itself that cannot be.
fn typed(kind: Kind, spec: Json) -> Result<(Json, Vec<Violation>), serde_json::Error> {
    fn of<S: DeserializeOwned + Serialize>(
        spec: Json,
        check: impl Fn(&S) -> Vec<Violation>,
    ) -> Result<(Json, Vec<Violation>), serde_json::Error> {
        let spec: S = serde_json::from_value(spec)?;
        Ok((serde_json::to_value(&spec)?, check(&spec)))
    }
    match kind {
        Kind::UMDialPlan => of(spec, UMDialPlanSpec::check),
        Kind::UMIPGateway => of(spec, UMIPGatewaySpec::check),
        Kind::UMHuntGroup => of(spec, UMHuntGroupSpec::check),
        Kind::UMAutoAttendant => of(spec, UMAutoAttendantSpec::check),
        Kind::UMMailboxPolicy => of(spec, UMMailboxPolicySpec::check),
        Kind::UMMailbox => of(spec, UMMailboxSpec::check),
        Kind::UMCallRouter => of(spec, UMCallRouterSpec::check),
        Kind::UMService => of(spec, UMServiceSpec::check),
    }
}

/// A field that says nothing is a field that is left out.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Json::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => json,
    }
}

fn refused(node: Node, object: Option<ObjectRef>, faults: Vec<Fault>) -> Document {
    let problems = faults
        .into_iter()
        .map(|fault| {
            let Fault { line, code, field, value, rule, fix } = fault;
            (line, Problem { code, object: object.clone(), field, value, rule, fix, waits_for: None })
        })
        .collect();
    Document { node: Some(node), object, spec: None, problems }
}

/// A document that cannot be read to its end; its beginning may say which object it is.
fn not_yaml(text: &str, fault: &NotYaml) -> Document {
    let object = meant(&fault.head);
    let problem = Problem {
        code: Code::NotYaml,
        object: object.clone(),
        field: String::new(),
        value: line_of(text, fault.line),
        rule: format!("a YAML document; the parser says: {}", fault.reason),
        fix: fault.fix.into(),
        waits_for: None,
    };
    Document { node: None, object, spec: None, problems: vec![(fault.line, problem)] }
}

/// A line as a problem shows it; nothing of a file that may hold a key.
fn line_of(text: &str, line: usize) -> String {
    if text.contains("Secret") || text.contains("PRIVATE KEY") {
        return String::new();
    }
    // In YAML a carriage return ends a line too.
    let text = text.replace("\r\n", "\n");
    let line = text.split(['\n', '\r']).nth(line.saturating_sub(1)).unwrap_or_default();
    Value::Text(line.trim_end().trim_start_matches(' ').replace('\t', "<tab>")).shown()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reasons(text: &str) -> Vec<Code> {
        admit_all(text)
            .iter()
            .flat_map(|document| &document.problems)
            .map(|(_, problem)| problem.code)
            .collect()
    }

    /// Pieces that documents are made of, so that chance finds more than syntax errors.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("apiVersion: umbriel.dev/v1alpha1\n".into()),
            Just("kind: UMMailbox\n".into()),
            Just("kind: Secret\n".into()),
            Just("metadata: {name: a}\n".into()),
            Just("spec:\n".into()),
            Just("  extensions: [\"101\", 7, *a, &a x]\n".into()),
            Just("  smtp: {port: 1.5}\n".into()),
            Just("---\n".into()),
            Just("data: {tls.crt: a, tls.key: ÉA}\n".into()),
            ".{0,12}\n",
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_admitted_or_refused_with_a_line_of_the_text(pieces in prop::collection::vec(piece(), 0..12)) {
            let text = pieces.concat();
            // In YAML a carriage return ends a line too.
            let lines = text.matches(['\n', '\r']).count() + 1;
            for document in admit_all(&text) {
                prop_assert_eq!(document.spec.is_none(), !document.problems.is_empty());
                for (line, problem) in &document.problems {
                    prop_assert!((1..=lines).contains(line), "line {} of {}: {}", line, lines, problem);
                }
            }
        }
    }

    #[test]
    fn a_secret_is_accepted_with_or_without_a_certificate() {
        assert_eq!(reasons("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"), []);
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {tls.crt: aGVsbG8=}\n";
        let documents = admit_all(text);
        assert_eq!(documents[0].spec, Some(json!({"chain": "hello"})));
    }

    #[test]
    fn what_kubectl_shows_can_be_put_into_a_folder() {
        let text = "apiVersion: umbriel.dev/v1alpha1\nkind: UMIPGateway\n\
            metadata: {name: pbx, uid: x, resourceVersion: \"7\", generation: 1, creationTimestamp: 2026-11-21T08:00:00Z}\n\
            spec: {address: 192.0.2.1}\nstatus: {observedGeneration: 1}\n";
        assert_eq!(reasons(text), []);
    }

    fn only_problem(text: &str) -> Problem {
        let mut problems = admit_all(text).into_iter().flat_map(|document| document.problems);
        let (_, problem) = problems.next().expect("a problem");
        assert_eq!(problems.next(), None);
        problem
    }

    #[test]
    fn a_line_that_breaks_the_grammar_is_shown_but_not_beside_a_key() {
        let plan = "apiVersion: umbriel.dev/v1alpha1\r\nkind: UMDialPlan\r\nmetadata: {name: contoso}\r\n";
        let problem = only_problem(&format!("{plan}spec:\r\n\tmaxCallDuration: 30\r\n"));
        assert_eq!(problem.value, "<tab>maxCallDuration: 30");
        assert_eq!(problem.object.expect("its head is read").to_string(), "UMDialPlan default/contoso");
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\ndata:\n\ttls.key: c2VjcmV0\n";
        assert_eq!(only_problem(secret).value, "");
    }

    #[test]
    fn a_repair_never_asks_for_what_is_wrong_too() {
        let object =
            |kind: &str, rest: &str| format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\n{rest}");
        let nameless = only_problem(&object("UMService", "metadata: {name: }\n"));
        assert_eq!(nameless.code, Code::MissingField);
        assert_eq!(nameless.fix, "add name, such as contoso, to metadata");
        let listed = only_problem(&object("UMService", "metadata: {name: [a]}\n"));
        assert_eq!(listed.fix, "write one word");
        let gateway = "metadata: {name: a}\nspec: {address: 192.0.2.1, status: on}\n";
        let switched = only_problem(&object("UMIPGateway", gateway));
        assert_eq!(switched.rule, "one of Enabled, Disabled, NoNewCalls");
        assert_eq!(switched.fix, "write Enabled or Disabled or NoNewCalls");
        let empty = only_problem(&object("UMDialPlan", "metadata: {name: a}\nspec:\n"));
        assert_eq!(empty.fix, "add spec with numberOfDigitsInExtension");
        let plan = "metadata: {name: a}\nspec: {numberOfDigitsInExtension: 3, maxCallDuration: -30}\n";
        assert_eq!(only_problem(&object("UMDialPlan", plan)).field, "spec.maxCallDuration");
    }

    #[test]
    fn a_field_that_says_nothing_is_left_out() {
        let text = "apiVersion: umbriel.dev/v1alpha1\nkind: UMService\nmetadata: {name: a}\nspec:\n  smtp:\n";
        assert_eq!(reasons(text), []);
        assert_eq!(
            reasons("apiVersion: umbriel.dev/v1alpha1\nkind: UMService\nmetadata: {name: a}\nspec:\n"),
            []
        );
    }
}
