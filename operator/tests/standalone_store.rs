//! A folder whose mailbox server stores in a bucket: which keys reach it, and what is said of others.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use config::{MailboxConfig, Store};
use umbriel_operator::{Located, Served, Standalone};

/// A folder of objects and a state folder, and a clock that a test moves.
struct House {
    root: tempfile::TempDir,
    now: SystemTime,
    standalone: Option<Standalone>,
}

impl House {
    /// The quickstart, with a bucket.
    fn with_bucket() -> House {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("objects")).unwrap();
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        for file in fs::read_dir(quickstart).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, root.path().join("objects").join(file.file_name().unwrap())).unwrap();
        }
        // 2026-11-21T08:00:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_248_000);
        let house = House { root, now, standalone: None };
        let service = fs::read_to_string(house.file("service.yaml")).unwrap();
        assert_eq!(service.matches("\nspec:\n").count(), 1);
        let store = "\nspec:\n  store: {s3: {bucket: messages, endpoint: 'http://127.0.0.1:9000', secretName: keys}}\n";
        house.edit("service.yaml", &service.replace("\nspec:\n", store));
        house
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("objects").join(name)
    }

    fn edit(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// The Secret with this key.
    fn write_key(&self, secret: &str) {
        self.edit(
            "keys.yaml",
            &format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData:\n  \
                 AWS_ACCESS_KEY_ID: AKIAEXAMPLE\n  AWS_SECRET_ACCESS_KEY: \"{secret}\"\n"
            ),
        );
    }

    /// What is wrong now.
    fn step(&mut self) -> Vec<String> {
        self.now += Duration::from_secs(1);
        let (dir, state) = (self.root.path().join("objects"), self.root.path().join("run"));
        let open = || Standalone::open(&dir, &state, "127.0.0.1".parse().unwrap()).unwrap();
        let standalone = self.standalone.get_or_insert_with(open);
        let step = standalone.step(self.now, Served::default()).unwrap();
        let said = |Located { problem, .. }: Located| {
            format!("{} {}: {}; {}", problem.code.id(), problem.field, problem.rule, problem.fix)
        };
        step.problems.into_iter().map(said).collect()
    }

    fn restart(&mut self) {
        self.standalone = None;
    }

    fn mailbox(&self) -> MailboxConfig {
        self.standalone.as_ref().unwrap().configs().unwrap().1.unwrap()
    }

    /// The keys that the server has.
    fn keys(&self) -> (String, String) {
        let Store::S3(s3) = self.mailbox().store else { panic!("no bucket") };
        assert_eq!((s3.bucket.as_str(), s3.endpoint.as_deref()), ("messages", Some("http://127.0.0.1:9000")));
        (s3.keys.access_key_id, s3.keys.secret_access_key)
    }
}

fn key(secret: &str) -> (String, String) {
    ("AKIAEXAMPLE".to_owned(), secret.to_owned())
}

#[test]
fn the_keys_in_a_secret_of_the_folder_reach_the_server_and_so_do_others_later() {
    let mut house = House::with_bucket();
    house.write_key("first");
    assert_eq!(house.step(), <[String; 0]>::default());
    assert_eq!(house.keys(), key("first"));
    let file = house.root.path().join("run/config/mailbox/store-secret-access-key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = house.mailbox().generation;
    house.write_key("second");
    assert_eq!(house.step(), <[String; 0]>::default());
    assert_eq!((house.keys(), house.mailbox().generation), (key("second"), before + 1));
    house.restart();
    assert_eq!(house.step(), <[String; 0]>::default());
    assert_eq!((house.keys(), house.mailbox().generation), (key("second"), before + 1));
}

#[test]
fn keys_that_are_missing_or_broken_are_told_and_the_last_good_ones_go_on() {
    let mut house = House::with_bucket();
    let missing = "UM1010 spec.store.s3.secretName: the name of a Secret in namespace default; add the Secret \
                   default/keys, or name one that exists";
    assert_eq!(house.step(), [missing]);
    house.write_key("first");
    assert_eq!(house.step(), <[String; 0]>::default());
    house.write_key("");
    let said = house.step();
    assert!(said[0].starts_with("UM1030 spec.store.s3.secretName: a Secret with"), "{said:?}");
    assert!(said[0].contains("its AWS_SECRET_ACCESS_KEY is empty"), "{said:?}");
    assert_eq!(house.keys(), key("first"));
    fs::remove_file(house.file("keys.yaml")).unwrap();
    assert_eq!(house.step(), [missing]);
    assert_eq!(house.keys(), key("first"));
}
