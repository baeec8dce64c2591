//! Certificates of both ends, over real handshakes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use runtime::tls::{Shown, server_config};
use runtime::{Limits, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::connections::counted;
use crate::echo::{Note, PATIENCE, loopback, message, start, subject, tcp};

/// One who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Held {
    chain: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = named(CertificateParams::default(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn signs(&self, params: &CertificateParams) -> Held {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Held { chain, key: key.serialize_pem() }
    }
}

/// An issuer is known by its name: with one name for all, each would seem to have signed the others.
fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn of(name: &str) -> CertificateParams {
    named(CertificateParams::new([name.to_owned()]).unwrap(), name)
}

fn between(name: &str, from: i32, until: i32) -> CertificateParams {
    let mut params = of(name);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params
}

fn self_signed(params: &CertificateParams) -> Held {
    let key = KeyPair::generate().unwrap();
    Held { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A server that asks its peers for certificates which one of `peers` has signed, a peer's way in that trusts
/// the server, and the counters.
fn server(peers: &str) -> (Server<Note>, RootCertStore, impl Fn() -> String + use<>) {
    let own = Authority::new("ours");
    let Held { chain, key } = own.signs(&of("127.0.0.1"));
    let shown = Shown::new(server_config(&chain, &key, Some(peers)).unwrap());
    let (mut settings, counters) = counted(Limits::default());
    settings.tls = Some((loopback(), shown));
    (start(&settings), trusting(&own.pem()), counters)
}

fn trusting(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// What a peer hears that says something, and shows this certificate or none.
fn heard(server: SocketAddr, trusts: &RootCertStore, held: Option<&Held>) -> io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusts.clone());
    let config = match held {
        None => builder.with_no_client_auth(),
        Some(Held { chain, key }) => {
            let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, tcp(server));
    stream.write_all(&message("w0 hello", ""))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte)?;
        answer.extend_from_slice(&byte);
    }
    Ok(subject(&answer))
}

/// The server counts after it has said so.
fn wait_until(holds: impl Fn() -> bool, or_else: &impl Fn() -> String) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{}", or_else());
        std::thread::yield_now();
    }
}

fn refused(counters: &impl Fn() -> String, reason: &str) -> bool {
    counters()
        .contains(&format!("um_sip_certificates_refused_total{{server=\"echo\",reason=\"{reason}\"}} 1"))
}

#[test]
fn a_peer_is_known_by_the_names_in_its_certificate_whichever_worker_hears_it() {
    let peers = Authority::new("theirs");
    let (server, trusts, _) = server(&peers.pem());
    let mut params = of("SBC1.contoso.example");
    params.subject_alt_names.push(SanType::URI("sip:contoso.example".try_into().unwrap()));
    // Public authorities make certificates for servers alone.
    for purposes in
        [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth], vec![ExtendedKeyUsagePurpose::ClientAuth]]
    {
        params.extended_key_usages = purposes;
        let told = heard(server.addresses().tls.unwrap(), &trusts, Some(&peers.signs(&params))).unwrap();
        assert_eq!(told, "worker=0 life=1 length=66 heard=w0 hello contoso.example");
    }
}

#[test]
fn a_peer_that_shows_no_certificate_is_heard_and_known_by_none() {
    let (server, trusts, _) = server(&Authority::new("theirs").pem());
    let told = heard(server.addresses().tls.unwrap(), &trusts, None).unwrap();
    assert_eq!(told, "worker=0 life=1 length=66 heard=w0 hello");
}

#[test]
fn each_fault_of_a_peers_certificate_ends_the_handshake_and_is_counted_as_what_it_is() {
    let peers = Authority::new("theirs");
    let (server, trusts, counters) = server(&peers.pem());
    let mut unfit = of("sbc.contoso.example");
    unfit.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let mut own_authority = of("sbc.contoso.example");
    own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let faults = [
        ("expired", peers.signs(&between("sbc.contoso.example", 2020, 2021))),
        ("not_yet_valid", peers.signs(&between("sbc.contoso.example", 2090, 2091))),
        ("self_signed", self_signed(&own_authority)),
        ("not_trusted", Authority::new("somebody").signs(&of("sbc.contoso.example"))),
        ("unfit", peers.signs(&unfit)),
    ];
    for (reason, held) in faults {
        assert!(!refused(&counters, reason), "{reason}");
        let error = heard(server.addresses().tls.unwrap(), &trusts, Some(&held)).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "{reason}: {error}");
        wait_until(|| refused(&counters, reason), &counters);
    }
    let closed = "um_sip_connections_closed_total{server=\"echo\",reason=\"handshake\"} 5";
    wait_until(|| counters().contains(closed), &counters);
}

#[test]
fn an_authority_that_was_renewed_under_its_name_is_trusted_beside_the_one_before_and_alone_does_not_make_unfit()
 {
    let [before, renewed] = [(); 2].map(|()| Authority::new("theirs"));
    let [signed_before, signed_since] =
        [&before, &renewed].map(|authority| authority.signs(&of("sbc.contoso.example")));
    for both in [before.pem() + &renewed.pem(), renewed.pem() + &before.pem()] {
        let (server, trusts, _) = server(&both);
        for held in [&signed_before, &signed_since] {
            heard(server.addresses().tls.unwrap(), &trusts, Some(held)).unwrap();
        }
    }
    let (server, trusts, counters) = server(&renewed.pem());
    heard(server.addresses().tls.unwrap(), &trusts, Some(&signed_since)).unwrap();
    heard(server.addresses().tls.unwrap(), &trusts, Some(&signed_before)).unwrap_err();
    wait_until(|| refused(&counters, "not_trusted"), &counters);
    assert!(!counters().contains("unfit"), "{}", counters());
}

#[test]
fn a_peer_that_does_not_accept_our_certificate_is_counted() {
    let (server, _, counters) = server(&Authority::new("theirs").pem());
    let stranger = trusting(&Authority::new("somebody").pem());
    let error = heard(server.addresses().tls.unwrap(), &stranger, None).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    wait_until(|| refused(&counters, "refused"), &counters);
}

/// Whether a handshake by this version of TLS succeeds, as OpenSSL sees it.
fn speaks(server: SocketAddr, version: &str) -> bool {
    let mut client = Command::new("openssl");
    // OpenSSL itself refuses old versions otherwise.
    client.args(["s_client", "-cipher", "ALL@SECLEVEL=0", version, "-connect", &server.to_string()]);
    let client = client.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&client.stdout);
    assert!(said.contains("CONNECTED"), "{said}");
    !said.contains("Cipher is (NONE)")
}

#[test]
fn tls_is_spoken_in_its_versions_1_2_and_1_3_and_in_no_other() {
    let (server, ..) = server(&Authority::new("theirs").pem());
    let spoken = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"];
    let spoken = spoken.map(|version| speaks(server.addresses().tls.unwrap(), version));
    assert_eq!(spoken, [false, false, true, true]);
}
