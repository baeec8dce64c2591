//! What a server reads and what it refuses to read, as text.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use proptest::prelude::*;
use umbriel_config::{
    CallSettings, Code, ConfigError, Delivery, KeyError, Language, Listeners, MAX_DOCUMENT_BYTES, Mailbox,
    MailboxConfig, Owner, RouterConfig, ServerStatus, Smtp, SmtpSecurity, Store,
};

/// A router's document as it lies on disk.
const ROUTER: &str = r#"schemaVersion: 1
generation: 7
server:
  name: router
  status: Enabled
  startupMode: TCP
  listeners:
    udp: 5060
    tcp: 5060
tokenKeys:
- id: k1
  secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
directory:
  gateways:
  - name: pbx
    address: 2001:db8::10
    status: NoNewCalls
  huntGroups:
  - name: everyone
    gateway: pbx
    dialPlan: contoso
  dialPlans:
  - name: contoso
    numberOfDigitsInExtension: 3
    voipSecurity: Unsecured
  mailboxes:
  - name: alice
    dialPlan: contoso
    extensions:
    - "101"
  mailboxServers:
  - name: mailbox
    address: "192.0.2.1"
    listeners:
      udp: 5062
    inService: true
  hosts:
  - mailbox
"#;

fn router() -> RouterConfig {
    RouterConfig::from_yaml(ROUTER).unwrap()
}

fn error(text: &str) -> String {
    let error = RouterConfig::from_yaml(text).unwrap_err();
    assert_eq!(error.code(), Code::UnreadableConfig);
    error.to_string()
}

fn mailbox() -> MailboxConfig {
    let RouterConfig { schema_version, generation, server, token_keys, directory } = router();
    MailboxConfig {
        schema_version,
        generation,
        server,
        first_media_port: None,
        max_calls_allowed: 100,
        token_keys,
        directory,
        calls: [("contoso".to_owned(), call_settings())].into(),
        owners: [("alice".to_owned(), owner("Alice", None))].into(),
        delivery: Delivery { smtp: None },
        store: Store::Own,
    }
}

fn call_settings() -> CallSettings {
    CallSettings {
        language: Language::DeDe,
        max_call_duration_s: 1800,
        max_recording_duration_s: 1200,
        recording_idle_timeout_s: 5,
    }
}

fn owner(name: &str, text: Option<&str>) -> Owner {
    Owner {
        display_name: Some(name.to_owned()),
        primary_smtp_address: "alice@contoso.example".to_owned(),
        voice_mail_text: text.map(str::to_owned),
    }
}

#[test]
fn a_router_reads_its_document_and_writes_it_as_it_was() {
    let config = router();
    assert_eq!(config.generation, 7);
    assert_eq!(config.server.status, ServerStatus::Enabled);
    assert_eq!(config.server.listeners, Listeners { udp: Some(5060), tcp: Some(5060), tls: None });
    assert_eq!(config.directory.mailboxes[0].extensions, ["101"]);
    assert_eq!(config.to_yaml().unwrap(), ROUTER);
}

#[test]
fn a_mailbox_server_reads_what_was_written_for_it() {
    let mut config = mailbox();
    config.delivery.smtp = Some(Smtp {
        host: "mail.contoso.example".to_owned(),
        port: 25,
        from: "voicemail@contoso.example".to_owned(),
        security: SmtpSecurity::None,
    });
    assert_eq!(MailboxConfig::from_yaml(&config.to_yaml().unwrap()), Ok(config));
}

#[test]
fn one_server_does_not_read_the_document_of_the_other() {
    assert!(matches!(RouterConfig::from_yaml(&mailbox().to_yaml().unwrap()), Err(ConfigError::Shape(_))));
    assert!(matches!(MailboxConfig::from_yaml(ROUTER), Err(ConfigError::Shape(_))));
}

#[test]
fn another_schema_version_is_named_whatever_else_the_document_has() {
    let expected = "the document has schema version 2, this server reads version 1";
    assert_eq!(error(&ROUTER.replace("schemaVersion: 1", "schemaVersion: 2")), expected);
    assert_eq!(error(&ROUTER.replace("schemaVersion: 1", "schemaVersion: 2\ntenants: [a, b]")), expected);
    assert_eq!(error("schemaVersion: 2"), expected);
}

#[test]
fn a_document_without_a_version_or_of_another_shape_is_refused() {
    for (text, part) in [
        ("", "the document cannot be read: "),
        ("gateways: [", "the document cannot be read: "),
        (&ROUTER.replace("schemaVersion: 1\n", ""), "schemaVersion"),
        (&ROUTER.replace("generation: 7", "generation: seven"), "line 2"),
        (&ROUTER.replace("startupMode: TCP", "startupMode: UDP"), "line 6"),
        (&ROUTER.replace("listeners:\n    udp: 5060", "listeners:\n    udp: 65536"), "line 8"),
        (&ROUTER.replace("generation: 7", "generation: 7\nextra: 1"), "extra"),
        (&ROUTER.replace("generation: 7", "generation: 7\ngeneration: 8"), "generation"),
        (&format!("{ROUTER}---\n{ROUTER}"), "the document cannot be read: "),
    ] {
        let error = error(text);
        assert!(error.starts_with("the document cannot be read: ") && error.contains(part), "{error}");
    }
}

#[test]
fn keys_that_could_not_sign_are_refused_with_the_document() {
    let missing = ROUTER.replace(
        "tokenKeys:\n- id: k1\n  secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "tokenKeys: []\n",
    );
    assert_eq!(RouterConfig::from_yaml(&missing), Err(ConfigError::Keys(KeyError::Missing)));
    let broken = ROUTER.replace("BwcHBwc", "B!cHBwc");
    assert_eq!(RouterConfig::from_yaml(&broken), Err(ConfigError::Keys(KeyError::Secret(0))));
}

#[test]
fn no_error_quotes_a_secret() {
    let secret = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let field = format!("secret: {secret}");
    for text in [
        ROUTER.replace("  secret:", "  secret: ["),
        ROUTER.replace(&field, &format!("{field}\n    {secret}")),
        ROUTER.replace(&field, &format!("{{{field}")),
        ROUTER.replace(&field, &format!("secret: [{secret}]")),
        ROUTER.replace(&format!("id: k1\n  {field}"), secret),
        ROUTER.replace("id: k1", "id: k1\n  name: k1"),
        ROUTER.replace(secret, &format!("*{secret}")),
        ROUTER.replace(secret, &format!("!!int {secret}")),
        ROUTER.replace(&field, &format!("{field}\n  {field}")),
        ROUTER.replace(&field, secret),
        ROUTER.replace(&field, &format!("{secret}: 1")),
    ] {
        let error = error(&text);
        assert!(!error.contains("BwcHBwc"), "{error}");
    }
}

#[test]
fn a_document_that_is_too_long_is_not_looked_at() {
    let error = RouterConfig::from_yaml(&" ".repeat(MAX_DOCUMENT_BYTES + 1)).unwrap_err();
    assert_eq!(error, ConfigError::TooLong(64 * 1024 * 1024 + 1));
}

/// 17 nodes of YAML a mailbox: 272,000 in all, where the reader by itself allows 250,000.
#[test]
fn a_large_company_fits_into_one_document() {
    let mut config = mailbox();
    for n in 0..16_000 {
        let name = format!("a-mailbox-with-a-long-name-{n}");
        config.owners.insert(name.clone(), owner(&name, None));
        let extensions = vec![format!("{n:06}"), format!("{n:07}")];
        config.directory.mailboxes.push(Mailbox {
            name,
            extensions,
            ..router().directory.mailboxes[0].clone()
        });
    }
    let text = config.to_yaml().unwrap();
    let read = MailboxConfig::from_yaml(&text).unwrap();
    assert_eq!((read.owners.len(), read.directory.mailboxes.len()), (16_001, 16_001));
}

/// Texts that YAML could take for something else.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "",
            " ",
            "101",
            "0101",
            "0x1f",
            "1e3",
            "1_000",
            "12:30",
            ".inf",
            "null",
            "~",
            "yes",
            "No",
            "true",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "%",
            "@",
            "`",
            "'",
            "\"",
            "{}",
            "[]",
            "---",
            "...",
            "a\nb",
            "\n",
            "a\n\n",
            "\ta",
            "a ",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "=",
            "<<",
            "2001:db8::1",
            "\r\n",
            "\0",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn every_text_comes_back_as_it_was(texts in proptest::collection::vec(awkward(), 6)) {
        let mut config = mailbox();
        config.server.name.clone_from(&texts[0]);
        config.directory.mailboxes[0].extensions.clone_from(&texts);
        config.directory.hunt_groups[0].pilot = Some(texts[1].clone());
        config.owners.insert(texts[2].clone(), owner(&texts[3], Some(&texts[4])));
        config.calls.insert(texts[5].clone(), call_settings());
        let text = config.to_yaml().unwrap();
        prop_assert_eq!(MailboxConfig::from_yaml(&text), Ok(config), "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-:a-z0-9 \\n\\[\\]{}&*!|>'\"]{0,200}") {
        prop_assert!(RouterConfig::from_yaml(&text).is_err());
    }
}

#[test]
fn the_two_documents_have_one_directory() {
    let text = mailbox().to_yaml().unwrap();
    let directory = ROUTER.split_once("directory:\n").unwrap().1;
    assert!(text.contains(directory));
}
