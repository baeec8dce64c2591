//! A folder as a server reads it: whole or not at all, and each part once.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use umbriel_config::parts::{
    DatabasePart, Files, Lack, MAILBOX_FILE, Part, ReadError, Reader, SITE_FILE, SitePart, database_file,
    digest, is_own,
};
use umbriel_config::{
    CallSettings, Certificate, ConfigError, Delivery, Directory, Gateway, GatewayStatus, HuntGroup, Language,
    Listeners, Mailbox, MailboxConfig, MailboxPolicy, Owner, RouterConfig, S3, S3Keys, ServerIdentity,
    ServerStatus, StartupMode, Store, TokenKey, UnknownPeers, database_of,
};

const SECRET: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn owner(name: &str) -> Owner {
    Owner {
        display_name: Some(name.to_owned()),
        primary_smtp_address: format!("{name}@contoso.example"),
        mailbox_policy: "staff".into(),
        refuses_anonymous_callers: false,
    }
}

/// A mailbox server with a mailbox of each of these names.
fn mailbox(generation: u64, names: &[String]) -> MailboxConfig {
    let certificate = Certificate {
        chain: "a chain\n".into(),
        key: "a key\n".into(),
        authorities: Some("authorities\n".into()),
    };
    let mut names = names.to_vec();
    names.sort_by_key(|name| (database_of(name), name.clone()));
    names.dedup();
    let mailbox = |name: &String| Mailbox {
        name: name.clone(),
        dial_plan: "contoso".into(),
        addresses: Vec::new(),
        extensions: vec![format!("1{}", name.len())],
    };
    let call_settings = CallSettings {
        language: Language::DeDe,
        max_call_duration_s: 1800,
        max_recording_duration_s: 1200,
        recording_idle_timeout_s: 5,
        numbering_plan_formats: Vec::new(),
        equivalent_dial_plans: Vec::new(),
    };
    let keys = S3Keys {
        access_key_id: "AKIAEXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI".into(),
        authorities: None,
    };
    MailboxConfig {
        schema_version: 1,
        generation,
        server: ServerIdentity {
            name: "mailbox".into(),
            status: ServerStatus::Enabled,
            startup_mode: StartupMode::Dual,
            listeners: Listeners { udp: Some(5062), tcp: None, tls: Some(5063) },
            certificate: Some(certificate),
        },
        first_media_port: Some(5070),
        max_calls_allowed: 100,
        token_keys: vec![TokenKey { id: "k1".into(), secret: SECRET.into() }],
        directory: Directory {
            mailboxes: names.iter().map(mailbox).collect(),
            hosts: vec!["mailbox".into(); 32],
            ..Directory::default()
        },
        calls: [("contoso".to_owned(), call_settings)].into(),
        policies: [("staff".to_owned(), MailboxPolicy { voice_mail_text: Some("Private.".into()) })].into(),
        owners: names.iter().map(|name| (name.clone(), owner(name))).collect(),
        delivery: Delivery { smtp: None },
        store: Store::S3(S3 { bucket: "voice".into(), endpoint: None, region: "eu-central-1".into(), keys }),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn router(config: &MailboxConfig) -> RouterConfig {
    RouterConfig {
        schema_version: config.schema_version,
        generation: config.generation,
        server: config.server.clone(),
        unknown_peers: UnknownPeers::Ignore,
        token_keys: config.token_keys.clone(),
        directory: config.directory.clone(),
    }
}

fn reader() -> Reader {
    Reader::new(|certificate| if certificate.key.contains("key") { Ok(()) } else { Err("no key".into()) })
}

fn read(reader: &mut Reader, files: &Files) -> Result<(u64, Vec<String>, Option<Certificate>), ReadError> {
    let index = String::from_utf8(files[MAILBOX_FILE].clone()).unwrap();
    let reading = reader.mailbox(&index, &|file| files.get(file).cloned())?;
    let awaits = reading.awaits.iter().map(ToString::to_string).collect();
    Ok((reading.config.generation, awaits, reading.config.server.certificate))
}

#[test]
fn a_part_of_several_documents_says_what_all_of_them_say_and_what_is_cut_off_is_an_error() {
    let document = |name: &str| {
        let one = mailbox(1, &names(&[name]));
        DatabasePart { mailboxes: one.directory.mailboxes, owners: one.owners }
    };
    let (alice, bob) = (document("alice"), document("bob"));
    let part = Part::of(&[alice.to_piece().unwrap(), bob.to_piece().unwrap()]);
    assert_eq!(part.digest, digest(&part.bytes));
    let whole = DatabasePart::from_bytes("database-01.json.gz", &part.bytes).unwrap();
    assert_eq!(whole.mailboxes, [alice.mailboxes, bob.mailboxes].concat());
    assert_eq!(whole.owners.keys().collect::<Vec<_>>(), ["alice", "bob"]);
    let cut = &part.bytes[..part.bytes.len() - 1];
    assert!(matches!(DatabasePart::from_bytes("x", cut), Err(ConfigError::Part { .. })));
}

#[test]
fn a_site_of_several_documents_says_what_all_of_them_say_by_name() {
    let document = |gateway: &str, plan: &str, host: &[&str]| {
        let hunt_group = HuntGroup {
            name: format!("to-{plan}"),
            gateway: gateway.into(),
            pilot: None,
            dial_plan: plan.into(),
        };
        let gateway = Gateway {
            name: gateway.into(),
            addresses: Vec::new(),
            fqdn: None,
            status: GatewayStatus::Enabled,
        };
        let directory = Directory {
            gateways: vec![gateway],
            hunt_groups: vec![hunt_group],
            hosts: names(host),
            ..Directory::default()
        };
        let policy = MailboxPolicy { voice_mail_text: Some(plan.into()) };
        SitePart { directory, calls: BTreeMap::new(), policies: BTreeMap::from([(plan.into(), policy)]) }
    };
    let (west, east) = (document("west", "contoso", &["main"]), document("east", "fabrikam", &[]));
    let part = Part::of(&[west.to_piece().unwrap(), east.to_piece().unwrap()]);
    let whole = SitePart::from_bytes(&part.bytes).unwrap();
    let gateways: Vec<&str> = whole.directory.gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    assert_eq!(gateways, ["east", "west"]);
    let groups: Vec<&str> = whole.directory.hunt_groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["to-contoso", "to-fabrikam"]);
    assert_eq!((whole.directory.hosts, whole.policies.len()), (names(&["main"]), 2));
    let cut = &part.bytes[..part.bytes.len() - 1];
    assert!(matches!(SitePart::from_bytes(cut), Err(ConfigError::Part { .. })));
    let nothing = Part::of(&[]);
    assert!(matches!(SitePart::from_bytes(&nothing.bytes), Err(ConfigError::Part { .. })));
}

#[test]
fn a_folder_has_an_index_the_site_the_databases_and_the_servers_own_files() {
    // Alice is in database 1, and Bob in 10.
    let files = mailbox(7, &names(&["alice", "bob"])).to_files().unwrap();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        [
            "ca.crt",
            "database-01.json.gz",
            "database-10.json.gz",
            "mailbox.yaml",
            "site.json.gz",
            "store-access-key-id",
            "store-secret-access-key",
            "tls.crt",
            "tls.key",
            "token-keys.yaml"
        ]
    );
    let index = String::from_utf8(files[MAILBOX_FILE].clone()).unwrap();
    for secret in [SECRET, "a key", "wJalrXUtnFEMI", "AKIAEXAMPLE"] {
        assert!(!index.contains(secret), "the index is nobody's secret: {index}");
    }
    assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
    assert!(index.contains(&format!("  site.json.gz: {}\n", digest(&files[SITE_FILE]))));
}

#[test]
fn a_folder_is_read_whole_or_not_at_all() {
    let before = mailbox(7, &names(&["alice", "bob"])).to_files().unwrap();
    let after = mailbox(8, &names(&["alice", "bob", "carol"])).to_files().unwrap();
    let mut reader = reader();
    assert_eq!(read(&mut reader, &before).unwrap().0, 7);
    // Carol is in database 2: every order in which the files could arrive.
    let mut files = before.clone();
    files.insert(MAILBOX_FILE.into(), after[MAILBOX_FILE].clone());
    let error = read(&mut reader, &files).unwrap_err();
    assert_eq!(error.to_string(), "database-02.json.gz is missing");
    files.insert(database_file(2), before[&database_file(1)].clone());
    let error = read(&mut reader, &files).unwrap_err();
    assert_eq!(error.to_string(), "database-02.json.gz is not the one that the index names");
    files.insert(database_file(2), after[&database_file(2)].clone());
    assert_eq!(read(&mut reader, &files).unwrap().0, 8);
    assert_eq!(MailboxConfig::from_files(&files), Ok(mailbox(8, &names(&["alice", "bob", "carol"]))));
}

#[test]
fn a_part_that_has_not_changed_is_not_read_again() {
    let mut reader = reader();
    read(&mut reader, &mailbox(7, &names(&["alice", "bob"])).to_files().unwrap()).unwrap();
    let files = mailbox(8, &names(&["alice", "bob", "carol"])).to_files().unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let index = String::from_utf8(files[MAILBOX_FILE].clone()).unwrap();
    let folder = |file: &str| {
        asked.borrow_mut().push(file.to_owned());
        files.get(file).cloned()
    };
    reader.mailbox(&index, &folder).unwrap();
    asked.borrow_mut().retain(|file| !is_own(file));
    assert_eq!(*asked.borrow(), ["database-02.json.gz"]);
}

#[test]
fn a_certificate_that_is_not_the_one_named_keeps_nothing_back() {
    let (first, mut second) = (mailbox(7, &[]), mailbox(8, &[]));
    second.server.certificate = Some(Certificate {
        chain: "another".into(),
        key: "another key".into(),
        authorities: Some("authorities\n".into()),
    });
    let mut reader = reader();
    let mut files = second.to_files().unwrap();
    files.insert("tls.crt".into(), b"a chain\n".to_vec());
    files.insert("tls.key".into(), b"a key\n".to_vec());
    // A server that has just started takes what lies there.
    let lack = names(&["tls.crt is not the one that the index names"]);
    assert_eq!(read(&mut reader, &files).unwrap(), (8, lack, first.server.certificate));
    let whole = second.to_files().unwrap();
    assert_eq!(read(&mut reader, &whole).unwrap(), (8, vec![], second.server.certificate.clone()));
    // One that has another keeps it, whatever lies there.
    let lack = names(&["tls.key is missing"]);
    let mut files = whole.clone();
    files.remove("tls.key");
    assert_eq!(read(&mut reader, &files).unwrap(), (8, lack, second.server.certificate));
    // Of no use at all, there is none.
    files.insert("tls.key".into(), b"what".to_vec());
    let lack = names(&["tls.key is not the one that the index names"]);
    assert_eq!(read(&mut self::reader(), &files).unwrap(), (8, lack, None));
}

#[test]
fn a_folder_that_is_whole_and_makes_no_sense_is_named() {
    let unusable = |change: &dyn Fn(&mut Files)| {
        let mut files = mailbox(7, &names(&["alice"])).to_files().unwrap();
        change(&mut files);
        let index = String::from_utf8(files[MAILBOX_FILE].clone()).unwrap();
        let mut index = umbriel_config::parts::MailboxIndex::from_yaml(&index).unwrap();
        index.parts.retain(|file, _| files.contains_key(file));
        let parts = files.iter().filter(|(file, _)| *file != MAILBOX_FILE);
        index.parts = parts.map(|(file, bytes)| (file.clone(), digest(bytes))).collect();
        files.insert(MAILBOX_FILE.into(), index.to_yaml().unwrap().into_bytes());
        match MailboxConfig::from_files(&files).unwrap_err() {
            ReadError::Unusable(error) => error,
            ReadError::NotYet(awaited) => panic!("{awaited:?}"),
        }
    };
    let without = unusable(&|files| drop(files.remove(SITE_FILE)));
    assert_eq!(without, ConfigError::Unnamed(SITE_FILE));
    let unknown = unusable(&|files| drop(files.insert("else.txt".into(), Vec::new())));
    assert_eq!(unknown, ConfigError::UnknownPart("else.txt".into()));
    let no_gzip = unusable(&|files| drop(files.insert(database_file(1), b"{}".to_vec())));
    assert!(no_gzip.to_string().starts_with("database-01.json.gz cannot be read: "), "{no_gzip}");
    let other = unusable(&|files| drop(files.insert(database_file(1), files[SITE_FILE].clone())));
    assert!(other.to_string().contains("not of this shape at line 1, column "), "{other}");
    let no_keys = unusable(&|files| drop(files.insert("token-keys.yaml".into(), b"[]".to_vec())));
    assert_eq!(no_keys.to_string(), "there is no token key");
}

#[test]
fn what_is_missing_can_be_told_from_what_differs() {
    let mut files = mailbox(7, &names(&["alice"])).to_files().unwrap();
    files.remove(SITE_FILE);
    files.insert(database_file(1), Vec::new());
    let Err(ReadError::NotYet(awaited)) = MailboxConfig::from_files(&files) else { panic!() };
    let lacks: Vec<_> = awaited.iter().map(|awaited| (awaited.file.as_str(), &awaited.lack)).collect();
    assert_eq!(lacks, [("database-01.json.gz", &Lack::Differs), ("site.json.gz", &Lack::Missing)]);
}

proptest! {
    #[test]
    fn a_folder_says_what_it_was_written_from(users in proptest::collection::vec(".{1,12}", 0..40)) {
        let config = mailbox(7, &users);
        let files = config.to_files().unwrap();
        prop_assert_eq!(&config.to_files().unwrap(), &files, "the same content, the same bytes");
        let router = router(&config);
        prop_assert_eq!(RouterConfig::from_files(&router.to_files().unwrap()), Ok(router));
        prop_assert_eq!(MailboxConfig::from_files(&files), Ok(config));
    }

    #[test]
    fn no_bytes_of_a_part_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut files = mailbox(7, &names(&["alice"])).to_files().unwrap();
        let index = String::from_utf8(files[MAILBOX_FILE].clone()).unwrap();
        let index = index.replace(&digest(&files[SITE_FILE]), &digest(&bytes));
        files.insert(MAILBOX_FILE.into(), index.into_bytes());
        files.insert(SITE_FILE.into(), bytes);
        prop_assert!(MailboxConfig::from_files(&files).is_err());
    }
}
