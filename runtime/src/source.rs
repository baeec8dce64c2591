//! Who a message came from: [`Source`].
//!
//! Decides which names a peer's certificate proves (RFC 5922 section 7.1). Refuses to judge whether the
//! certificate is to be trusted, which was decided when the connection was made, and whose name it is.

use rustls::pki_types::CertificateDer;
use sip::Peer;
use webpki::EndEntityCert;

/// How a URI begins whose host a SIP certificate proves.
const SIP_SCHEME: &str = "sip:";

/// Who a message came from, as its transport knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Where it came from.
    pub peer: Peer,
    /// Domain names that the peer has proved by its certificate, in small letters; empty where it showed
    /// none, or was not asked for one.
    pub names: &'a [String],
}

impl From<Peer> for Source<'_> {
    /// Somebody who has proved no name.
    fn from(peer: Peer) -> Self {
        Source { peer, names: &[] }
    }
}

/// The domain names of a certificate that was verified, in small letters: the hosts of its SIP URIs, or else
/// its DNS names. Wildcards prove nothing (RFC 5922 section 7.2).
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let hosts = certificate.valid_uri_names().filter_map(|uri| {
        let scheme = uri.get(..SIP_SCHEME.len())?;
        // One with a user names a person, not a domain.
        uri.get(SIP_SCHEME.len()..).filter(|host| scheme.eq_ignore_ascii_case(SIP_SCHEME) && is_name(host))
    });
    let hosts: Vec<String> = hosts.map(str::to_ascii_lowercase).collect();
    if !hosts.is_empty() {
        return hosts;
    }
    certificate.valid_dns_names().filter(|name| is_name(name)).map(str::to_ascii_lowercase).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names_of(uris: &[&str], hosts: &[&str]) -> Vec<String> {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
                .expect("names");
        params
            .subject_alt_names
            .extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))));
        let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        names(made.der())
    }

    #[test]
    fn a_certificate_proves_its_dns_names() {
        assert_eq!(names_of(&[], &["SBC.example.com", "b.example"]), ["sbc.example.com", "b.example"]);
        assert_eq!(names_of(&[], &["192.0.2.1"]), [""; 0], "an address is no name");
    }

    #[test]
    fn sip_uris_go_before_dns_names_and_persons_prove_nothing() {
        assert_eq!(names_of(&["sip:Contoso.example"], &["sbc.example"]), ["contoso.example"]);
        let others = ["sip:alice@contoso.example", "https://contoso.example", "sip:", "sip:a.example:5061"];
        assert_eq!(names_of(&others, &["sbc.example"]), ["sbc.example"]);
    }

    #[test]
    fn a_wildcard_proves_nothing() {
        assert_eq!(names_of(&[], &["*.example.com", "sbc.example.com"]), ["sbc.example.com"]);
    }

    #[test]
    fn what_is_no_certificate_proves_nothing() {
        assert_eq!(names(&CertificateDer::from(vec![1, 2, 3])), [""; 0]);
    }
}
