//! A folder on a real disk: what is written, what is kept, and what is said about mistakes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use config::{Code, MailboxConfig, RouterConfig};
use umbriel_operator::{Served, Standalone, Step, preview};

/// A folder of objects and a state folder, and a clock that a test moves.
struct House {
    root: tempfile::TempDir,
    now: SystemTime,
    standalone: Option<Standalone>,
}

const NOBODY: Served = Served { router: None, mailbox: None };

impl House {
    fn empty() -> House {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("objects")).unwrap();
        // 2026-11-21T08:00:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_248_000);
        House { root, now, standalone: None }
    }

    /// The quickstart.
    fn quickstart() -> House {
        let house = House::empty();
        for file in fs::read_dir(quickstart_dir()).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, house.dir().join(file.file_name().unwrap())).unwrap();
        }
        house
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("objects")
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("run")
    }

    fn edit(&self, file: &str, text: &str) {
        fs::write(self.dir().join(file), text).unwrap();
    }

    /// Replaces `from` by `to` in a file.
    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.dir().join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        self.edit(file, &text.replace(from, to));
    }

    fn restart(&mut self) {
        self.standalone = None;
    }

    fn step_serving(&mut self, served: Served) -> Step {
        self.now += Duration::from_secs(1);
        let (dir, state) = (self.dir(), self.state());
        let open = || Standalone::open(&dir, &state, "127.0.0.1".parse().unwrap()).unwrap();
        self.standalone.get_or_insert_with(open).step(self.now, served).unwrap()
    }

    fn step(&mut self) -> Step {
        self.step_serving(NOBODY)
    }

    fn router(&self) -> RouterConfig {
        self.standalone.as_ref().unwrap().configs().unwrap().0.unwrap()
    }

    fn mailbox(&self) -> MailboxConfig {
        self.standalone.as_ref().unwrap().configs().unwrap().1.unwrap()
    }

    /// Every file of the state folder.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
        let mut files = BTreeMap::new();
        let folders = ["", "config", "config/router", "config/mailbox"];
        for folder in folders.map(|folder| self.state().join(folder)) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    let name = path.strip_prefix(self.state()).unwrap().to_owned();
                    files.insert(name, (fs::read(&path).unwrap(), mode));
                }
            }
        }
        files
    }

    /// What a step says, with the folder's name left out.
    fn said(&self, step: &Step) -> Vec<String> {
        let folder = format!("{}/", self.dir().display());
        step.problems.iter().map(|located| located.to_string().replace(&folder, "")).collect()
    }
}

fn quickstart_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart")
}

fn codes(step: &Step) -> Vec<Code> {
    step.problems.iter().map(|located| located.problem.code).collect()
}

#[test]
fn the_quickstart_becomes_two_documents_without_a_problem() {
    let mut house = House::quickstart();
    let step = house.step();
    assert_eq!(house.said(&step), Vec::<String>::new());
    assert_eq!(step.wanted, Served { router: Some(1), mailbox: Some(1) });
    let router = house.router();
    assert_eq!(router.server.listeners.udp, Some(5060));
    assert_eq!(router.directory.gateways[0].addresses[0].to_string(), "127.0.0.1");
    let extensions: Vec<&str> =
        router.directory.mailboxes.iter().map(|mailbox| mailbox.extensions[0].as_str()).collect();
    assert_eq!(extensions, ["101", "102"]);
    let mailbox = house.mailbox();
    assert_eq!(mailbox.server.listeners.tcp, Some(5062));
    assert_eq!(mailbox.owners["alice"].display_name.as_deref(), Some("Alice Archer"));
    assert_eq!(mailbox.owners["bob"].primary_smtp_address, "bob@contoso.example");
    assert_eq!(mailbox.token_keys, router.token_keys);
}

#[test]
fn only_the_owner_can_read_what_is_written() {
    let mut house = House::quickstart();
    house.step();
    let files = house.files();
    let names: Vec<&str> = files.keys().map(|name| name.to_str().unwrap()).collect();
    let parts = "database-01.json.gz database-10.json.gz INDEX site.json.gz token-keys.yaml";
    let of = |server: &str| parts.replace("INDEX", &format!("{server}.yaml"));
    let parts = |server| of(server).split(' ').map(|file| format!("config/{server}/{file}")).collect();
    let expected: [Vec<String>; 2] = ["mailbox", "router"].map(parts);
    assert_eq!(names[..10], expected.concat());
    assert_eq!(names[10..], ["objects.json", "status.yaml", "token-keys.yaml"]);
    assert!(files.values().all(|(_, mode)| *mode == 0o600));
}

#[test]
fn a_step_with_nothing_new_writes_nothing_also_after_a_restart() {
    let mut house = House::quickstart();
    assert!(house.step().changed);
    let before = house.files();
    assert!(!house.step().changed);
    house.restart();
    assert!(!house.step().changed);
    assert_eq!(house.files(), before);
}

#[test]
fn the_generation_grows_by_one_with_each_change_of_content_and_never_begins_again() {
    let mut house = House::quickstart();
    house.step();
    house.change("mailboxes.yaml", "\"102\"", "\"103\"");
    assert_eq!(house.step().wanted, Served { router: Some(2), mailbox: Some(2) });
    house.change("mailboxes.yaml", "Bob Baker", "Robert Baker");
    assert_eq!(house.step().wanted, Served { router: Some(3), mailbox: Some(3) }, "a part of both");
    house.restart();
    house.change("dialplan.yaml", "recordingIdleTimeout: 5", "recordingIdleTimeout: 7");
    assert_eq!(house.step().wanted, Served { router: Some(4), mailbox: Some(4) });
    // A comment is no content.
    house.change("dialplan.yaml", "# Minutes.", "# In minutes.");
    assert!(!house.step().changed);
}

#[test]
fn the_token_key_is_made_once() {
    let mut house = House::quickstart();
    house.step();
    let keys = house.router().token_keys;
    assert_eq!(keys.len(), 1);
    house.restart();
    house.change("mailboxes.yaml", "\"102\"", "\"103\"");
    house.step();
    assert_eq!(house.router().token_keys, keys);
}

#[test]
fn the_state_folder_is_closed_to_others() {
    let mut house = House::quickstart();
    fs::create_dir_all(house.state()).unwrap();
    fs::set_permissions(house.state(), fs::Permissions::from_mode(0o777)).unwrap();
    house.step();
    for folder in [house.state(), house.state().join("config")] {
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7, 0, "{}", folder.display());
    }
}

#[test]
fn a_token_key_that_cannot_be_used_is_not_replaced() {
    let house = House::quickstart();
    fs::create_dir_all(house.state()).unwrap();
    fs::write(house.state().join("token-keys.yaml"), "- id: a\n  secret: short\n").unwrap();
    let error = Standalone::open(&house.dir(), &house.state(), "127.0.0.1".parse().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("use token keys of "), "{error}");
}

#[test]
fn a_value_out_of_range_names_file_line_field_value_rule_and_fix_and_the_last_good_one_stays() {
    let mut house = House::quickstart();
    house.step();
    house.change("dialplan.yaml", "recordingIdleTimeout: 5", "recordingIdleTimeout: 99");
    let step = house.step();
    assert_eq!(
        house.said(&step),
        ["dialplan.yaml:16: UM1006 OutOfRange: UMDialPlan default/contoso\n\
          \x20 field  spec.recordingIdleTimeout\n\
          \x20 value  99\n\
          \x20 rule   2 to 10 seconds\n\
          \x20 fix    write a whole number of seconds from 2 to 10, such as 5"]
    );
    assert_eq!(step.wanted, Served { router: Some(1), mailbox: Some(1) });
    house.restart();
    assert_eq!(house.step().wanted, Served { router: Some(1), mailbox: Some(1) });
    assert_eq!(house.mailbox().calls["contoso"].recording_idle_timeout_s, 5);
    house.change("dialplan.yaml", "recordingIdleTimeout: 99", "recordingIdleTimeout: 9");
    assert_eq!(codes(&house.step()), []);
    assert_eq!(house.mailbox().calls["contoso"].recording_idle_timeout_s, 9);
}

#[test]
fn a_file_that_is_not_yaml_keeps_what_it_said_and_everything_else_goes_on() {
    let mut house = House::quickstart();
    house.step();
    house.edit("gateway.yaml", "kind: [UMIPGateway\nspec: }\n");
    house.change("mailboxes.yaml", "\"102\"", "\"103\"");
    let step = house.step();
    assert_eq!(codes(&step), [Code::NotYaml]);
    assert!(house.said(&step)[0].starts_with("gateway.yaml:2: UM1001 NotYaml\n"), "{:?}", house.said(&step));
    let directory = house.router().directory;
    assert_eq!(directory.gateways.len(), 1);
    assert_eq!(directory.mailboxes[1].extensions, ["103"]);
    house.restart();
    assert!(!house.step().changed, "a restart does not forget the gateway");
}

#[test]
fn a_file_that_cannot_be_read_is_not_an_empty_file() {
    let mut house = House::quickstart();
    house.step();
    let gateway = house.dir().join("gateway.yaml");
    fs::remove_file(&gateway).unwrap();
    // A link to itself cannot be read by anyone, not even by root.
    std::os::unix::fs::symlink(&gateway, &gateway).unwrap();
    let step = house.step();
    assert_eq!(codes(&step), [Code::UnreadableSource]);
    assert_eq!(step.problems[0].line, 0);
    assert_eq!(house.router().directory.gateways.len(), 1);
    assert_eq!(house.router().generation, 1);
}

#[test]
fn a_folder_that_cannot_be_read_is_not_an_empty_folder() {
    let mut house = House::quickstart();
    house.step();
    fs::rename(house.dir(), house.root.path().join("elsewhere")).unwrap();
    let step = house.step();
    assert_eq!(codes(&step), [Code::UnreadableSource]);
    assert_eq!(house.router().directory.mailboxes.len(), 2);
    house.restart();
    house.step();
    assert_eq!(house.router().generation, 1);
}

#[test]
fn what_is_gone_from_a_readable_folder_is_gone() {
    let mut house = House::quickstart();
    house.step();
    let text = fs::read_to_string(house.dir().join("mailboxes.yaml")).unwrap();
    house.edit("mailboxes.yaml", text.split("---\n").next().unwrap());
    assert_eq!(codes(&house.step()), []);
    assert_eq!(house.router().directory.mailboxes.len(), 1);
    assert!(!fs::read_to_string(house.state().join("status.yaml")).unwrap().contains("name: bob"));
    fs::remove_file(house.dir().join("gateway.yaml")).unwrap();
    let step = house.step();
    assert_eq!(codes(&step), [Code::DanglingReference]);
    assert_eq!(house.router().directory.gateways, []);
}

#[test]
fn a_file_that_is_not_text_is_reported_and_so_is_a_huge_one() {
    let mut house = House::quickstart();
    house.step();
    fs::write(house.dir().join("a.yaml"), [0xFF, 0xFE, 0x00]).unwrap();
    fs::File::create(house.dir().join("b.yml")).unwrap().set_len(17 * 1024 * 1024).unwrap();
    let step = house.step();
    assert_eq!(codes(&step), [Code::UnreadableSource, Code::UnreadableSource]);
    let values: Vec<&str> = step.problems.iter().map(|located| located.problem.value.as_str()).collect();
    assert_eq!(values, ["not UTF-8 text", "larger than 16 MiB"]);
}

#[test]
fn other_files_of_the_folder_do_not_count() {
    let mut house = House::quickstart();
    house.edit("README.md", "not: [yaml");
    house.edit(".mailboxes.yaml", "not: [yaml");
    house.edit("mailboxes.yaml~", "not: [yaml");
    fs::create_dir(house.dir().join("folder.yaml")).unwrap();
    assert_eq!(codes(&house.step()), []);
}

#[test]
fn the_second_document_of_one_object_is_reported_with_the_place_of_the_first() {
    let mut house = House::quickstart();
    let text = fs::read_to_string(house.dir().join("gateway.yaml")).unwrap();
    house.edit("zz.yaml", &text.replace("127.0.0.1", "192.0.2.1"));
    let step = house.step();
    assert_eq!(codes(&step), [Code::DuplicateObject]);
    assert!(house.said(&step)[0].contains("gateway.yaml:6 has it already"), "{:?}", house.said(&step));
    assert_eq!(house.router().directory.gateways[0].addresses[0].to_string(), "127.0.0.1");
}

#[test]
fn a_problem_between_objects_is_found_at_the_line_of_its_field() {
    let mut house = House::quickstart();
    house.change("mailboxes.yaml", "[\"102\"]", "\n    - \"101\"\n    - \"1022\"");
    let step = house.step();
    let places: Vec<(Code, usize)> =
        step.problems.iter().map(|located| (located.problem.code, located.line)).collect();
    assert_eq!(places, [(Code::ExtensionTaken, 22), (Code::ExtensionLength, 23)]);
}

#[test]
fn an_edit_within_one_tick_of_the_file_system_is_seen() {
    let mut house = House::quickstart();
    house.now = SystemTime::now();
    house.step();
    for extension in ["103", "104", "105", "106"] {
        let text = fs::read_to_string(house.dir().join("mailboxes.yaml")).unwrap();
        let (before, _) = text.rsplit_once("extensions: [\"").unwrap();
        house.edit(
            "mailboxes.yaml",
            &format!("{before}extensions: [\"{extension}\"]\n  primarySmtpAddress: b@c.d\n"),
        );
        house.step();
        assert_eq!(house.router().directory.mailboxes[1].extensions, [extension]);
    }
}

#[test]
fn served_is_said_once_both_servers_serve_it_and_stays_while_others_change() {
    let mut house = House::quickstart();
    let step = house.step();
    let served = |house: &House| {
        let text = fs::read_to_string(house.state().join("status.yaml")).unwrap();
        text.matches("reason: Serving").count()
    };
    assert!(!step.is_served(NOBODY));
    assert_eq!(served(&house), 0);
    house.step_serving(Served { router: Some(1), mailbox: None });
    assert_eq!(served(&house), 1, "only the router itself needs nobody else");
    let both = Served { router: Some(1), mailbox: Some(1) };
    assert!(house.step_serving(both).is_served(both));
    assert_eq!(served(&house), 8);
    assert!(!house.step_serving(both).changed);
    house.change("mailboxes.yaml", "\"102\"", "\"103\"");
    house.step_serving(both);
    assert_eq!(served(&house), 7, "only bob waits");
    house.step_serving(Served { router: Some(2), mailbox: Some(2) });
    assert_eq!(served(&house), 8);
}

#[test]
fn a_state_file_that_makes_no_sense_is_written_anew() {
    let mut house = House::quickstart();
    house.step();
    house.restart();
    for file in ["config/router/router.yaml", "status.yaml", "objects.json"] {
        fs::write(house.state().join(file), "]").unwrap();
    }
    assert!(house.step().changed);
    assert_eq!(house.router().directory.mailboxes.len(), 2);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_an_error_and_the_next_step_goes_on() {
    let mut house = House::quickstart();
    house.step();
    let status = house.state().join("config");
    fs::rename(&status, house.state().join("away")).unwrap();
    house.change("mailboxes.yaml", "\"102\"", "\"103\"");
    house.now += Duration::from_secs(1);
    let error = house.standalone.as_mut().unwrap().step(house.now, NOBODY).unwrap_err();
    assert!(error.to_string().starts_with("write "), "{error}");
    fs::rename(house.state().join("away"), &status).unwrap();
    assert_eq!(house.step().wanted, Served { router: Some(2), mailbox: Some(2) });
    assert_eq!(house.router().directory.mailboxes[1].extensions, ["103"]);
}

#[test]
fn a_preview_writes_nothing() {
    let house = House::quickstart();
    let preview = preview(&house.dir(), "127.0.0.1".parse().unwrap(), house.now, &[]);
    assert_eq!(preview.problems, []);
    assert_eq!(preview.router.unwrap().directory.mailboxes.len(), 2);
    assert_eq!(preview.mailbox.unwrap().max_calls_allowed, 100);
    assert!(!house.state().exists());
}

/// What waits for what, by name.
fn waiting(step: &Step) -> Vec<(String, String)> {
    let problems = step.problems.iter().map(|located| &located.problem);
    let waiting =
        problems.filter_map(|problem| Some((problem.object.as_ref()?, problem.waits_for.as_ref()?)));
    waiting.map(|(object, cause)| (object.key.name.clone(), cause.to_string())).collect()
}

#[test]
fn nobody_is_told_to_add_a_dial_plan_that_is_there_and_broken() {
    for (from, to, code) in [
        ("Timeout: 5", "Timeout: 99", Code::OutOfRange),
        ("  maxCall", "\tmaxCall", Code::NotYaml),
        ("kind: UMDialPlan", "kind: UMDialplan", Code::UnknownKind),
        ("v1alpha1", "v1", Code::UnknownKind),
    ] {
        let mut house = House::quickstart();
        house.change("dialplan.yaml", from, to);
        let step = house.step();
        let causes: Vec<Code> = step
            .problems
            .iter()
            .filter(|located| located.problem.waits_for.is_none())
            .map(|located| located.problem.code)
            .collect();
        assert_eq!(causes, [code], "{to}");
        let plan = "UMDialPlan default/contoso";
        let policy = "UMMailboxPolicy default/contoso-default";
        assert_eq!(
            waiting(&step),
            [
                ("pbx", "UMHuntGroup default/pbx-default"),
                ("pbx-default", plan),
                ("alice", policy),
                ("bob", policy),
                ("contoso-default", plan),
            ]
            .map(|(object, cause)| (object.to_owned(), cause.to_owned())),
            "{to}"
        );
    }
}

#[test]
fn what_cannot_be_read_may_hold_what_is_missing() {
    let mut house = House::quickstart();
    fs::write(house.dir().join("dialplan.yaml"), b"\xff\xfe").unwrap();
    let step = house.step();
    let said = house.said(&step);
    assert!(said[0].contains("UM1019") && said[0].contains("fix    save the file as UTF-8"), "{}", said[0]);
    let fix = "fix    repair what cannot be read first: the UMDialPlan default/contoso may stand in it";
    assert_eq!(said.iter().filter(|text| text.contains(fix)).count(), 2, "{said:#?}");
}

#[test]
fn a_file_that_an_editor_has_just_emptied_is_still_what_it_was() {
    let mut house = House::quickstart();
    house.step();
    let last_modified = |path: &Path, at: SystemTime| fs::File::open(path).unwrap().set_modified(at).unwrap();
    let just_before_the_next_step = house.now + Duration::from_millis(950);
    house.edit("mailboxes.yaml", "");
    last_modified(&house.dir().join("mailboxes.yaml"), just_before_the_next_step);
    house.step();
    assert_eq!(house.router().directory.mailboxes.len(), 2);
    house.step();
    assert_eq!(house.router().directory.mailboxes.len(), 0, "it rests, so it is meant");

    let just_before_the_next_step = house.now + Duration::from_millis(950);
    fs::remove_file(house.dir().join("gateway.yaml")).unwrap();
    last_modified(&house.dir(), just_before_the_next_step);
    house.step();
    assert_eq!(house.router().directory.gateways.len(), 1);
    house.step();
    assert_eq!(house.router().directory.gateways.len(), 0, "nothing took its place");
}

#[test]
fn a_folder_without_an_object_is_not_said_to_be_right() {
    let mut house = House::empty();
    house.edit("notes.yaml", "# nothing yet\n");
    let step = house.step();
    assert_eq!(codes(&step), [Code::ServerMissing]);
    assert_eq!(step.problems[0].file, house.dir());
    let seen = preview(&house.dir(), "127.0.0.1".parse().unwrap(), house.now, &[]);
    assert_eq!(seen.problems, step.problems);
}
