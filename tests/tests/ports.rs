//! Calls in progress while their server changes its ports and its certificate.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::wire::{Invite, Wire};
use umbriel_tests::{House, Site as _, audio, tls, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// A new certificate as a Secret, and as DER.
fn certificate(folder: &Path) -> (String, Vec<u8>) {
    let der = tls::make_certificate(folder);
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap().replace('\n', "\n    ");
    let (chain, key) = (text("chain"), text("key"));
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: sip}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n    {chain}\n  tls.key: |\n    {key}\n"
    );
    (secret, der)
}

/// The mailbox server, with UDP and TCP on one port and TLS on the next.
fn service(port: u16) -> String {
    format!(
        "apiVersion: umbriel.dev/v1alpha1\nkind: UMService\nmetadata: {{name: mailbox}}\nspec:\n  \
         umStartupMode: Dual\n  certificateSecret: sip\n  sipUdpListeningPort: {port}\n  \
         sipTcpListeningPort: {port}\n  sipTlsListeningPort: {}\n",
        port + 1
    )
}

#[test]
fn calls_go_on_while_their_server_changes_its_ports_and_its_certificate() {
    let room = tempfile::tempdir().unwrap();
    let (first, shown_first) = certificate(room.path());
    let house =
        House::builder().file("mailbox-server.yaml", &service(5062)).file("secret.yaml", &first).start();
    let at = |port| SocketAddr::new(house.mailbox_server().ip(), port);
    let shows = |port, wanted: &[u8]| tls::shown_by(at(port)).is_ok_and(|shown| shown == wanted);
    assert!(shows(5063, &shown_first));
    let phones = [(Transport::Udp, "101", 1), (Transport::Tcp, "102", 2)].map(|(transport, called, seed)| {
        Phone::dial(house.caller(), house.router(), transport, called, seed)
    });
    let (recorded, over) = (Barrier::new(phones.len() + 1), AtomicBool::new(false));
    let phones = std::thread::scope(|scope| {
        let speak = |mut phone: Phone| {
            let (recorded, over) = (&recorded, &over);
            scope.spawn(move || {
                phone.speak_through_the_greeting();
                phone.speak(SECOND);
                recorded.wait();
                while !over.load(Ordering::Relaxed) {
                    phone.speak(SECOND / 10);
                }
                phone.speak(SECOND);
                phone.hang_up();
                phone
            })
        };
        let phones = phones.map(speak);
        recorded.wait();
        house.write("mailbox-server.yaml", &service(5072));
        let wire = Wire::new(house.caller(), house.router());
        wait_until("calls are sent to the new port", 20 * SECOND, || {
            let invite = Invite { called: "101", diverting: None, call_id: "where" };
            wire.invite(&invite).contains(":5072;").then_some(())
        });
        wait_until("TLS has moved", 20 * SECOND, || shows(5073, &shown_first).then_some(()));
        let (second, shown_second) = certificate(room.path());
        house.write("secret.yaml", &second);
        wait_until("the new certificate is shown", 20 * SECOND, || shows(5073, &shown_second).then_some(()));
        over.store(true, Ordering::Relaxed);
        phones.map(|phone| phone.join().unwrap())
    });
    let mut fresh = Phone::call(&house, "101", 3);
    assert_eq!(fresh.target(), at(5072));
    fresh.hang_up();
    let mails = house.wait_for_mails(phones.len());
    for phone in phones {
        assert_eq!(phone.target(), at(5062));
        let mail = mails.iter().find(|mail| mail.call_id == phone.call_id).expect("its message");
        let start = audio::find(phone.said(), &mail.audio.data).expect("one piece of what was said");
        let missing = phone.said().len() - start - mail.audio.data.len();
        assert!(missing <= 8 * 200, "{missing} samples of the end are missing");
    }
}
