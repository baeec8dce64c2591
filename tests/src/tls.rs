//! A TLS client that takes whatever certificate it is shown, and certificates to show.
//!
//! Decides nothing about trust: servers under test make their own certificates, and what a test wants
//! to know is what they say behind the handshake.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// A protected connection.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Opens a protected connection over `stream`; the handshake happens with the first byte.
///
/// # Errors
/// When no session can be made.
///
/// # Panics
/// If the provider does not know its own protocol versions.
pub fn protect(stream: TcpStream, server: SocketAddr) -> io::Result<Stream> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(server.ip().into());
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, stream))
}

/// The certificate that a server shows, DER.
///
/// # Errors
/// When it shows none within five seconds.
///
/// # Panics
/// As [`protect`] does.
pub fn shown_by(server: SocketAddr) -> io::Result<Vec<u8>> {
    let limit = Duration::from_secs(5);
    let stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut stream = protect(stream, server)?;
    stream.conn.complete_io(&mut stream.sock)?;
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
    shown.map(|certificate| certificate.to_vec()).ok_or_else(|| io::Error::other("no certificate"))
}

/// Makes a certificate that signs itself: the files `chain` and `key` of `folder`, PEM. Gives it as DER.
///
/// # Panics
/// If openssl does not make one.
pub fn make_certificate(folder: &Path) -> Vec<u8> {
    let run = |arguments: &str| {
        let command = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = command.expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=sip -keyout key -out chain",
    );
    run("x509 -in chain -outform DER")
}

/// Believes every certificate, and still checks that its owner holds the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
