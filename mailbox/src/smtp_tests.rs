//! Delivery by SMTP: to Debian's aiosmtpd, and to servers that answer as a test tells them.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use config::SmtpSecurity;
use mail_parser::MessageParser;

use crate::fixtures::{
    MailServer, ScriptedServer, arrived, audio, config, files, free_address, id, message_id, record, smtp,
    start, wait_until, wait_until_delivered, wait_until_idle,
};

#[test]
fn a_real_mail_server_gets_the_very_audio() {
    let state = tempfile::tempdir().unwrap();
    let inbox = state.path().join("inbox");
    let test = "a_real_mail_server_gets_the_very_audio";
    let Some(server) = MailServer::start(test, free_address(), &inbox, &[]) else { return };
    let deliverer = start(state.path(), config(smtp(server.address, SmtpSecurity::None)));
    record(&deliverer.spool(), id(1), 250);
    wait_until_delivered(1, state.path(), &deliverer);
    let mails = arrived(&inbox);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].audio, audio(id(1), 250));
    let mail = MessageParser::default().parse(&mails[0].raw).unwrap();
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some("alice@contoso.example"));
    assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("voicemail@contoso.example"));
    let event = state.path().join("store/alice").join(id(1).to_string()).join("events/delivered.json");
    assert!(fs::read_to_string(event).unwrap().contains("\"place\":\""));
    assert!(files(&state.path().join("mail")).is_empty());
}

#[test]
fn a_mail_server_that_was_away_gets_everything_when_it_is_back() {
    let state = tempfile::tempdir().unwrap();
    let inbox = state.path().join("inbox");
    let address = free_address();
    let deliverer = start(state.path(), config(smtp(address, SmtpSecurity::None)));
    for number in 0..5 {
        record(&deliverer.spool(), id(number), 20);
    }
    wait_until("all have been put off", || (deliverer.status().deferred >= 5).then_some(()));
    assert_eq!(deliverer.status().outbox_len, 5);
    let test = "a_mail_server_that_was_away_gets_everything_when_it_is_back";
    let Some(_server) = MailServer::start(test, address, &inbox, &[]) else { return };
    wait_until_delivered(5, state.path(), &deliverer);
    let mut ids: Vec<_> = arrived(&inbox).into_iter().map(|mail| mail.message_id).collect();
    ids.sort();
    assert_eq!(ids, (0..5).map(|number| message_id(id(number))).collect::<Vec<_>>());
}

#[test]
fn a_message_that_is_refused_for_good_is_kept_and_reported() {
    let state = tempfile::tempdir().unwrap();
    let server = ScriptedServer::start(&state.path().join("inbox"), |command| match command {
        "greeting" => "220 ready",
        "RCPT" => "550 5.1.1 no such user here",
        _ => "250 ok",
    });
    let deliverer = start(state.path(), config(smtp(server.address, SmtpSecurity::None)));
    record(&deliverer.spool(), id(1), 50);
    wait_until("it is refused", || (deliverer.status().refused_len == 1).then_some(()));
    wait_until_idle(state.path(), &deliverer);
    let kept = state.path().join("outbox/refused").join(format!("{}.json", id(1)));
    assert!(kept.is_file());
    let stored = state.path().join("store/alice").join(id(1).to_string());
    let event = fs::read_to_string(stored.join("events/refused.json")).unwrap();
    assert!(event.contains("550") && event.contains("no such user here"), "{event}");
    assert_eq!(fs::read(stored.join("audio.wav")).unwrap()[58..], audio(id(1), 50));
    drop(deliverer);

    // It stays refused over a restart, until somebody moves it back.
    let willing = ScriptedServer::willing(&state.path().join("inbox"));
    let deliverer = start(state.path(), config(smtp(willing.address, SmtpSecurity::None)));
    assert_eq!((deliverer.status().refused_len, deliverer.status().outbox_len), (1, 0));
    drop(deliverer);
    fs::rename(&kept, state.path().join("outbox").join(kept.file_name().unwrap())).unwrap();
    let deliverer = start(state.path(), config(smtp(willing.address, SmtpSecurity::None)));
    wait_until_idle(state.path(), &deliverer);
    assert_eq!(arrived(&state.path().join("inbox")).len(), 1);
}

/// Delivers one message to a server whose first connection answers `command` with `reply`, and all
/// later ones willingly; returns how many mails arrived.
fn arrived_after(command: &'static str, reply: &'static str) -> usize {
    let state = tempfile::tempdir().unwrap();
    let failed = AtomicBool::new(false);
    let server = ScriptedServer::start(&state.path().join("inbox"), move |asked| match asked {
        _ if asked == command && !failed.swap(true, Ordering::SeqCst) => reply,
        "greeting" => "220 ready",
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ => "250 ok",
    });
    let deliverer = start(state.path(), config(smtp(server.address, SmtpSecurity::None)));
    record(&deliverer.spool(), id(1), 20);
    wait_until_delivered(1, state.path(), &deliverer);
    assert_eq!((deliverer.status().delivered, deliverer.status().refused_len), (1, 0), "{command} {reply}");
    assert_eq!(deliverer.status().deferred, 1, "{command} {reply}");
    assert!(server.connections.load(Ordering::SeqCst) >= 2);
    arrived(&state.path().join("inbox")).len()
}

#[test]
fn what_the_server_cannot_take_now_is_tried_again() {
    for (command, reply) in [
        ("greeting", "421 too busy"),
        ("greeting", "554 not for you"),
        ("greeting", ""),
        ("EHLO", "502 what"),
        ("MAIL", "451 later"),
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        ("RCPT", "450 greylisted"),
        ("RCPT", ""),
        ("DATA", "452 no space"),
    ] {
        assert_eq!(arrived_after(command, reply), 1, "{command} {reply}");
    }
}

#[test]
fn a_message_does_not_leave_in_the_clear_when_it_must_be_encrypted() {
    let state = tempfile::tempdir().unwrap();
    let server = ScriptedServer::willing(&state.path().join("inbox"));
    let deliverer = start(state.path(), config(smtp(server.address, SmtpSecurity::StartTLS)));
    record(&deliverer.spool(), id(1), 20);
    wait_until("it is put off twice", || (deliverer.status().deferred >= 2).then_some(()));
    assert_eq!(arrived(&state.path().join("inbox")), []);
}

/// Trust comes from the environment, which only a process of its own can have differently.
fn run_with_trust(test: &str, certificates: &std::path::Path) -> bool {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("smtp::tests::{test}"), "--nocapture"])
        .env("UMBRIEL_STARTTLS_CHILD", "1")
        .env("SSL_CERT_FILE", certificates)
        .env_remove("SSL_CERT_DIR")
        .status()
        .unwrap()
        .success()
}

#[test]
fn starttls_is_used_with_a_certificate_that_the_system_trusts() {
    let test = "starttls_is_used_with_a_certificate_that_the_system_trusts";
    let folder = tempfile::tempdir().unwrap();
    let certificate = std::env::var_os("SSL_CERT_FILE");
    let is_child = std::env::var_os("UMBRIEL_STARTTLS_CHILD").is_some();
    let (Some(certificate), true) = (certificate, is_child) else {
        let (chain, key) = runtime::tls::self_signed("localhost", [127, 0, 0, 1].into()).unwrap();
        fs::write(folder.path().join("chain.pem"), chain).unwrap();
        fs::write(folder.path().join("key.pem"), key).unwrap();
        assert!(run_with_trust(test, &folder.path().join("chain.pem")));
        return;
    };
    let certificate = std::path::PathBuf::from(certificate);
    let inbox = folder.path().join("inbox");
    let (chain, key) = (certificate.display().to_string(), certificate.with_file_name("key.pem"));
    let options = ["--tlscert", &chain, "--tlskey", &key.display().to_string()];
    let Some(server) = MailServer::start(test, free_address(), &inbox, &options) else { return };
    let deliverer = start(folder.path(), config(smtp(server.address, SmtpSecurity::StartTLS)));
    record(&deliverer.spool(), id(1), 50);
    wait_until_delivered(1, folder.path(), &deliverer);
    assert_eq!(arrived(&inbox)[0].audio, audio(id(1), 50));

    // Another server's certificate, which nobody vouches for: the message waits.
    let (chain, key) = runtime::tls::self_signed("localhost", [127, 0, 0, 1].into()).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (chain_file, key_file) = (other.path().join("chain.pem"), other.path().join("key.pem"));
    fs::write(&chain_file, chain).unwrap();
    fs::write(&key_file, key).unwrap();
    let options =
        ["--tlscert", &chain_file.display().to_string(), "--tlskey", &key_file.display().to_string()];
    let inbox = other.path().join("inbox");
    let Some(server) = MailServer::start(test, free_address(), &inbox, &options) else { return };
    let deliverer = start(other.path(), config(smtp(server.address, SmtpSecurity::StartTLS)));
    record(&deliverer.spool(), id(2), 50);
    wait_until("it is put off", || (deliverer.status().deferred >= 1).then_some(()));
    assert_eq!(arrived(&inbox), []);
}
