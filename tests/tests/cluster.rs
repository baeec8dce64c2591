//! What a person meets who writes to a real API server: accepted, completed, refused, explained.
//!
//! Decides nothing about servers: no Umbriel runs here. `tests/golden/manifests` holds manifests
//! that are each wrong in one way, and what is said about each (`UPDATE_GOLDEN=1` writes that).

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use umbriel_tests::cluster::{Namespace, examples, root};
use umbriel_tests::{Cluster, wait_until};

const KINDS: [&str; 8] = [
    "umdialplans",
    "umipgateways",
    "umhuntgroups",
    "umautoattendants",
    "ummailboxpolicies",
    "ummailboxes",
    "umcallrouters",
    "umservices",
];

fn spec(namespace: &Namespace<'_>, object: &str) -> Value {
    let object: Value = serde_json::from_str(&namespace.kubectl(&["get", object, "-o", "json"])).unwrap();
    object["spec"].clone()
}

#[test]
fn every_example_is_accepted_and_applied_again_changes_nothing() {
    let test = "every_example_is_accepted_and_applied_again_changes_nothing";
    let Some(cluster) = Cluster::shared(test) else { return };
    for example in examples() {
        let namespace = cluster.namespace();
        let folder = format!("--filename={}", example.display());
        let tried = namespace.kubectl(&["apply", "--dry-run=server", &folder]);
        assert!(tried.lines().all(|line| line.ends_with(" created (server dry run)")), "{tried}");
        let applied = namespace.kubectl(&["apply", &folder]);
        assert!(applied.lines().all(|line| line.ends_with(" created")), "{applied}");
        assert_eq!(namespace.kubectl(&["diff", &folder]), "", "{}", example.display());
        let again = namespace.kubectl(&["apply", &folder]);
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
        assert_eq!(again.lines().count(), applied.lines().count());
    }
}

#[test]
fn what_is_left_out_is_written_into_the_object() {
    let Some(cluster) = Cluster::shared("what_is_left_out_is_written_into_the_object") else { return };
    let namespace = cluster.namespace();
    let document = |kind: &str, spec: &str| {
        format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n---\n")
    };
    namespace.apply(
        &[
            document("UMDialPlan", "{numberOfDigitsInExtension: 3}"),
            document("UMIPGateway", "{address: 192.0.2.10}"),
            document("UMCallRouter", "{}"),
            document("UMService", "{smtp: {host: mail.contoso.example, from: um@contoso.example}}"),
        ]
        .concat(),
    );
    let plan = json!({
        "numberOfDigitsInExtension": 3, "uriType": "TelExtn", "generateUMMailboxPolicy": true, "voIPSecurity": "Unsecured",
        "defaultLanguage": "en-US", "maxCallDuration": 30, "maxRecordingDuration": 20, "recordingIdleTimeout": 5,
    });
    assert_eq!(spec(&namespace, "umdp/x"), plan);
    assert_eq!(spec(&namespace, "umgw/x"), json!({"address": "192.0.2.10", "status": "Enabled"}));
    let router = json!({
        "sipTcpListeningPort": 5060, "sipTlsListeningPort": 5061, "sipUdpListeningPort": 5060,
        "umStartupMode": "TCP", "status": "Enabled", "exposure": "Pod", "unknownPeers": "Refuse",
    });
    assert_eq!(spec(&namespace, "umcr/x"), router);
    let service = json!({
        "exposure": "Pod",
        "sipTcpListeningPort": 5062, "sipTlsListeningPort": 5063, "sipUdpListeningPort": 5062,
        "umStartupMode": "TCP", "status": "Enabled", "maxCallsAllowed": 100, "replicas": 1,
        "smtp": {"host": "mail.contoso.example", "port": 25, "from": "um@contoso.example", "security": "StartTLS"},
    });
    assert_eq!(spec(&namespace, "umsvc/x"), service);
}

/// What `kubectl` says about each file of the folder, none of which it takes, by the file's name.
fn refusals(cluster: &Cluster, folder: &Path, verb: &[&str]) -> BTreeMap<String, String> {
    let mut command = cluster.command("kubectl");
    command.args(verb).args(["--dry-run=server", "--filename=."]);
    let output = command.current_dir(folder).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "a wrong manifest was accepted");
    let said = String::from_utf8(output.stderr).unwrap();
    let mut refusals: BTreeMap<String, String> = BTreeMap::new();
    let mut file = String::new();
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("ing \"").filter(|_| line.contains(": error when ")) {
            file = rest.split_once(".yaml\"").unwrap().0.to_owned();
        }
        refusals.entry(file.clone()).or_default().push_str(&format!("{line}\n"));
    }
    refusals
}

/// A message with one fault on each line. The server names them in any order.
fn in_order(message: &str) -> String {
    let Some((object, faults)) = message.split_once(" is invalid: [") else { return message.to_owned() };
    let faults = faults.trim_end().strip_suffix(']').unwrap();
    let faults = faults.replace(", spec.", "\nspec.").replace(", <nil>:", "\n<nil>:");
    let mut faults: Vec<_> = faults.lines().collect();
    faults.sort_unstable();
    format!("{object} is invalid:\n  {}\n", faults.join("\n  "))
}

/// The manifests of a folder below `tests/golden`.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Holds what was said about each manifest against the file beside it.
fn hold_promises(manifests: &[PathBuf], mut refusals: BTreeMap<String, String>) {
    let mut wrong = Vec::new();
    for manifest in manifests {
        let name = manifest.file_stem().unwrap().to_str().unwrap();
        let said = in_order(&refusals.remove(name).unwrap_or_default());
        let golden = manifest.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        let promised = fs::read_to_string(&golden).unwrap_or_default();
        if said != promised || said.is_empty() {
            wrong.push(format!("{name}: said\n{said}promised\n{promised}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refusals.is_empty(), "{refusals:?}");
}

#[test]
fn a_wrong_manifest_is_refused_with_the_message_that_is_promised() {
    let test = "a_wrong_manifest_is_refused_with_the_message_that_is_promised";
    let Some(cluster) = Cluster::shared(test) else { return };
    let folder = root().join("tests/golden/manifests");
    let manifests = manifests(&folder);
    assert!(manifests.len() >= 100, "{} manifests", manifests.len());
    hold_promises(&manifests, refusals(cluster, &folder, &["create", "--namespace=default"]));
}

/// Each file holds an object as it was made, and then as somebody would like to have it.
#[test]
fn what_is_create_only_is_refused_with_the_message_that_is_promised() {
    let test = "what_is_create_only_is_refused_with_the_message_that_is_promised";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let manifests = manifests(&root().join("tests/golden/updates"));
    assert!(manifests.len() >= 5, "{} manifests", manifests.len());
    let (mut made, wished) = (String::new(), tempfile::tempdir().unwrap());
    for manifest in &manifests {
        let text = fs::read_to_string(manifest).unwrap();
        let (before, after) = text.split_once("\n---\n").unwrap();
        made += &format!("{before}\n---\n");
        fs::write(wished.path().join(manifest.file_name().unwrap()), after).unwrap();
    }
    namespace.apply(&made);
    let of_namespace = format!("--namespace={}", namespace.name);
    hold_promises(&manifests, refusals(cluster, wished.path(), &["replace", &of_namespace]));
    // What says the same as before is no change.
    namespace.apply(&made);
}

#[test]
fn every_field_of_every_kind_is_explained() {
    let Some(cluster) = Cluster::shared("every_field_of_every_kind_is_explained") else { return };
    for kind in KINDS {
        let text = cluster.kubectl(&["explain", kind]);
        assert!(text.contains("DESCRIPTION:"), "{text}");
        for part in ["", ".spec", ".status.conditions"] {
            let text = cluster.kubectl(&["explain", "--recursive=false", &format!("{kind}{part}")]);
            assert!(!text.contains("<no description>"), "{kind}{part}: {text}");
        }
    }
    let text = cluster.kubectl(&["explain", "umdp.spec.recordingIdleTimeout"]);
    assert!(text.contains("This many seconds of silence end a recording, 2 to 10."), "{text}");
}

#[test]
fn one_command_lists_all_kinds_with_what_matters_of_each() {
    let Some(cluster) = Cluster::shared("one_command_lists_all_kinds_with_what_matters_of_each") else {
        return;
    };
    let namespace = cluster.namespace();
    let _applied =
        namespace.kubectl(&["apply", "--filename", root().join("examples/quickstart").to_str().unwrap()]);
    let table = namespace.kubectl(&["get", "um"]);
    let row = |object: &str| {
        let row = table.lines().find(|line| line.starts_with(object)).unwrap_or_else(|| panic!("{table}"));
        let words: Vec<_> = row.split_whitespace().collect();
        // The last one says since when it is there: seconds, here.
        let [what @ .., age] = words.as_slice() else { panic!("{table}") };
        let seconds = age.strip_suffix('s').and_then(|seconds| seconds.parse::<u8>().ok());
        assert!(seconds.is_some(), "{table}");
        what.join(" ")
    };
    assert_eq!(row("umdialplan.umbriel.dev/contoso"), "umdialplan.umbriel.dev/contoso 3 TelExtn Unsecured");
    assert_eq!(row("umcallrouter.umbriel.dev/router"), "umcallrouter.umbriel.dev/router TCP Enabled");
    assert_eq!(row("umservice.umbriel.dev/mailbox"), "umservice.umbriel.dev/mailbox TCP Enabled 1 100");
    assert_eq!(table.matches("ummailbox.umbriel.dev/").count(), 2, "{table}");
}

#[test]
fn pods_run_on_both_nodes() {
    let Some(cluster) = Cluster::shared("pods_run_on_both_nodes") else { return };
    let namespace = cluster.namespace();
    for node in ["node1", "node2"] {
        namespace.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: on-{node}}}\nspec:\n  nodeName: {node}\n  \
             containers: [{{name: pause, image: 'localhost/pause:1', imagePullPolicy: Never}}]\n"
        ));
    }
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "pod/on-node1", "pod/on-node2"];
    let _ready = namespace.kubectl(&wait);
}

/// A copy of the cluster's files is a cluster of its own: its folder, cgroups and processes carry
/// another name.
#[test]
fn a_cluster_ends_with_its_owner_and_leaves_nothing() {
    let test = "a_cluster_ends_with_its_owner_and_leaves_nothing";
    let Some(_shared) = Cluster::shared(test) else { return };
    let room = tempfile::Builder::new().prefix("umbriel-").tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(root().join("tests/cluster/.")).arg(room.path()).status();
    assert!(copied.unwrap().success());
    let script = |args: &[&str]| Command::new(room.path().join("cluster")).args(args).output().unwrap();
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let up = script(&["up", "--owner", &owner.id().to_string()]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let work = String::from_utf8(script(&["where"]).stdout).unwrap().trim().to_owned();
    let first = fs::read_to_string(format!("{work}/first.pid")).unwrap().trim().to_owned();

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("nothing is left of the cluster", Duration::from_secs(30), || {
        (!fs::exists(&work).unwrap() && !fs::exists(format!("/proc/{first}")).unwrap()).then_some(())
    });
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(&work));
}
