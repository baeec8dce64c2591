//! Several mailbox servers of which callers outside of the cluster reach each at a place of its own.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use umbriel_tests::exposed::{Exposed, NODE_ADDRESS};
use umbriel_tests::office::OFFICE;
use umbriel_tests::phone::{Phone, Transport};
use umbriel_tests::{audio, wait_until};

/// Each of two mailbox servers is called at a place of its own, which `place` tells by its number, and one
/// that is not wanted any more keeps its place until its last call is over.
fn two_mailbox_servers_have_places_of_their_own(
    site: &Exposed<'_>,
    router: SocketAddr,
    place: impl Fn(usize) -> (SocketAddr, [SocketAddr; 2]),
) {
    let more = (103..115).map(|extension| {
        format!(
            "apiVersion: umbriel.dev/v1alpha1\nkind: UMMailbox\nmetadata: {{name: user-{extension}}}\nspec:\n  \
             umMailboxPolicy: staff\n  extensions: ['{extension}']\n  \
             primarySmtpAddress: user-{extension}@contoso.example\n"
        )
    });
    site.namespace.apply(&more.collect::<Vec<_>>().join("---\n"));
    site.wait_until_ready();
    site.wait_until_called(OFFICE, router);
    let places = [place(0), place(1)];
    let target = |extension: usize, call_id: &str| {
        let answer = site.ask(OFFICE, router, &extension.to_string(), call_id)?;
        let contact = answer.split("\r\nContact: <sip:").nth(1)?.split('@').nth(1)?;
        contact.split([';', '>']).next()?.parse::<SocketAddr>().ok()
    };
    let of_server = |server: usize| {
        let mut extensions = 101..115;
        let found = extensions.find(|extension| {
            target(*extension, &format!("where-{server}-{extension}")) == Some(places[server].0)
        });
        found.expect("each of two servers hosts some of fourteen mailboxes")
    };
    let extensions = [0, 1].map(of_server);
    let mut calls: Vec<Phone> = thread::scope(|scope| {
        let calls = [0, 1].map(|server: usize| {
            let (called, places) = (extensions[server].to_string(), &places);
            scope.spawn(move || {
                let dial = || Phone::dial(OFFICE, router, Transport::Udp, &called, 70 + server as u64);
                let mut phone = site.from(OFFICE, dial);
                assert_eq!(phone.target(), places[server].0);
                assert!(places[server].1.contains(&phone.far_media()), "{:?}", phone.far_media());
                phone.speak_through_the_greeting();
                phone.speak(Duration::from_secs(2));
                phone
            })
        });
        calls.map(|call| call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).into()
    });
    calls[0].hang_up();

    let patch = r#"--patch={"spec":{"replicas":1}}"#;
    let _patched = site.namespace.kubectl(&["patch", "umsvc/mailbox", "--type=merge", patch]);
    let mut asked = 0;
    wait_until("calls go to the server that stays", Duration::from_secs(30), || {
        asked += 1;
        calls[1].speak(Duration::from_millis(200));
        (target(extensions[1], &format!("moved-{asked}")) == Some(places[0].0)).then_some(())
    });
    assert!(site.get("service/mailbox-mailbox-1").is_some(), "the call that it has goes on");
    calls[1].speak(Duration::from_secs(1));
    calls[1].hang_up();
    for phone in calls {
        let mail = wait_until("the message arrives", Duration::from_secs(30), || {
            site.mail.mails().into_iter().find(|mail| mail.call_id == phone.call_id)
        });
        assert!(audio::find(phone.said(), &mail.audio.data).is_some(), "the recording is what was said");
        assert!(mail.audio.data.len() >= 8000 * 3 / 2, "{} samples", mail.audio.data.len());
    }
    wait_until("its place goes with it", Duration::from_secs(60), || {
        site.get("service/mailbox-mailbox-1").is_none().then_some(())
    });
}

#[test]
fn two_mailbox_servers_have_load_balancers_of_their_own() {
    let test = "two_mailbox_servers_have_load_balancers_of_their_own";
    let Some(site) = Exposed::start_several(test, "LoadBalancer", OFFICE, 9_105, 2) else { return };
    for (service, address) in [
        ("router-router", "203.0.113.30"),
        ("mailbox-mailbox-0", "203.0.113.31"),
        ("mailbox-mailbox-1", "203.0.113.32"),
    ] {
        let _made =
            site.namespace.kubectl(&["wait", "--for=create", &format!("service/{service}"), "--timeout=30s"]);
        site.balance(service, address);
    }
    let at = |server: usize, port| {
        SocketAddr::new(format!("203.0.113.3{}", 1 + server).parse().expect("an address"), port)
    };
    let router = SocketAddr::new("203.0.113.30".parse().expect("an address"), 5060);
    two_mailbox_servers_have_places_of_their_own(&site, router, |server| {
        (at(server, 5062), [at(server, 5070), at(server, 5071)])
    });
}

#[test]
fn two_mailbox_servers_have_node_ports_of_their_own() {
    let test = "two_mailbox_servers_have_node_ports_of_their_own";
    let Some(site) = Exposed::start_several(test, "NodePort", OFFICE, 9_106, 2) else { return };
    let at = |service: &str, name: &str| -> SocketAddr {
        SocketAddr::new(NODE_ADDRESS.parse().expect("an address"), site.node_port(service, name))
    };
    for service in ["router-router", "mailbox-mailbox-0", "mailbox-mailbox-1"] {
        let _made =
            site.namespace.kubectl(&["wait", "--for=create", &format!("service/{service}"), "--timeout=30s"]);
    }
    two_mailbox_servers_have_places_of_their_own(&site, at("router-router", "sip-udp"), |server| {
        let service = format!("mailbox-mailbox-{server}");
        (at(&service, "sip-udp"), [at(&service, "rtp-0"), at(&service, "rtp-1")])
    });
}
