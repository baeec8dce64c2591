//! The keys of the redirect token on one machine, over months of virtual time and through crashes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use umbriel_operator::{Served, Standalone};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Two tokens' life and the time in which a call is repeated: `rotation.rs`.
const LIFETIME: Duration = Duration::from_secs(300);

/// The quickstart and a state folder, and a clock that a test moves.
struct House {
    root: tempfile::TempDir,
    now: SystemTime,
    standalone: Option<Standalone>,
    served: Served,
}

impl House {
    fn new() -> House {
        // 2026-11-21T08:00:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_248_000);
        House { root: tempfile::tempdir().unwrap(), now, standalone: None, served: Served::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("run").join(name)
    }

    fn standalone(&mut self) -> &mut Standalone {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        let state = self.root.path().join("run");
        let open = || Standalone::open(&examples, &state, "127.0.0.1".parse().unwrap()).unwrap();
        self.standalone.get_or_insert_with(open)
    }

    /// One step; the servers then serve what it wants. Says whether it wrote anything.
    fn step(&mut self) -> bool {
        let (now, served) = (self.now, self.served);
        let step = self.standalone().step(now, served).unwrap();
        self.served = step.wanted;
        step.changed
    }

    /// Steps until there is nothing to write.
    fn settle(&mut self) {
        assert!((0..9).any(|_| !self.step()), "it does not settle");
    }

    /// A process that comes after one that ended without a word: its servers have said nothing yet.
    fn restart(&mut self) {
        self.standalone = None;
        self.served = Served::default();
    }

    /// How far the rotation is, as the file says.
    fn phase(&self) -> String {
        let text = fs::read_to_string(self.path("token-keys.yaml")).unwrap();
        text.lines().next().unwrap().trim_start_matches("phase: ").to_owned()
    }

    /// The keys of router and mailbox server.
    fn keys(&mut self) -> [Vec<String>; 2] {
        let (router, mailbox) = self.standalone().configs().unwrap();
        [router.unwrap().token_keys, mailbox.unwrap().token_keys]
            .map(|keys| keys.into_iter().map(|key| key.id).collect())
    }
}

/// Both servers have these.
fn both(keys: &[&String]) -> [Vec<String>; 2] {
    let keys: Vec<String> = keys.iter().map(|key| (*key).clone()).collect();
    [keys.clone(), keys]
}

#[test]
fn a_key_verifies_then_signs_then_goes() {
    let mut house = House::new();
    house.settle();
    let [first, _] = house.keys();
    let first = first[0].clone();
    assert_eq!((house.keys(), house.phase()), (both(&[&first]), "Steady".into()));
    house.now += 30 * DAY - Duration::from_secs(1);
    assert!(!house.step());
    house.now += Duration::from_secs(1);
    assert!(house.step());
    let [keys, _] = house.keys();
    let second = keys[1].clone();
    assert_ne!(first, second);
    assert_eq!((house.keys(), house.phase()), (both(&[&first, &second]), "Introduced".into()));
    // However long it takes, nobody signs with it until both servers have it.
    let wanted = house.served;
    house.served = Served { router: wanted.router, mailbox: wanted.mailbox.map(|generation| generation - 1) };
    house.now += 5 * DAY;
    let (now, served) = (house.now, house.served);
    house.standalone().step(now, served).unwrap();
    assert_eq!(house.keys(), both(&[&first, &second]));
    house.served = wanted;
    assert!(house.step());
    assert_eq!((house.keys(), house.phase()), (both(&[&second, &first]), "Signing".into()));
    house.settle();
    assert_eq!((house.keys(), house.phase()), (both(&[&second, &first]), "Retiring".into()));
    house.now += LIFETIME - Duration::from_secs(1);
    assert!(!house.step());
    house.now += Duration::from_secs(1);
    house.settle();
    assert_eq!((house.keys(), house.phase()), (both(&[&second]), "Steady".into()));
    let mode = fs::metadata(house.path("token-keys.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// At each of its steps the rotation is cut: the keys are written, and then the file of the next server
/// cannot be. Whoever comes after it finishes the step, with the keys that were written.
#[test]
fn a_rotation_that_is_cut_short_is_finished_by_whoever_comes_next() {
    let mut house = House::new();
    house.settle();
    let [first, _] = house.keys();
    let mut cuts = 0;
    for (wait, phase) in [(30 * DAY, "Introduced"), (Duration::ZERO, "Signing"), (LIFETIME, "Steady")] {
        // From Signing to Retiring nothing is told to a server, so nothing can be cut.
        if phase == "Steady" {
            house.settle();
            assert_eq!(house.phase(), "Retiring");
        }
        house.now += wait;
        let obstacle = house.path("config/mailbox/mailbox.yaml.tmp");
        fs::create_dir(&obstacle).unwrap();
        let (now, served) = (house.now, house.served);
        let error = house.standalone().step(now, served).unwrap_err();
        assert!(error.to_string().contains("mailbox.yaml"), "{error}");
        assert_eq!(house.phase(), phase);
        let written = fs::read_to_string(house.path("token-keys.yaml")).unwrap();
        fs::remove_dir(&obstacle).unwrap();
        house.restart();
        assert!(house.step());
        assert_eq!(fs::read_to_string(house.path("token-keys.yaml")).unwrap(), written, "{phase}");
        let [router, mailbox] = house.keys();
        assert_eq!(router, mailbox, "{phase}");
        assert!(router.iter().all(|id| written.contains(id.as_str())), "{phase}");
        cuts += 1;
    }
    let [last, _] = house.keys();
    assert_eq!((cuts, last.len()), (3, 1));
    assert_ne!(first, last);
}

#[test]
fn a_list_of_keys_from_an_earlier_version_goes_on_and_is_rotated_in_a_month() {
    let mut house = House::new();
    let list = "- id: before\n  secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    fs::create_dir(house.root.path().join("run")).unwrap();
    fs::write(house.path("token-keys.yaml"), list).unwrap();
    house.settle();
    assert_eq!((house.keys(), house.phase()), (both(&[&"before".into()]), "Steady".into()));
    house.now += 30 * DAY;
    house.settle();
    house.now += LIFETIME;
    house.settle();
    let [keys, _] = house.keys();
    assert_eq!((keys.len(), house.phase()), (1, "Steady".into()));
    assert_ne!(keys[0], "before");
}

#[test]
fn a_clock_that_goes_back_begins_the_wait_anew_and_one_that_jumps_ahead_rotates_once() {
    let mut house = House::new();
    house.settle();
    let before = house.keys();
    house.now -= 300 * DAY;
    assert!(house.step(), "the wait begins now");
    assert!(!house.step());
    house.now += 29 * DAY;
    assert!(!house.step());
    assert_eq!(house.keys(), before);
    house.now += 4_000 * DAY;
    house.settle();
    assert_eq!((house.keys()[0].len(), house.phase()), (2, "Retiring".into()));
}
