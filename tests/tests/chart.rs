//! The Helm chart, rendered by helm: what it installs, and what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};
use umbriel_tests::cluster::Cluster;
use umbriel_tests::has;

/// What somebody types, and what helm says of it.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("operator.replcas=2", "at '/operator': additional properties 'replcas' not allowed"),
    ("operator.resources.limit.cpu=1", "at '/operator/resources': additional properties 'limit' not allowed"),
    ("image.tga=dev", "at '/image': additional properties 'tga' not allowed"),
    ("image.pullSecrets=registry", "at '/image/pullSecrets': got string, want array"),
    ("crds.instal=true", "at '/crds': additional properties 'instal' not allowed"),
    ("rbac.agregate=true", "at '/rbac': additional properties 'agregate' not allowed"),
    ("networkPolicy.enable=true", "at '/networkPolicy': additional properties 'enable' not allowed"),
    ("networkPolicy.metricsFrom=monitoring", "at '/networkPolicy/metricsFrom': got string, want array"),
    ("networkPolicy.metricsFrom={Monitoring}", "'Monitoring' does not match pattern"),
    ("podMonitor.enabled=true", "write its namespace into networkPolicy.metricsFrom"),
    ("podMonitor.label.a=b", "at '/podMonitor': additional properties 'label' not allowed"),
    ("operator.replicas=many", "at '/operator/replicas': got string, want integer"),
    ("operator.resyncInterval=10", "at '/operator/resyncInterval': got number, want string"),
    ("operator.resyncInterval=10 minutes", "'10 minutes' does not match pattern"),
    ("operator.namespace=Phones", "'Phones' does not match pattern"),
    ("operator.logFormat=xml", "value must be one of 'json', 'text'"),
    ("crds.keep=yes please", "at '/crds/keep': got string, want boolean"),
];

fn chart() -> PathBuf {
    root().join("charts/umbriel")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// `helm` of the cluster's programs, which are built if need be. No cluster is started.
fn helm(test: &str) -> Option<&'static Path> {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let cluster = |verb: &str| {
        let script = root().join("tests/cluster/cluster");
        let output = Command::new(script).arg(verb).output().expect("tests/cluster/cluster runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let built = || {
        let _progress = cluster("build");
        Path::new(cluster("programs").trim()).join("helm")
    };
    has("go", test).then(|| HELM.get_or_init(built).as_path())
}

/// The chart as release `umbriel` in namespace `umbriel-system`, on the Kubernetes of the tests.
fn template(helm: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command.args(["template", "umbriel"]).arg(chart()).args(["--namespace", "umbriel-system"]);
    command.args(["--kube-version", "1.35.4"]).args(options).output().expect("helm runs")
}

/// What it renders.
fn rendered(helm: &Path, options: &[&str]) -> String {
    let output = template(helm, options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The objects in YAML documents, by kind and name.
fn objects(yaml: &str) -> BTreeMap<(String, String), Value> {
    let documents: Vec<Value> = serde_yaml::from_multiple(yaml).expect("YAML");
    let name = |object: &Value, field: &str| object.pointer(field).and_then(Value::as_str).map(str::to_owned);
    let of_one = |object: Value| {
        let key = (name(&object, "/kind").expect("a kind"), name(&object, "/metadata/name").expect("a name"));
        (key, object)
    };
    documents.into_iter().map(with_whole_numbers).map(of_one).collect()
}

/// The same value with 1.0 written as 1: the two are one number in YAML, and helm writes the latter.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, field)| (name, with_whole_numbers(field))).collect())
        }
        Value::Number(number) => match number.to_string().strip_suffix(".0") {
            Some(whole) => json!(whole.parse::<i64>().expect("a whole number")),
            None => Value::Number(number),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

#[test]
fn the_chart_installs_what_its_golden_files_show() {
    let Some(helm) = helm("the_chart_installs_what_its_golden_files_show") else { return };
    for case in ["cluster", "namespace"] {
        let folder = root().join("tests/golden/chart");
        let values = folder.join(format!("{case}.values.yaml"));
        let golden = folder.join(format!("{case}.yaml"));
        let found = rendered(helm, &["--values", values.to_str().expect("a path")]);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("the golden file is written");
        }
        let expected = fs::read_to_string(&golden).expect("a golden file");
        assert!(found == expected, "{} differs; it is now:\n{found}", golden.display());
    }
}

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    let Some(helm) = helm("a_wrong_value_is_refused_by_its_name") else { return };
    for (value, answer) in WRONG_VALUES {
        let output = template(helm, &["--set", value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} is taken");
        assert!(said.contains(answer), "{value}: {said}");
    }
}

#[test]
fn what_a_chart_around_it_sets_is_left_alone() {
    let Some(helm) = helm("what_a_chart_around_it_sets_is_left_alone") else { return };
    let plain = rendered(helm, &[]);
    assert_eq!(rendered(helm, &["--set", "global.site=north,enabled=true"]), plain);
}

#[test]
fn the_chart_brings_the_definitions_and_keeps_them() {
    let Some(helm) = helm("the_chart_brings_the_definitions_and_keeps_them") else { return };
    let kept = rendered(helm, &[]);
    let removed = rendered(helm, &["--set", "crds.keep=false"]);
    for (yaml, annotations) in [(kept, json!({ "helm.sh/resource-policy": "keep" })), (removed, Value::Null)]
    {
        let mut found = objects(&yaml);
        found.retain(|(kind, _), _| kind == "CustomResourceDefinition");
        for definition in found.values_mut() {
            assert_eq!(definition["metadata"]["annotations"], annotations);
            let name = definition["metadata"]["name"].clone();
            definition["metadata"] = json!({ "name": name });
        }
        assert!(found == definitions(), "the chart has other definitions; run `make generate`");
    }
}

/// `crds/*.yaml`, which are generated from the types.
fn definitions() -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("crds")).expect("crds") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.append(&mut objects(&fs::read_to_string(&path).expect("a definition")));
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn every_right_is_named() {
    let Some(helm) = helm("every_right_is_named") else { return };
    for ((kind, name), object) in objects(&rendered(helm, &[])) {
        if kind.ends_with("Role") {
            assert!(!object["rules"].to_string().contains('*'), "{kind} {name} grants a wildcard");
        }
    }
}

#[test]
fn the_notes_say_what_to_do_next() {
    let Some(cluster) = Cluster::shared("the_notes_say_what_to_do_next") else { return };
    let mut install = cluster.command("helm");
    install.args(["install", "umbriel"]).arg(chart()).args([
        "--namespace",
        "umbriel-system",
        "--dry-run=client",
    ]);
    install.args(["--set", "crds.install=false,operator.namespace=phones"]);
    let output = install.output().expect("helm runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "helm test umbriel --namespace umbriel-system",
        "kubectl --namespace phones apply --filename examples/quickstart/",
        "kubectl --namespace phones wait --for=condition=Served um --all --timeout=2m",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
