//! Secrets that cannot be read: calls go on with what was good, somebody is told, and what is mended
//! is taken up.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use umbriel_tests::api::Api;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::load::Kept;
use umbriel_tests::operator::{Applied, Audit, Operator, Run};
use umbriel_tests::{Cluster, tls, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Text that is neither a certificate nor a key of ours.
const NONSENSE: &str = "nonsense";

/// Waits until `Ready` of an object has a reason; gives its message.
fn wait_for_reason(namespace: &Namespace<'_>, name: &str, reason: &str) -> String {
    wait_until(&format!("{name} says {reason}"), 30 * SECOND, || {
        let object = namespace.kubectl(&["get", name, "--output=json"]);
        let object: Value = serde_json::from_str(&object).unwrap();
        let mut conditions = object["status"]["conditions"].as_array()?.iter();
        let ready =
            conditions.find(|condition| condition["type"] == "Ready" && condition["reason"] == reason)?;
        Some(ready["message"].as_str().unwrap().to_owned())
    })
}

/// A Secret with a certificate in it, or what somebody took for one.
fn write_certificate(namespace: &Namespace<'_>, chain: &str, key: &str) {
    let data = json!({ "tls.crt": chain, "tls.key": key });
    let metadata = json!({ "name": "sip" });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "stringData": data });
    namespace.apply(&secret.to_string());
}

/// A new certificate: PEM, its key, and DER.
fn certificate(folder: &Path) -> (String, String, Vec<u8>) {
    let der = tls::make_certificate(folder);
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    (text("chain"), text("key"), der)
}

#[test]
fn a_certificate_that_becomes_nonsense_leaves_the_last_good_one() {
    let test = "a_certificate_that_becomes_nonsense_leaves_the_last_good_one";
    let Some(cluster) = Cluster::shared(test) else { return };
    let (namespace, audit, room) = (cluster.namespace(), Audit::of(cluster), tempfile::tempdir().unwrap());
    let (chain, key, shown) = certificate(room.path());
    write_certificate(&namespace, &chain, &key);
    let operator = Operator::start(cluster, &namespace, Run { resync_interval: "2s", ..Run::default() });
    let office = Applied::office_with(cluster, &namespace, |name, yaml| match name {
        "router.yaml" => yaml.replace("umStartupMode: TCP", "umStartupMode: Dual\n  certificateSecret: sip"),
        _ => yaml,
    });
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let routers = office.pods(&namespace, "router");
    let shows = |wanted: &[u8]| {
        let shown = |router: &std::net::IpAddr| tls::shown_by(SocketAddr::new(*router, 5061)).ok();
        cluster.within(|| routers.iter().all(|router| shown(router).as_deref() == Some(wanted)))
    };
    assert!(shows(&shown));
    let calls = Kept::answered(cluster, routers[0], 1);

    write_certificate(&namespace, NONSENSE, NONSENSE);
    let told = wait_for_reason(&namespace, "umcr/router", "CertificateUnusable");
    assert!(told.contains("spec.certificateSecret") && !told.contains("PRIVATE"), "{told}");
    // Others are not held up, and whoever speaks TLS is shown what was good.
    let api = Api::start(cluster);
    cluster.within(|| api.make_mailbox(&namespace.name, 0));
    office.wait_until_extended(&namespace, 0..1);
    assert!(shows(&shown), "the last good certificate");
    let _served = namespace.kubectl(&["wait", "--for=condition=Served", "ummb/user-0", "--timeout=30s"]);
    audit.expect_no_write(&operator.user, 3);

    let (chain, key, another) = certificate(room.path());
    write_certificate(&namespace, &chain, &key);
    wait_for_reason(&namespace, "umcr/router", "Accepted");
    wait_until("the new certificate is shown", 30 * SECOND, || shows(&another).then_some(()));
    office.wait_until_served(&namespace);
    audit.expect_no_write(&operator.user, 3);
    let (calls, longest) = calls.finish();
    eprintln!("{calls} calls were answered, each within {longest:?}");
}

/// Writes the token keys, `stringData` as text or `data` in base64, and has the kubelets look at once.
fn write_token_keys(namespace: &Namespace<'_>, part: &str, keys: &str) {
    let patch = json!({ part: { "token-keys.yaml": keys } }).to_string();
    let _patched = namespace.kubectl(&["patch", "secret/umbriel-token", "--type=merge", "--patch", &patch]);
    let look = format!("example.com/look={part}");
    let _told = namespace.kubectl(&["annotate", "pods", "--all", "--overwrite", &look]);
}

#[test]
fn token_keys_that_become_nonsense_refuse_no_call_until_somebody_puts_them_back() {
    let test = "token_keys_that_become_nonsense_refuse_no_call_until_somebody_puts_them_back";
    let Some(cluster) = Cluster::shared(test) else { return };
    let (namespace, audit) = (cluster.namespace(), Audit::of(cluster));
    let before = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let calls = Kept::answered(cluster, office.pods(&namespace, "router")[0], 1);
    let good =
        namespace.kubectl(&["get", "secret/umbriel-token", "--output=jsonpath={.data.token-keys\\.yaml}"]);
    assert!(good.len() > 40, "{good}");

    // The operator that knew them is gone: it would put them back at once.
    before.signal(Signal::SIGKILL);
    drop(before);
    write_token_keys(&namespace, "stringData", NONSENSE);
    let after = Operator::start(cluster, &namespace, Run { resync_interval: "2s", ..Run::default() });
    for server in ["umcr/router", "umsvc/mailbox"] {
        let told = wait_for_reason(&namespace, server, "TokenKeysUnusable");
        assert!(told.contains("Secret umbriel-token"), "{told}");
    }
    let api = Api::start(cluster);
    cluster.within(|| api.make_mailbox(&namespace.name, 0));
    office.wait_until_extended(&namespace, 0..1);
    calls.expect(5);
    let _served = namespace.kubectl(&["wait", "--for=condition=Served", "ummb/user-0", "--timeout=30s"]);
    audit.expect_no_write(&after.user, 3);

    write_token_keys(&namespace, "data", &good);
    for server in ["umcr/router", "umsvc/mailbox"] {
        wait_for_reason(&namespace, server, "Accepted");
    }
    cluster.within(|| api.make_mailbox(&namespace.name, 1));
    office.wait_until_extended(&namespace, 1..2);
    office.wait_until_served(&namespace);
    calls.expect(5);
    audit.expect_no_write(&after.user, 3);
    let (calls, longest) = calls.finish();
    eprintln!("{calls} calls were answered, each within {longest:?}");
}

/// Takes the right to see Secrets from an operator, or gives it back.
fn let_see_secrets(cluster: &Cluster, user: &str, may: bool) {
    let role = if may { "cluster-admin" } else { "tests-no-secrets" };
    let rule = |groups: &[&str], resources: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": ["*"] });
    let rules = [
        rule(&[""], &["pods", "configmaps", "services", "persistentvolumeclaims"]),
        rule(
            &["apps", "policy", "umbriel.dev", "coordination.k8s.io", "events.k8s.io", "networking.k8s.io"],
            &["*"],
        ),
    ];
    let (version, metadata) = ("rbac.authorization.k8s.io/v1", |name: &str| json!({ "name": name }));
    let role_object = json!({ "apiVersion": version, "kind": "ClusterRole", "metadata": metadata("tests-no-secrets"), "rules": rules });
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata(user),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("rights.json");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [role_object, binding] });
    std::fs::write(&file, list.to_string()).unwrap();
    // Which role a binding gives cannot be changed: another one takes its place.
    let _replaced =
        cluster.kubectl(&["replace", "--force", "--grace-period=0", "--filename", file.to_str().unwrap()]);
}

#[test]
fn an_operator_that_may_not_see_secrets_for_a_while_goes_on_with_what_it_knows() {
    let test = "an_operator_that_may_not_see_secrets_for_a_while_goes_on_with_what_it_knows";
    let Some(cluster) = Cluster::shared(test) else { return };
    let (namespace, audit) = (cluster.namespace(), Audit::of(cluster));
    let operator = Operator::start(cluster, &namespace, Run { resync_interval: "2s", ..Run::default() });
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let calls = Kept::answered(cluster, office.pods(&namespace, "router")[0], 1);
    let told = |status: u16| operator.readyz().filter(|(now, _)| *now == status).map(|(_, text)| text);

    let_see_secrets(cluster, &operator.user, false);
    wait_until("the operator says what it may not see", 30 * SECOND, || {
        told(503).filter(|text| text.contains("watch of secrets") && text.contains("forbidden"))
    });
    let api = Api::start(cluster);
    cluster.within(|| api.make_mailbox(&namespace.name, 0));
    office.wait_until_extended(&namespace, 0..1);
    calls.expect(5);

    let_see_secrets(cluster, &operator.user, true);
    wait_until("it is ready again", 60 * SECOND, || told(200));
    cluster.within(|| api.make_mailbox(&namespace.name, 1));
    office.wait_until_extended(&namespace, 1..2);
    office.wait_until_served(&namespace);
    audit.expect_no_write(&operator.user, 3);
    let (calls, longest) = calls.finish();
    eprintln!("{calls} calls were answered, each within {longest:?}");
}
