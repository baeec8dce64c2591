//! Objects of which none changes, a thousand of them and those of the examples: what an operator takes,
//! and that nothing is written.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use umbriel_tests::api::Api;
use umbriel_tests::cluster::{Namespace, examples};
use umbriel_tests::operator::{Applied, Audit, Operator, Run};
use umbriel_tests::volume::Volume;
use umbriel_tests::{Cluster, image, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// With those of the office more than a thousand objects.
const MAILBOXES: usize = 1_000;

/// How long the operator is looked at.
const STEADY: Duration = Duration::from_secs(20);

/// The kernel counts processor time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Everything is compared every ten minutes: so often in an hour.
const COMPARED: usize = 6;

/// A dial plan, its policy, and users in it.
fn make_mailboxes(cluster: &Cluster, namespace: &Namespace<'_>) {
    let api = Api::start(cluster);
    let make = |kind: &str, plural: &str, name: &str, spec: Value| {
        let (version, path) = ("umbriel.dev/v1alpha1", format!("namespaces/{}/{plural}", namespace.name));
        let object = json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        assert_eq!(api.send("POST", &format!("/apis/{version}/{path}"), "application/json", &object), 201);
    };
    cluster.within(|| {
        make("UMDialPlan", "umdialplans", "fabrikam", json!({ "numberOfDigitsInExtension": 5 }));
        make("UMMailboxPolicy", "ummailboxpolicies", "guests", json!({ "umDialPlan": "fabrikam" }));
        for number in 0..MAILBOXES {
            let spec = json!({
                "umMailboxPolicy": "guests", "extensions": [format!("5{number:04}")],
                "primarySmtpAddress": format!("guest-{number}@fabrikam.example"),
            });
            make("UMMailbox", "ummailboxes", &format!("guest-{number}"), spec);
        }
    });
}

/// How many objects are not served.
fn unserved(namespace: &Namespace<'_>) -> usize {
    let served = r#"{range .items[*]}{.status.conditions[?(@.type=="Served")].status}{"\n"}{end}"#;
    let served = namespace.kubectl(&["get", "um", &format!("--output=jsonpath={served}")]);
    served.lines().filter(|line| *line != "True").count()
}

/// The memory that a process has, MB: `Rss` is all of it, `Pss` without the share of others in it.
fn memory_mb(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{which}:"))).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1_024 / 1_000_000
}

/// The processor time that a process has taken.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which stands in brackets, the user and the system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    TICK * ticks
}

#[test]
fn a_thousand_objects_that_stay_as_they_are_take_little_and_nothing_is_written() {
    let test = "a_thousand_objects_that_stay_as_they_are_take_little_and_nothing_is_written";
    let Some(cluster) = Cluster::shared(test) else { return };
    let namespace = cluster.namespace();
    let operator = Operator::start(cluster, &namespace, Run::default());
    let office = Applied::office(cluster, &namespace);
    make_mailboxes(cluster, &namespace);
    wait_until("everything is served", 120 * SECOND, || (unserved(&namespace) == 0).then_some(()));

    let (audit, user) = (Audit::of(cluster), operator.user.clone());
    let written = audit.writes(&user).len();
    let before = processor_time(operator.pid());
    std::thread::sleep(STEADY);
    let busy = (processor_time(operator.pid()) - before).as_secs_f64() / STEADY.as_secs_f64();
    let (memory, own) = (memory_mb(operator.pid(), "Rss"), memory_mb(operator.pid(), "Pss"));
    eprintln!("with {MAILBOXES} mailboxes: RSS {memory} MB, PSS {own} MB, {:.2} % of a core", busy * 100.0);
    assert_eq!(audit.writes(&user).len(), written, "nothing changes");
    assert!(memory <= 60, "{memory} MB");
    assert!(busy <= 0.01, "{:.2} % of a core", busy * 100.0);

    // An hour, in less time.
    operator.signal(Signal::SIGTERM);
    audit.expect_nothing_to_write(cluster, &namespace, COMPARED);
    drop(office);
}

#[test]
fn examples_that_are_applied_twice_are_written_once() {
    let test = "examples_that_are_applied_twice_are_written_once";
    let Some(cluster) = Cluster::shared(test) else { return };
    cluster.load(image::archive());
    let audit = Audit::of(cluster);
    for example in examples() {
        let namespace = cluster.namespace();
        let _volume = Volume::offer(cluster, &namespace);
        // What it does in an hour, it does in twelve seconds.
        let operator = Operator::start(cluster, &namespace, Run { resync_interval: "2s", ..Run::default() });
        let folder = format!("--filename={}", example.display());
        let applied = namespace.kubectl(&["apply", &folder]);
        let objects = applied.lines().count();
        wait_until("everything is served", 120 * SECOND, || (unserved(&namespace) == 0).then_some(()));
        audit.expect_no_write(&operator.user, 1);
        let written = audit.writes_to_ours(&namespace);
        let made = written.iter().filter(|request| !request.resource.contains('/'));
        assert!(made.count() >= objects, "the audit log has what was applied: {written:?}");

        let again = namespace.kubectl(&["apply", &folder]);
        assert_eq!(again.lines().filter(|line| line.ends_with(" unchanged")).count(), objects, "{again}");
        audit.expect_no_write(&operator.user, COMPARED);
        let more = audit.writes_to_ours(&namespace).split_off(written.len());
        assert!(more.is_empty(), "{}: {more:?}", example.display());
    }
}
