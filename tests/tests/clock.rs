//! Clocks that jump, and clocks that differ: calls go on, and what is to be written is written once.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use umbriel_tests::api::Api;
use umbriel_tests::clock::Clock;
use umbriel_tests::cluster::Namespace;
use umbriel_tests::load::Kept;
use umbriel_tests::operator::{Applied, Audit, Operator, Run};
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::{Cluster, House, Site as _, audio, house, wait_until};

const SECOND: Duration = Duration::from_secs(1);

const HOUR_S: i64 = 3_600;

/// Where the clock jumps to, from where it should be. It begins where it should not.
const JUMPS_S: [i64; 3] = [7 * HOUR_S, -5 * HOUR_S, 0];

/// The condition `Ready` of an object: its status and since when.
fn ready(status: &Value) -> Option<(bool, Timestamp)> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let ready = conditions.find(|condition| condition["type"] == "Ready")?;
    Some((ready["status"] == "True", ready["lastTransitionTime"].as_str()?.parse().unwrap()))
}

/// Bob, with a mailbox policy that is there or not.
fn bob(is_good: bool) -> String {
    let files = house::office(house::PBX, None);
    let (_, good) = files.into_iter().find(|(name, _)| *name == "bob.yaml").unwrap();
    if is_good { good } else { good.replace("umMailboxPolicy: staff", "umMailboxPolicy: nobody-has-it") }
}

/// What is written of bob in the status file of a house.
fn ready_of_bob(house: &House) -> Option<(bool, Timestamp)> {
    let text = std::fs::read_to_string(house.state().join("status.yaml")).ok()?;
    let list: Value = serde_yaml::from_str(&text).ok()?;
    let mut items = list["items"].as_array()?.iter();
    ready(&items.find(|item| item["metadata"]["name"] == "bob")?["status"])
}

/// Every file that is written for servers and people, and which version of it.
fn versions(state: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    let folders = ["config/router", "config/mailbox"].map(|folder| state.join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
    let files = files.map(|entry| entry.path()).chain([state.join("status.yaml")]);
    let version = |path: std::path::PathBuf| {
        let file = path.metadata().unwrap();
        (path.display().to_string(), (file.ino(), file.mtime(), file.mtime_nsec()))
    };
    files.map(version).collect()
}

#[test]
fn calls_and_edits_go_on_when_the_clock_jumps_by_hours() {
    let Some(clock) = Clock::start("calls_and_edits_go_on_when_the_clock_jumps_by_hours") else { return };
    let house = House::builder().clock(&clock).start();
    let begun = Timestamp::now();
    let (mut is_good, mut since) = ready_of_bob(&house).unwrap();
    for (seed, ahead_s) in (1..).zip(JUMPS_S) {
        let mut phone = Phone::call(&house, "101", seed);
        phone.speak_through_the_greeting();
        phone.speak(SECOND);
        clock.set(ahead_s);
        phone.speak(2 * SECOND);
        phone.hang_up();
        let mails = house.wait_for_mails(usize::try_from(seed).unwrap());
        let mail = mails.iter().find(|mail| mail.call_id == phone.call_id).expect("its message");
        let start = audio::find(phone.said(), &mail.audio.data).expect("one piece of what was said");
        let missing = phone.said().len() - start - mail.audio.data.len();
        assert!(missing <= 8 * 200, "{missing} samples of the end are missing");

        is_good = !is_good;
        house.write("bob.yaml", &bob(is_good));
        let turned = wait_until("bob has turned", 10 * SECOND, || {
            ready_of_bob(&house).filter(|(now, _)| *now == is_good)
        });
        assert!(turned.1 >= since, "{} before {since}", turned.1);
        since = turned.1;
    }
    assert!(since > begun + SignedDuration::from_hours(6), "the program saw {since}");
    // One call more: then all that was begun is written.
    Phone::call(&house, "101", 9).hang_up();
    let before = versions(house.state());
    std::thread::sleep(2 * SECOND);
    assert_eq!(versions(house.state()), before, "nothing changes");
}

/// A program that ends with the test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Server {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_router_whose_clock_is_another_than_the_mailbox_servers_sends_calls_that_are_answered() {
    let test = "a_router_whose_clock_is_another_than_the_mailbox_servers_sends_calls_that_are_answered";
    let Some(clock) = Clock::start(test) else { return };
    // It writes the configuration, and leaves its address to the two.
    let mut house = House::builder().start();
    house.kill();
    let server = |role: &str, admin_port: &str| {
        let mut command = Command::new(house::umbriel());
        command.arg(role).arg("--config").arg(house.state().join("config").join(role));
        command.args(["--address", &house.address.to_string(), "--admin-port", admin_port]);
        command
    };
    let mut router = server("router", "9060");
    let _router = Server::start(router.envs(clock.environment()));
    let _mailbox = Server::start(server("mailbox", "9061").arg("--state").arg(house.state()));
    wait_until("both are ready", 30 * SECOND, || {
        let ready = |port| house::get(SocketAddr::new(house.address, port), "/readyz");
        [9060, 9061]
            .into_iter()
            .all(|port| ready(port).is_some_and(|(status, _)| status == 200))
            .then_some(())
    });
    // A token holds for two to four minutes.
    for (seed, ahead_s) in (1..).zip([0, -180, 180, -5 * HOUR_S, 5 * HOUR_S]) {
        clock.set(ahead_s);
        let mut phone = Phone::dial(house::PBX, house.router(), Transport::Udp, "101", seed);
        phone.speak(SECOND / 5);
        phone.hang_up();
    }
}

fn ready_on_cluster(namespace: &Namespace<'_>, name: &str) -> Option<(bool, Timestamp)> {
    let object: Value = serde_json::from_str(&namespace.kubectl(&["get", name, "--output=json"])).unwrap();
    ready(&object["status"])
        .filter(|_| object["status"]["observedGeneration"] == object["metadata"]["generation"])
}

#[test]
fn an_operator_whose_clock_jumps_by_hours_finishes_its_work_and_then_writes_nothing() {
    let test = "an_operator_whose_clock_jumps_by_hours_finishes_its_work_and_then_writes_nothing";
    let (Some(cluster), Some(clock)) = (Cluster::shared(test), Clock::start(test)) else { return };
    let (namespace, audit) = (cluster.namespace(), Audit::of(cluster));
    // The API server's certificate does not hold at all of these times; how it is reached is not what jumps.
    let api = Api::start(cluster);
    let run = Run {
        resync_interval: "2s",
        api_server: api.address,
        scheme: "http",
        clock: Some(&clock),
        ..Run::default()
    };
    let mut operator = Operator::start(cluster, &namespace, run);
    let office = Applied::office(cluster, &namespace);
    office.wait_until_served(&namespace);
    cluster.within(|| office.wait_until_called(&namespace));
    let calls = Kept::answered(cluster, office.pods(&namespace, "router")[0], 1);
    let begun = Timestamp::now();
    let (mut is_good, mut since) = ready_on_cluster(&namespace, "ummb/bob").unwrap();
    for (number, ahead_s) in JUMPS_S.into_iter().enumerate() {
        clock.set(ahead_s);
        is_good = !is_good;
        let policy = if is_good { "staff" } else { "nobody-has-it" };
        let patch = json!({ "spec": { "umMailboxPolicy": policy } }).to_string();
        let _patched = namespace.kubectl(&["patch", "ummb/bob", "--type=merge", "--patch", &patch]);
        let turned = wait_until("bob has turned", 20 * SECOND, || {
            ready_on_cluster(&namespace, "ummb/bob").filter(|(now, _)| *now == is_good)
        });
        assert!(turned.1 >= since, "{} before {since}", turned.1);
        since = turned.1;
        cluster.within(|| api.make_mailbox(&namespace.name, number));
        office.wait_until_extended(&namespace, number..number + 1);
        let made = format!("ummb/user-{number}");
        let _served = namespace.kubectl(&["wait", "--for=condition=Served", &made, "--timeout=30s"]);
        audit.expect_no_write(&operator.user, 3);
    }
    assert!(since > begun + SignedDuration::from_hours(6), "the operator saw {since}");
    assert!(operator.runs(), "it kept its Lease: {}", operator.log());
    let (calls, longest) = calls.finish();
    eprintln!("{calls} calls were answered, each within {longest:?}");
    drop(operator);
    audit.expect_nothing_to_write(cluster, &namespace, 3);
}
