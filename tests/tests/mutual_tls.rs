//! Mutual TLS, end to end: OpenSSL calls through the router, and who shows which certificate decides.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use umbriel_tests::site::Site as _;
use umbriel_tests::{House, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// One who signs certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate with its key, in PEM.
struct Certificate {
    chain: String,
    key: String,
}

fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Authority {
    let mut params = named(CertificateParams::default(), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Authority::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn of(name: &str) -> CertificateParams {
    named(CertificateParams::new([name.to_owned()]).unwrap(), name)
}

fn between(from: i32, until: i32) -> CertificateParams {
    let mut params = of("sbc.contoso.example");
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params
}

fn signed(params: &CertificateParams, authority: &Authority) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, authority).unwrap().pem();
    Certificate { chain, key: key.serialize_pem() }
}

fn self_signed(params: &CertificateParams) -> Certificate {
    let key = KeyPair::generate().unwrap();
    Certificate { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A house that asks for certificates which this authority has signed, with a protected dial plan.
fn house(own: &Certificate, peers: &Authority) -> House {
    let indented = |text: &str| text.replace('\n', "\n    ");
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: sip}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n    {}\n  tls.key: |\n    {}\n  ca.crt: |\n    {}\n",
        indented(&own.chain),
        indented(&own.key),
        indented(&peers.pem())
    );
    let object = |kind: &str, name: &str, spec: &str| {
        format!("apiVersion: umbriel.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let dual = "{umStartupMode: Dual, certificateSecret: sip}";
    let plan = "{numberOfDigitsInExtension: 3, voIPSecurity: SIPSecured}";
    House::builder()
        .file("secret.yaml", &secret)
        .file("router.yaml", &object("UMCallRouter", "router", dual))
        .file("mailbox-server.yaml", &object("UMService", "mailbox", dual))
        .file("dialplan.yaml", &object("UMDialPlan", "contoso", plan))
        .start()
}

/// What the router answers a call over TLS by OpenSSL that shows this certificate; nothing if it gets no connection.
fn call(house: &House, folder: &Path, shown: Option<&Certificate>, trusts: Option<&Path>) -> String {
    let router = SocketAddr::new(house.address, 5061);
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-connect", &router.to_string()]);
    client.args(["-bind", &SocketAddr::new(house.caller(), 0).to_string()]);
    if let Some(Certificate { chain, key }) = shown {
        client.arg("-cert").arg(written(folder, "chain", chain));
        client.arg("-key").arg(written(folder, "key", key));
    }
    if let Some(trusts) = trusts {
        client.arg("-verify_return_error").arg("-CAfile").arg(trusts);
    }
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    let invite = format!(
        "INVITE sip:101@{router};transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS sbc.contoso.example;branch=z9hG4bKm\r\n\
         Max-Forwards: 70\r\nFrom: <sip:200@sbc.contoso.example>;tag=m\r\nTo: <sip:101@{router}>\r\n\
         Call-ID: mutual\r\nCSeq: 1 INVITE\r\nContact: <sip:200@sbc.contoso.example;transport=tls>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    // It may be refused before it has said anything.
    let _written = client.stdin.take().unwrap().write_all(invite.as_bytes());
    let mut answer = Vec::new();
    let mut said = client.stdout.take().unwrap();
    let mut byte = [0; 1];
    while !answer.ends_with(b"\r\n\r\n") && said.read(&mut byte).is_ok_and(|length| length == 1) {
        answer.push(byte[0]);
    }
    client.kill().unwrap();
    client.wait().unwrap();
    String::from_utf8(answer).unwrap()
}

fn refused(house: &House, reason: &str) -> bool {
    let line = format!("um_sip_certificates_refused_total{{server=\"router\",reason=\"{reason}\"}} ");
    house.get("/metrics").unwrap().1.contains(&line)
}

#[test]
fn a_call_of_a_protected_plan_needs_a_certificate_that_holds_and_each_fault_has_its_code() {
    let room = tempfile::tempdir().unwrap();
    let (ours, peers) = (authority("ours"), authority("theirs"));
    let own = signed(&of("um.contoso.example"), &ours);
    let house = house(&own, &peers);
    let call = |shown: Option<&Certificate>| call(&house, room.path(), shown, None);

    let redirect = call(Some(&signed(&of("sbc.contoso.example"), &peers)));
    assert!(redirect.starts_with("SIP/2.0 302 "), "{redirect}");
    assert!(redirect.contains(":5063;transport=tls"), "{redirect}");
    let refusal = call(None);
    assert!(refusal.starts_with("SIP/2.0 403 ") && refusal.contains("UM1165"), "{refusal}");

    let mut unfit = of("sbc.contoso.example");
    unfit.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let faults = [
        ("UM1161", "expired", signed(&between(2020, 2021), &peers)),
        ("UM1162", "not_yet_valid", signed(&between(2090, 2091), &peers)),
        ("UM1163", "self_signed", self_signed(&of("sbc.contoso.example"))),
        ("UM1164", "not_trusted", signed(&of("sbc.contoso.example"), &authority("theirs"))),
        ("UM1166", "unfit", signed(&unfit, &peers)),
    ];
    for (code, reason, shown) in &faults {
        assert!(!refused(&house, reason), "{reason}");
        // One line in a second says why a handshake failed.
        wait_until(&format!("the log has {code}"), PATIENCE, || {
            assert_eq!(call(Some(shown)), "", "{code}");
            house.logged().contains(code).then_some(())
        });
        assert!(refused(&house, reason), "{reason}");
    }
}

#[test]
fn a_certificate_of_ours_that_peers_do_not_accept_has_its_codes() {
    let room = tempfile::tempdir().unwrap();
    let (ours, peers) = (authority("ours"), authority("theirs"));
    let house = house(&signed(&of("um.contoso.example"), &ours), &peers);
    let IpAddr::V4(address) = house.address else { panic!("houses have IPv4 addresses") };
    // Callers are told an address of the mailbox server that its certificate does not have.
    wait_until("the log has UM1160", PATIENCE, || {
        house.logged().contains(&format!("is not for {address}, where callers are told")).then_some(())
    });
    assert!(house.logged().contains("UM1160"));
    let shown = signed(&of("sbc.contoso.example"), &peers);
    let call = |trusts: &Path| call(&house, room.path(), Some(&shown), Some(trusts));
    let trusting_us = written(room.path(), "ours", &ours.pem());
    assert!(call(&trusting_us).starts_with("SIP/2.0 302 "));
    let trusting_others = written(room.path(), "others", &peers.pem());
    wait_until("the log has UM1167", PATIENCE, || {
        assert_eq!(call(&trusting_others), "");
        house.logged().contains("UM1167").then_some(())
    });
    assert!(refused(&house, "refused"));
}
