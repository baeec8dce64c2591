//! TLS settings of a listener.
//!
//! Decides TLS 1.2 and 1.3 with aws-lc-rs as the only provider, named explicitly so that no
//! process-wide default is needed, and when the certificate of a peer is trusted. Refuses to know where
//! certificates come from.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use rustls::ServerConfig;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use crate::certificate::say_if_self_signed;

/// Why a certificate cannot be used. No message contains a byte of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain is not PEM, or holds no certificate.
    #[error("read certificate chain: {0}")]
    Chain(String),
    /// The key is not PEM, or of no kind that is known.
    #[error("read private key: not a PEM private key")]
    Key,
    /// Chain and key do not belong together, or are of no use for TLS.
    #[error("use certificate: {0}")]
    Unusable(#[from] Error),
    /// None of those who are said to sign peers' certificates can be used for it.
    #[error("use certificate authorities: {0}")]
    Authorities(String),
    /// A self-signed certificate could not be made.
    #[error("make self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// What a TLS listener shows to who connects, and asks of them. Another takes its place at any time:
/// each handshake is done by the one that was there when it began.
#[derive(Debug)]
pub struct Shown(ArcSwap<ServerConfig>);

impl Shown {
    /// Begins with these settings.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Arc<Shown> {
        Arc::new(Shown(ArcSwap::new(config)))
    }

    /// Does all handshakes that begin from now on by these settings.
    pub fn show(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The settings of now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

/// Settings of a TLS listener that shows this certificate. With `authorities_pem` it asks for the
/// certificate of who connects, and one that is shown must be signed by one of them: who shows none gets
/// in all the same, because what a call needs is known once it is there. Without, it asks for none.
///
/// # Errors
/// When chain, key or authorities cannot be read, or chain and key do not belong together.
pub fn server_config(
    chain_pem: &str,
    key_pem: &str,
    authorities_pem: Option<&str>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| TlsError::Key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match authorities_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(Arc::new(Peers::new(pem, provider)?)),
    };
    Ok(Arc::new(builder.with_single_cert(chain, key)?))
}

/// Trusts peers whose certificate one of the authorities has signed.
#[derive(Debug)]
struct Peers {
    authorities: Arc<RootCertStore>,
    as_clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Peers {
    fn new(authorities_pem: &str, provider: Arc<CryptoProvider>) -> Result<Peers, TlsError> {
        let unusable = |error: &dyn std::fmt::Display| TlsError::Authorities(error.to_string());
        let authorities = Arc::new(authorities(authorities_pem).map_err(|error| unusable(&error))?);
        let builder = WebPkiClientVerifier::builder_with_provider(authorities.clone(), provider.clone());
        let as_clients = builder.allow_unauthenticated().build().map_err(|error| unusable(&error))?;
        Ok(Peers { authorities, as_clients, provider })
    }

    /// SIP servers connect to each other in both directions with one certificate, which many an
    /// authority makes for servers alone.
    fn verify_as_server(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (certificate, algorithms) =
            (ParsedCertificate::try_from(end_entity)?, self.provider.signature_verification_algorithms);
        let (authorities, algorithms) = (&self.authorities, algorithms.all);
        verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        Ok(ClientCertVerified::assertion())
    }
}

impl ClientCertVerifier for Peers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.as_clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.as_clients.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            )) => self.verify_as_server(end_entity, intermediates, now),
            // An authority of that name has another key: it was renewed, or somebody else goes by its name.
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
            }
            verified => verified,
        };
        verified.map_err(|error| say_if_self_signed(end_entity, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.as_clients.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.as_clients.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.as_clients.supported_verify_schemes()
    }
}

/// Those that a peer's certificate may be signed by.
///
/// # Errors
/// When there is none, or one cannot be read or sign others.
pub fn authorities(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The certificates in a text, of which there is at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|error| TlsError::Chain(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::Chain("no certificate in it".into()));
    }
    Ok(certificates)
}

/// A new certificate for a server that was given none, as (chain, key) in PEM. Peers cannot verify
/// it, but what they say is encrypted.
///
/// # Errors
/// When no key can be made, or the name is not one that a certificate can carry.
pub fn self_signed(name: &str, address: IpAddr) -> Result<(String, String), TlsError> {
    let made = rcgen::generate_simple_self_signed([name.to_owned(), address.to_string()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_can_be_used_and_its_neighbours_key_cannot() {
        let (chain, key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        assert!(server_config(&chain, &key, None).is_ok());
        let (_, other_key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        assert!(matches!(server_config(&chain, &other_key, None), Err(TlsError::Unusable(_))));
    }

    #[test]
    fn what_is_no_certificate_is_named_and_no_key_is_shown() {
        let (chain, key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        assert!(matches!(server_config("", &key, None), Err(TlsError::Chain(_))));
        let error = server_config(&chain, "secret", None).unwrap_err();
        assert_eq!(error.to_string(), "read private key: not a PEM private key");
    }
}
