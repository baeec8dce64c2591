//! What a server reads and what it refuses to read, as text: the indices and the token keys.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use proptest::prelude::*;
use umbriel_config::parts::{MailboxIndex, RouterIndex, token_keys_from_yaml};
use umbriel_config::{Code, ConfigError, KeyError, Listeners, MAX_DOCUMENT_BYTES, ServerStatus};

/// A router's index as it lies on disk.
const ROUTER: &str = r"schemaVersion: 1
generation: 7
server:
  name: router
  status: Enabled
  startupMode: TCP
  listeners:
    udp: 5060
    tcp: 5060
parts:
  site.json.gz: 000102030405060708090a0b0c0d0e0f
  token-keys.yaml: ffeeddccbbaa99887766554433221100
";

/// A mailbox server's.
const MAILBOX: &str = r"schemaVersion: 1
generation: 7
server:
  name: mailbox
  status: Enabled
  startupMode: TCP
  listeners:
    udp: 5062
firstMediaPort: 5070
maxCallsAllowed: 100
delivery:
  smtp:
    host: mail.contoso.example
    port: 25
    from: voicemail@contoso.example
    security: None
store:
  s3:
    bucket: voice
    region: eu-central-1
parts: {}
";

const SECRET: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn error(text: &str) -> String {
    let error = RouterIndex::from_yaml(text).unwrap_err();
    assert_eq!(error.code(), Code::UnreadableConfig);
    error.to_string()
}

#[test]
fn a_server_reads_its_index_and_writes_it_as_it_was() {
    let index = RouterIndex::from_yaml(ROUTER).unwrap();
    assert_eq!(index.generation, 7);
    assert_eq!(index.server.status, ServerStatus::Enabled);
    assert_eq!(index.server.listeners, Listeners { udp: Some(5060), tcp: Some(5060), tls: None });
    assert_eq!(index.parts["site.json.gz"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!(index.to_yaml().unwrap(), ROUTER);
    assert_eq!(MailboxIndex::from_yaml(MAILBOX).unwrap().to_yaml().unwrap(), MAILBOX);
}

#[test]
fn one_server_does_not_read_the_index_of_the_other() {
    assert!(matches!(RouterIndex::from_yaml(MAILBOX), Err(ConfigError::Shape(_))));
    assert!(matches!(MailboxIndex::from_yaml(ROUTER), Err(ConfigError::Shape(_))));
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
fn keys_that_could_not_sign_are_refused() {
    let key = |id: &str, secret: &str| format!("- id: {id}\n  secret: {secret}\n");
    let good = token_keys_from_yaml(&(key("k2", SECRET) + &key("k1", SECRET))).unwrap();
    assert_eq!(good.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["k2", "k1"]);
    assert_eq!(token_keys_from_yaml("[]"), Err(ConfigError::Keys(KeyError::Missing)));
    let broken = token_keys_from_yaml(&key("k1", &SECRET.replace("BwcHBwc", "B!cHBwc")));
    assert_eq!(broken, Err(ConfigError::Keys(KeyError::Secret(0))));
}

#[test]
fn no_error_quotes_a_secret() {
    let keys = format!("- id: k1\n  secret: {SECRET}\n");
    let field = format!("secret: {SECRET}");
    for text in [
        keys.replace("  secret:", "  secret: ["),
        keys.replace(&field, &format!("{field}\n    {SECRET}")),
        keys.replace(&field, &format!("{{{field}")),
        keys.replace(&field, &format!("secret: [{SECRET}]")),
        keys.replace(&format!("id: k1\n  {field}"), SECRET),
        keys.replace("id: k1", "id: k1\n  name: k1"),
        keys.replace(SECRET, &format!("*{SECRET}")),
        keys.replace(SECRET, &format!("!!int {SECRET}")),
        keys.replace(&field, &format!("{field}\n  {field}")),
        keys.replace(&field, SECRET),
        keys.replace(&field, &format!("{SECRET}: 1")),
    ] {
        let error = token_keys_from_yaml(&text).unwrap_err().to_string();
        assert!(!error.contains("BwcHBwc"), "{error}");
    }
}

#[test]
fn a_document_that_is_too_long_is_not_looked_at() {
    let error = RouterIndex::from_yaml(&" ".repeat(MAX_DOCUMENT_BYTES + 1)).unwrap_err();
    assert_eq!(error, ConfigError::TooLong(1024 * 1024 + 1));
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
        let mut index = MailboxIndex::from_yaml(MAILBOX).unwrap();
        index.server.name.clone_from(&texts[0]);
        index.delivery.smtp.as_mut().unwrap().host.clone_from(&texts[1]);
        index.delivery.smtp.as_mut().unwrap().from.clone_from(&texts[2]);
        index.parts.insert(texts[3].clone(), texts[4].clone());
        index.parts.insert(texts[5].clone(), texts[0].clone());
        let text = index.to_yaml().unwrap();
        prop_assert_eq!(MailboxIndex::from_yaml(&text), Ok(index), "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-:a-z0-9 \\n\\[\\]{}&*!|>'\"]{0,200}") {
        prop_assert!(RouterIndex::from_yaml(&text).is_err());
    }
}
