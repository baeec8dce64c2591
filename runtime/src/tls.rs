//! TLS settings of a listener.
//!
//! Decides TLS 1.2 and 1.3 with aws-lc-rs as the only provider, named explicitly so that no
//! process-wide default is needed. Refuses to know where certificates come from.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};

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
    Unusable(#[from] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("make self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// Settings of a TLS listener that shows this certificate and asks for none.
///
/// # Errors
/// When chain or key cannot be read, or do not belong together.
pub fn server_config(chain_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| TlsError::Key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
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
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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
        assert!(server_config(&chain, &key).is_ok());
        let (_, other_key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        assert!(matches!(server_config(&chain, &other_key), Err(TlsError::Unusable(_))));
    }

    #[test]
    fn what_is_no_certificate_is_named_and_no_key_is_shown() {
        let (chain, key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        assert!(matches!(server_config("", &key), Err(TlsError::Chain(_))));
        let error = server_config(&chain, "secret").unwrap_err();
        assert_eq!(error.to_string(), "read private key: not a PEM private key");
    }
}
