//! From `helm install` to calls that are answered, and back to a cluster with nothing of ours in it.
//!
//! One story on one cluster of its own, because each chapter needs what the one before has made: the
//! commands are README's, every scenario of the list takes place in a namespace, and the API server's
//! audit log is read at the end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use umbriel_tests::audio::{self, Law};
use umbriel_tests::audit::{Audit, Request, Right, denied_to, granted, used_by};
use umbriel_tests::callers::{Baresip, Dialled, Sipp};
use umbriel_tests::cluster::{Namespace, root};
use umbriel_tests::installed::{
    Tenant, Volume, checkout, commands_of_readme, helm, let_strangers_in, type_in,
};
use umbriel_tests::mail::{AIOSMTPD, Mail};
use umbriel_tests::monitor;
use umbriel_tests::phone::Phone;
use umbriel_tests::scenarios::ALL;
use umbriel_tests::{Cluster, Site, has, image, wait_until};

/// The operator to the API server.
const OPERATOR: &str = "system:serviceaccount:umbriel-system:umbriel-operator";

/// Whoever `helm test` runs.
const TRIAL: &str = "system:serviceaccount:umbriel-system:umbriel-test";

/// Scenarios that take place at once.
const LANES: usize = 4;

#[test]
fn an_installed_umbriel_answers_calls_and_leaves_nothing_behind() {
    let test = "an_installed_umbriel_answers_calls_and_leaves_nothing_behind";
    let programs = ["buildah", "mmdebstrap", "sipp", "baresip", AIOSMTPD];
    if !programs.iter().all(|program| has(program, test)) {
        return;
    }
    let archive = image::archive();
    let clock = Clock(Instant::now());
    let Some(cluster) = Cluster::own(test) else { return };
    clock.tell("the cluster is up");
    cluster.load(archive);
    clock.tell("the image is loaded");
    let_strangers_in(&cluster);
    let before = everything(&cluster);
    cluster.within(|| story(&cluster, &before, &clock));
}

/// All chapters, in the cluster's network.
fn story(cluster: &Cluster, before: &BTreeSet<String>, clock: &Clock) {
    let (checkout, lines) = (checkout(), commands_of_readme("On Kubernetes"));
    let [install, namespace, apply, wait, upgrade, delete, claims, uninstall] = lines.as_slice() else {
        panic!("README's commands are others: {lines:?}")
    };
    let type_in = |line: &str| {
        let said = type_in(cluster, checkout.path(), line);
        clock.tell(line);
        said
    };
    let audit = Audit::of(&cluster.folder());

    let mut quickstart = Tenant::expect(cluster, "phones");
    let begun = Instant::now();
    for line in [install, namespace, apply, wait] {
        let _said = type_in(line);
    }
    is_answered(&mut quickstart, begun, clock);
    clock.tell("sipp and baresip have left their messages");
    applied_again_nothing_is_written(cluster, || type_in(apply));
    people_may_do_with_our_kinds_what_they_may_with_others(quickstart.namespace());
    what_is_made_for_others_goes_with_them(&quickstart);
    helm_test_proves_the_operator(cluster, clock);
    for line in [delete, claims] {
        let _said = type_in(line);
    }
    // Later its rights may go before it.
    let mut requests = audit.since(0);
    let _said = type_in(uninstall);
    drop(quickstart);
    nothing_is_left(cluster, before);
    clock.tell("nothing is left");

    let start = audit.length();
    let quickstart = Tenant::expect(cluster, "phones");
    for line in [&format!("{install} --set operator.namespace=phones"), apply, wait] {
        let _said = type_in(line);
    }
    what_is_made_for_others_goes_with_them(&quickstart);
    let _said = type_in("helm test umbriel --namespace umbriel-system");
    assert_eq!(quickstart.wait_for_mails(1)[0].to, "voicemail@contoso.example", "the test's own message");
    an_auto_attendant_is_added(quickstart.namespace());
    the_operator_uses_its_rights(cluster, "role --namespace phones", &audit.since(start));
    let open = "networkPolicy.enabled=false";
    let _said = type_in(&format!("{upgrade} --set operator.namespace=phones,{open}"));
    let policies = ["wait", "--for=delete", "networkpolicies", "--all", "--timeout=60s"];
    let _gone = quickstart.namespace().kubectl(&policies);
    the_operator_uses_its_rights(cluster, "role --namespace phones", &audit.since(start));

    let start = audit.length();
    let fixture = root().join("tests/fixtures/podmonitors.yaml");
    let _defined = cluster.kubectl(&["apply", "--filename", fixture.to_str().expect("a path")]);
    let monitored = "podMonitor.enabled=true,podMonitor.labels.release=prometheus";
    let kept_out = "networkPolicy.enabled=true,networkPolicy.metricsFrom={monitoring}";
    let _said = type_in(&format!("{upgrade} --set operator.namespace=,{monitored},{kept_out}"));
    what_is_monitored_answers(cluster);
    scenarios_hold(cluster, clock);
    requests.extend(audit.since(start));
    the_operator_uses_its_rights(cluster, "clusterrole", &requests);
    the_trial_uses_its_rights(cluster, &audit.since(0));
}

/// Says how long it took to the first answered call, and has others leave messages.
fn is_answered(quickstart: &mut Tenant<'_>, begun: Instant, clock: &Clock) {
    quickstart.find();
    let mut phone = Phone::call(quickstart, "101", 1);
    let seconds = begun.elapsed().as_secs_f64();
    clock.tell(&format!("{seconds:.1} s from `helm install` to the first answered call"));
    phone.hang_up();
    messages_arrive(quickstart, &phone.call_id);
}

/// The quickstart has every kind but this one, whose rights are to be used too.
fn an_auto_attendant_is_added(phones: &Namespace<'_>) {
    let attendant = root().join("examples/attendant/autoattendant.yaml");
    let _made = phones.kubectl(&["apply", "--filename", attendant.to_str().expect("a path")]);
    let served = ["wait", "--for=condition=Served", "umautoattendants", "--all", "--timeout=60s"];
    let _served = phones.kubectl(&served);
}

/// Everything that the release has made says what the API server's definitions know, and whoever
/// collects metrics by its PodMonitor has those of every program.
fn what_is_monitored_answers(cluster: &Cluster) {
    let manifest = "helm get manifest umbriel --namespace umbriel-system";
    let strictly = "kubectl apply --dry-run=server --validate=strict --filename=-";
    let said = type_in(cluster, &root(), &format!("{manifest} | {strictly}"));
    assert!(said.contains("podmonitor.monitoring.coreos.com/umbriel configured"), "{said}");
    let release = "--output=jsonpath={.metadata.labels.release}";
    let release = cluster.kubectl(&["get", "podmonitor", "umbriel", "--namespace=umbriel-system", release]);
    assert_eq!(release, "prometheus", "Prometheus finds it by this");
    let mut components = BTreeSet::new();
    for (labels, head, body) in monitor::ask_all(cluster, "umbriel-system", "umbriel") {
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("openmetrics-text"), "{labels:?}: {head}");
        assert!(body.contains("\n# TYPE um_") && body.ends_with("# EOF\n"), "{labels:?}: {body}");
        let component = &labels["app.kubernetes.io/component"];
        assert!(component != "operator" || body.contains("\num_operator_leads 1\n"), "{body}");
        components.insert(component.clone());
    }
    assert_eq!(components.into_iter().collect::<Vec<_>>(), ["mailbox", "operator", "router"]);
}

/// Kubernetes' own roles for those who view, edit and administrate a namespace count for our kinds.
fn people_may_do_with_our_kinds_what_they_may_with_others(namespace: &Namespace<'_>) {
    for (role, may_write) in [("view", false), ("edit", true), ("admin", true)] {
        let person = format!("who-may-{role}");
        let binding = ["create", "rolebinding", role, "--clusterrole", role, "--user", &person];
        let _bound = namespace.kubectl(&binding);
        let may = |verb: &str, resource: &str, part: &str| {
            let asked = ["auth", "can-i", verb, resource, "--subresource", part, "--as", &person];
            namespace.command(&asked).output().expect("kubectl").status.success()
        };
        wait_until("the API server knows the binding", Duration::from_secs(20), || {
            may("list", "pods", "").then_some(())
        });
        let of_ours = "umdialplans.umbriel.dev";
        for (verb, expected) in
            [("list", true), ("watch", true), ("create", may_write), ("delete", may_write)]
        {
            assert_eq!(may(verb, of_ours, ""), expected, "{role} may {verb} dial plans");
        }
        assert!(!may("patch", of_ours, "status"), "a status is the operator's, and not of who may {role}");
        let _removed = namespace.kubectl(&["delete", "rolebinding", role]);
    }
}

/// A gateway that names a dial plan is given a hunt group, and a mailbox server before which a load
/// balancer is to stand a Service of its own; each goes with its reason.
fn what_is_made_for_others_goes_with_them(site: &Tenant<'_>) {
    let namespace = site.namespace();
    namespace.apply(
        "apiVersion: umbriel.dev/v1alpha1\nkind: UMIPGateway\nmetadata: {name: branch}\n\
         spec: {address: 192.0.2.9, umDialPlan: contoso}\n",
    );
    let expose = |exposure: &str| {
        let patch = format!("{{\"spec\":{{\"exposure\":\"{exposure}\"}}}}");
        let _patched =
            namespace.kubectl(&["patch", "umservice", "mailbox", "--type=merge", "--patch", &patch]);
    };
    expose("LoadBalancer");
    for object in ["umhuntgroup/branch-default", "service/mailbox-mailbox-0"] {
        let _made = namespace.kubectl(&["wait", "--for=create", object, "--timeout=20s"]);
    }
    let _deleted = namespace.kubectl(&["delete", "umipgateway", "branch"]);
    expose("Pod");
    for object in ["umhuntgroup/branch-default", "service/mailbox-mailbox-0"] {
        let _gone = namespace.kubectl(&["wait", "--for=delete", object, "--timeout=60s"]);
    }
}

/// A call by sipp and one by baresip at the same time. `other` is a call that does not count.
fn messages_arrive(site: &Tenant<'_>, other: &str) {
    let sound = audio::noise(Law::Mu, 7, 8000 * 12);
    let sipp = Sipp {
        called: "102",
        caller: "300".into(),
        transport: "tcp",
        law: Law::Mu,
        sound: sound.clone(),
        hang_up_after: Duration::from_secs(15),
    };
    let spoken = audio::noise(Law::A, 8, 8000 * 30);
    let sipp = sipp.start(site);
    let baresip = Baresip { law: Law::A, ..Baresip::of(Dialled::to(site, "101")) };
    let text = baresip.call(site, &spoken, Duration::from_secs(12));
    assert!(text.contains("Call established"), "baresip: {text}");
    sipp.finish();
    let mails = wait_until("both messages arrive", Duration::from_secs(30), || {
        let mut mails = site.mails();
        mails.retain(|mail| mail.call_id != other);
        (mails.len() >= 2).then_some(mails)
    });
    let to = |owner: &str| -> &Mail { mails.iter().find(|mail| mail.to == owner).expect("a message") };
    let (alice, bob) = (to("alice@contoso.example"), to("bob@contoso.example"));
    assert_eq!((mails.len(), alice.audio.format, bob.audio.format), (2, 6, 7));
    assert!(bob.audio.data.len() >= 8000 && sound.ends_with(&bob.audio.data), "sipp is heard to the end");
    assert!(alice.audio.data.len() >= 8000, "{} samples", alice.audio.data.len());
    assert!(audio::find(&spoken, &alice.audio.data).is_some(), "baresip is heard in one piece");
}

/// Neither by whoever applies nor by the operator, once all is settled. The Lease is renewed all the
/// same.
fn applied_again_nothing_is_written(cluster: &Cluster, apply: impl FnOnce() -> String) {
    let audit = Audit::of(&cluster.folder());
    let is_quiet = |start: u64| audit.since(start).into_iter().filter(is_a_write_of_ours).collect::<Vec<_>>();
    wait_until("all is settled", Duration::from_secs(60), || {
        let start = audit.length();
        std::thread::sleep(Duration::from_secs(1));
        is_quiet(start).is_empty().then_some(())
    });
    let start = audit.length();
    let said = apply();
    assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
    // The operator would have looked at a change a fraction of a second later.
    std::thread::sleep(Duration::from_secs(2));
    assert!(audit.since(start).iter().any(|request| request.user == "admin"), "applying has asked something");
    assert!(is_quiet(start).is_empty(), "{:?}", is_quiet(start));
}

fn is_a_write_of_ours(request: &Request) -> bool {
    let ours = [OPERATOR, "admin"].contains(&request.user.as_str());
    ours && request.writes() && request.right.resource != "leases"
}

/// `helm test` places a call, and says what is wrong where there is no operator.
fn helm_test_proves_the_operator(cluster: &Cluster, clock: &Clock) {
    let system = ["--namespace", "umbriel-system"];
    let test = || helm(cluster, &["test", "umbriel"]).args(system).output().expect("helm runs");
    let text = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let _volume = Volume::offer(cluster, "umbriel-system", "umbriel-test");
    let output = test();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "made:     UMDialPlan, UMIPGateway",
        "served:   after",
        "302",
        "removed:  all of it",
        "The operator works.",
    ] {
        assert!(said.contains(line), "{line:?} is missing: {said}");
    }
    clock.tell("`helm test` has passed");

    let scale = |replicas: &str| {
        let deployment = ["scale", "deployment/umbriel-operator", replicas];
        let _scaled = cluster.kubectl(&[&system[..], &deployment[..]].concat());
    };
    scale("--replicas=0");
    let pods = ["get", "pods", "--selector=app.kubernetes.io/component=operator", "--output=name"];
    wait_until("no operator runs", Duration::from_secs(60), || {
        cluster.kubectl(&[&system[..], &pods[..]].concat()).is_empty().then_some(())
    });
    let output = test();
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for line in ["no operator has looked at UMDialPlan umbriel-test within 20 s", "removed:  all of it"] {
        assert!(said.contains(line), "{line:?} is missing: {said}");
    }
    scale("--replicas=1");
    let there = ["rollout", "status", "deployment/umbriel-operator", "--timeout=60s"];
    let _there = cluster.kubectl(&[&system[..], &there[..]].concat());
    clock.tell("`helm test` has failed without an operator");
}

/// Every scenario of the list, some at a time, each in a namespace of its own. The namespaces go with
/// the cluster: Kubernetes looks again at one that ends when half of its pods' time to end is over,
/// and a mailbox server may take two hours.
fn scenarios_hold(cluster: &Cluster, clock: &Clock) {
    let (left, failed) = (Mutex::new(ALL.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().expect("the list").next();
    let lane = || {
        while let Some(scenario) = next() {
            let shown = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&Tenant::start(cluster))));
            let word = if shown.is_ok() { "ok" } else { "FAILED" };
            clock.tell(&format!("{} ... {word}", scenario.name));
            if shown.is_err() {
                failed.lock().expect("the list").push(scenario.name);
            }
        }
    };
    std::thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(lane))));
    let failed = failed.into_inner().expect("the list");
    assert!(failed.is_empty(), "on the cluster these do not hold: {failed:?}");
}

/// Of the operator, whose rights are in this `role`: what the chart grants is what it asked for, and
/// nothing was denied.
fn the_operator_uses_its_rights(cluster: &Cluster, role: &str, requests: &[Request]) {
    let rights = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        granted(&cluster.kubectl(&[&["get", "--output=json"], &arguments[..]].concat()))
    };
    let mut operator = rights(&format!("{role} umbriel-operator"));
    operator.extend(rights("role umbriel-operator-lease --namespace umbriel-system"));
    rights_are_those_that_are_used(OPERATOR, &operator, "rbac.yaml and _helpers.tpl", requests);
}

/// Of `helm test`. Its Role goes with it; helm knows what it was.
fn the_trial_uses_its_rights(cluster: &Cluster, requests: &[Request]) {
    let hooks = helm(cluster, &["get", "hooks", "umbriel", "--namespace=umbriel-system"]).output();
    let hooks = String::from_utf8(hooks.expect("helm runs").stdout).expect("text");
    let hooks: Vec<serde_json::Value> = serde_yaml::from_multiple(&hooks).expect("YAML");
    let trial = hooks.iter().find(|object| object["kind"] == "Role").expect("the test's Role");
    rights_are_those_that_are_used(TRIAL, &granted(&trial.to_string()), "test.yaml", requests);
}

fn rights_are_those_that_are_used(
    user: &str,
    rights: &BTreeSet<Right>,
    templates: &str,
    requests: &[Request],
) {
    let denied = denied_to(user, requests);
    assert!(denied.is_empty(), "{templates} must grant {user} this: {denied:#?}");
    let used = used_by(user, requests);
    let unused: Vec<String> = rights.difference(&used).map(ToString::to_string).collect();
    assert!(unused.is_empty(), "{templates} grant {user} what it never used: {unused:#?}");
}

/// Of everything that the API server can list, only this was not there before.
fn nothing_is_left(cluster: &Cluster, before: &BTreeSet<String>) {
    // Kubernetes makes it for the definitions.
    let mut expected: Vec<String> = vec!["APIService //v1alpha1.umbriel.dev".to_owned()];
    let kinds =
        "autoattendants callrouters dialplans huntgroups ipgateways mailboxes mailboxpolicies services";
    for kind in kinds.split(' ') {
        expected.push(format!("CustomResourceDefinition //um{kind}.umbriel.dev"));
    }
    // Namespaces are the user's, and this is in every one of them.
    for namespace in ["phones", "umbriel-system"] {
        expected.push(format!("Namespace //{namespace}"));
        expected.push(format!("ServiceAccount /{namespace}/default"));
        expected.push(format!("ConfigMap /{namespace}/kube-root-ca.crt"));
    }
    expected.sort();
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        let left: Vec<String> = everything(cluster).difference(before).cloned().collect();
        if left == expected {
            return;
        }
        assert!(Instant::now() < limit, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Every object of every kind but events, which go by themselves, and the leases of nodes, of which
/// one may be late.
fn everything(cluster: &Cluster) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "--output=name"]);
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let each =
        "--output=jsonpath={range .items[*]}{.kind} /{.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
    let all = cluster.kubectl(&["get", "--all-namespaces", &kinds.join(","), each]);
    all.lines().filter(|line| !line.contains(" /kube-node-lease/")).map(str::to_owned).collect()
}

/// Says what took how long.
struct Clock(Instant);

impl Clock {
    fn tell(&self, what: &str) {
        let line = format!("{:6.1} s  {what}\n", self.0.elapsed().as_secs_f64());
        // Nothing depends on it.
        std::io::stderr().write_all(line.as_bytes()).ok();
    }
}
