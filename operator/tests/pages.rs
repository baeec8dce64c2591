//! The example of each page about configuration is what the program prints, and so is that of the
//! README: each is made here by the mistake that it tells of, in a copy of the quickstart.
//! `UPDATE_GOLDEN=1` writes the examples anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use config::{Area, Code};
use umbriel_operator::preview;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A copy of the quickstart.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        for file in fs::read_dir(root().join("examples/quickstart")).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, site.0.path().join(file.file_name().unwrap())).unwrap();
        }
        site
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(file), text).unwrap();
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.path().join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        self.write(file, text.replacen(from, to, 1));
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.0.path().join(file)).unwrap();
    }

    /// The first problem with this code, as `umbriel check site` prints it.
    fn example(&self, code: Code) -> String {
        let seen = preview(self.0.path(), "127.0.0.1".parse().unwrap(), SystemTime::now(), &[]);
        let found = seen.problems.iter().find(|located| located.problem.code == code);
        let found = found.unwrap_or_else(|| panic!("no {code} among {:#?}", seen.problems));
        found.to_string().replace(self.0.path().to_str().unwrap(), "site")
    }
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n---\n"
    )
}

/// Makes the mistake that has this code; false where a server finds it and not a folder.
#[allow(clippy::wildcard_enum_match_arm, reason = "codes of calls and servers are told elsewhere")]
fn mistake(site: &Site, code: Code) -> bool {
    match code {
        Code::NotYaml => site.change("dialplan.yaml", "  maxCallDuration", "\tmaxCallDuration"),
        Code::UnknownKind => site.change("mailboxes.yaml", "UMMailbox", "UMMailBox"),
        Code::UnknownField => site.change("dialplan.yaml", "recordingIdleTimeout", "recordingIdleTimout"),
        Code::MissingField => site.change("gateway.yaml", "  address: 127.0.0.1\n", ""),
        Code::WrongType => site.change("mailboxes.yaml", "\"101\"", "101"),
        Code::OutOfRange => site.change("dialplan.yaml", "Timeout: 5", "Timeout: 99"),
        Code::InvalidName => site.change("mailboxes.yaml", "name: alice", "name: Alice Archer"),
        Code::DuplicateObject => {
            let text = fs::read(site.0.path().join("mailboxes.yaml")).unwrap();
            site.write("users.yaml", text);
        }
        Code::DanglingReference => {
            site.change("huntgroup.yaml", "umDialPlan: contoso", "umDialPlan: contosso")
        }
        Code::ExtensionTaken => site.change("mailboxes.yaml", "\"102\"", "\"101\""),
        Code::ExtensionLength => site.change("mailboxes.yaml", "\"101\"", "\"1010\""),
        Code::GatewayAddressTaken => {
            site.write("sbc.yaml", object("UMIPGateway", "sbc", "address: 127.0.0.1"))
        }
        Code::PilotTaken => {
            let spec = "umIPGateway: pbx, umDialPlan: contoso, pilotIdentifier: \"500\"";
            site.write(
                "sales.yaml",
                object("UMHuntGroup", "sales", spec) + &object("UMHuntGroup", "support", spec),
            );
        }
        Code::TooManyGateways => {
            let mut text = String::new();
            for number in 1..=203 {
                let name = format!("branch-{number:03}");
                text += &object("UMIPGateway", &name, &format!("address: 192.0.2.{number}"));
                text += &object("UMHuntGroup", &name, &format!("umIPGateway: {name}, umDialPlan: contoso"));
            }
            site.write("trunks.yaml", text);
        }
        Code::SecondServer => site.write("second.yaml", object("UMService", "mailbox-2", "")),
        Code::DurationOrder => {
            site.change("dialplan.yaml", "maxRecordingDuration: 20", "maxRecordingDuration: 30")
        }
        Code::CertificateUnusable => {
            let mode = "umStartupMode: TCP";
            site.change("callrouter.yaml", mode, "umStartupMode: Dual\n  certificateSecret: router-tls");
            let secret =
                "apiVersion: v1\nkind: Secret\nmetadata: {name: router-tls}\nstringData: {tls.crt: x}\n";
            site.write("secret.yaml", secret);
        }
        Code::UnreadableSource => site.write("mailboxes.yaml", b"displayName: Ren\xe9e"),
        Code::PortConflict => {
            site.change("service.yaml", "sipTcpListeningPort: 5062", "sipTcpListeningPort: 5060")
        }
        Code::GatewayWithoutHuntGroup => site.remove("huntgroup.yaml"),
        Code::ServerMissing => site.remove("service.yaml"),
        _ => return mistake_in_a_group_or_list(site, code),
    }
    true
}

/// The same for what stands within a field.
#[allow(clippy::wildcard_enum_match_arm, reason = "codes of calls and servers are told elsewhere")]
fn mistake_in_a_group_or_list(site: &Site, code: Code) -> bool {
    match code {
        Code::StoreUnusable => {
            site.change("service.yaml", "spec:\n", "spec:\n  store: {claimName: messages}\n")
        }
        Code::AccessNumberTaken => {
            let both = "numberOfDigitsInExtension: 3, accessTelephoneNumbers: [\"+14255550500\"]";
            site.write("more.yaml", object("UMDialPlan", "east", both) + &object("UMDialPlan", "west", both));
        }
        Code::NumberTaken => {
            let both = "umDialPlan: contoso, pilotIdentifierList: [\"600\"]";
            let objects =
                object("UMAutoAttendant", "reception", both) + &object("UMAutoAttendant", "sales", both);
            site.write("attendants.yaml", objects);
        }
        Code::NumberingPlanFormat => {
            let digits = "numberOfDigitsInExtension: 3";
            site.change("dialplan.yaml", digits, &format!("{digits}\n  numberingPlanFormats: [1425555xxxx]"));
        }
        Code::AddressForm => {
            let extensions = "extensions: [\"101\"]";
            site.change(
                "mailboxes.yaml",
                extensions,
                &format!("{extensions}\n  sipResourceIdentifier: alice@contoso.example"),
            );
        }
        Code::StoreKeysUnusable => {
            let bucket = "spec:\n  store: {s3: {bucket: messages, secretName: bucket}}\n";
            site.change("service.yaml", "spec:\n", bucket);
            let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: bucket}\nstringData: {AWS_ACCESS_KEY_ID: AKIAEXAMPLE}\n";
            site.write("secret.yaml", secret);
        }
        _ => return false,
    }
    true
}

/// A page with its example, which is indented by four, replaced.
fn with_example(page: &str, example: &str) -> String {
    let mut out = String::new();
    let mut written = false;
    for line in page.lines() {
        if !line.starts_with("    ") {
            writeln!(out, "{line}").unwrap();
        } else if !written {
            example.lines().for_each(|line| writeln!(out, "    {line}").unwrap());
            written = true;
        }
    }
    assert!(written, "a page without an example:\n{page}");
    out
}

#[test]
fn the_example_of_each_page_is_what_is_printed() {
    let mut shown = 0;
    for code in Code::ALL.iter().filter(|code| code.area() == Area::Configuration) {
        let site = Site::new();
        if !mistake(&site, *code) {
            continue;
        }
        shown += 1;
        let path = root().join(format!("docs/codes/{}.md", code.id()));
        let page = fs::read_to_string(&path).unwrap();
        let right = with_example(&page, &site.example(*code));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &right).unwrap();
        } else {
            assert_eq!(page, right, "{}", path.display());
        }
    }
    assert_eq!(
        shown, 27,
        "all but UM1009, which needs a folder of before, and those of servers and clusters"
    );
}

#[test]
fn the_mistake_in_the_readme_is_what_is_printed() {
    let site = Site::new();
    site.change("dialplan.yaml", "Timeout: 5", "Timeout: 99");
    let example: String =
        site.example(Code::OutOfRange).lines().map(|line| format!("    {line}\n")).collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&example), "the README does not say\n{example}");
}
