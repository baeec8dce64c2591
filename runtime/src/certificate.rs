//! What a certificate says, and what is wrong with one.
//!
//! Decides which of our codes a failed handshake is, and until when and for whom a certificate of ours
//! holds. Refuses to know who may call.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, DnsName, IpAddr, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use webpki::EndEntityCert;

/// The code of a certificate that is not for where its owner is found.
const MISNAMED: &str = "UM1160";

/// What is wrong with a certificate, or with who showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// It is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It was signed by itself and by nobody who is trusted.
    SelfSigned,
    /// It was signed by nobody who is trusted.
    NotTrusted,
    /// It cannot be read, was made for something else, or is not its sender's.
    Unfit,
    /// The far end does not accept ours.
    Refused,
}

impl Fault {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Fault::Expired => "UM1161",
            Fault::NotYetValid => "UM1162",
            Fault::SelfSigned => "UM1163",
            Fault::NotTrusted => "UM1164",
            Fault::Unfit => "UM1166",
            Fault::Refused => "UM1167",
        }
    }

    /// The label of its counter.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Fault::Expired => "expired",
            Fault::NotYetValid => "not_yet_valid",
            Fault::SelfSigned => "self_signed",
            Fault::NotTrusted => "not_trusted",
            Fault::Unfit => "unfit",
            Fault::Refused => "refused",
        }
    }

    /// Why a handshake failed, if a certificate is the reason.
    pub(crate) fn of_handshake(error: &io::Error) -> Option<Fault> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        if let Error::InvalidCertificate(error) = error {
            return Some(Fault::of_certificate(error));
        }
        matches!(error, Error::AlertReceived(alert) if is_about_a_certificate(*alert))
            .then_some(Fault::Refused)
    }

    fn of_certificate(error: &CertificateError) -> Fault {
        if matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            Fault::Expired
        } else if matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
        {
            Fault::NotYetValid
        } else if matches!(error, CertificateError::UnknownIssuer) {
            Fault::NotTrusted
        } else if matches!(error, CertificateError::Other(OtherError(other)) if other.is::<SelfSigned>()) {
            Fault::SelfSigned
        } else {
            Fault::Unfit
        }
    }
}

/// The certificate was signed by its own key, which nobody has said to be trusted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the certificate is self-signed")]
pub(crate) struct SelfSigned;

/// What a verifier says of a certificate that is signed by nobody who is trusted: whether nobody but
/// itself has signed it makes a difference to who has to repair it.
pub(crate) fn say_if_self_signed(certificate: &CertificateDer<'_>, error: Error) -> Error {
    let Error::InvalidCertificate(why) = &error else { return error };
    if matches!(Fault::of_certificate(why), Fault::Expired | Fault::NotYetValid)
        || !is_self_signed(certificate)
    {
        return error;
    }
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(SelfSigned))))
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|read| read.issuer() == read.subject())
}

/// What a far end says that does not accept our certificate (RFC 8446 section 6.2).
fn is_about_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// A certificate of ours, as those see it who are shown it.
#[derive(Debug)]
pub struct Own(CertificateDer<'static>);

impl Own {
    /// The first certificate of a chain in PEM.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(chain_pem: &str) -> Result<Own, crate::tls::TlsError> {
        let first = crate::tls::certificates(chain_pem)?.swap_remove(0);
        EndEntityCert::try_from(&first).map_err(|error| crate::tls::TlsError::Chain(error.to_string()))?;
        Ok(Own(first))
    }

    /// Until when it is valid, seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn not_after_unix_s(&self) -> Option<u64> {
        let webpki::Error::CertExpired { not_after, .. } = self.at(u64::MAX) else { return None };
        Some(not_after.as_secs())
    }

    /// From when it is valid, seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn not_before_unix_s(&self) -> Option<u64> {
        let webpki::Error::CertNotValidYet { not_before, .. } = self.at(0) else { return None };
        Some(not_before.as_secs())
    }

    /// Whether one who calls this host, a name or an address, is satisfied by its names.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let name = match host.parse::<std::net::IpAddr>() {
            Ok(address) => ServerName::IpAddress(IpAddr::from(address)),
            Err(_) => match DnsName::try_from(host.to_owned()) {
                Ok(name) => ServerName::DnsName(name),
                Err(_) => return false,
            },
        };
        let read = EndEntityCert::try_from(&self.0);
        read.is_ok_and(|read| read.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// What is wrong with it for those who call one of these hosts now: codes, and words.
    #[must_use]
    pub fn complaints(&self, hosts: &[String], now_unix_s: u64) -> Vec<(&'static str, String)> {
        let mut complaints = Vec::new();
        if self.not_after_unix_s().is_some_and(|not_after| not_after < now_unix_s) {
            complaints.push((Fault::Expired.code(), String::from("is not valid any more")));
        }
        if self.not_before_unix_s().is_some_and(|not_before| not_before > now_unix_s) {
            complaints.push((Fault::NotYetValid.code(), String::from("is not valid yet")));
        }
        let strange = hosts.iter().filter(|host| !self.is_for(host));
        complaints.extend(strange.map(|host| {
            (MISNAMED, format!("is not for {host}, where callers are told to find this server"))
        }));
        complaints
    }

    /// What is wrong with it at a time. Its dates are looked at before anything else, and there is
    /// nobody here to trust, so something always is.
    fn at(&self, unix_s: u64) -> webpki::Error {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(unix_s));
        let read = match EndEntityCert::try_from(&self.0) {
            Ok(read) => read,
            Err(error) => return error,
        };
        let usage = webpki::KeyUsage::server_auth();
        let verified = read.verify_for_usage(&[], &[], &[], time, usage, None, None);
        verified.err().unwrap_or(webpki::Error::UnknownIssuer)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> (CertificateDer<'static>, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_before = rcgen::date_time_ymd(2020, 2, 3);
        params.not_after = rcgen::date_time_ymd(2031, 4, 5);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (made.der().clone(), made.pem())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn a_certificate_of_ours_says_how_long_it_holds_and_for_whom() {
        let address = SanType::IpAddress([192, 0, 2, 10].into());
        let (_, pem) = certificate(vec![dns("um.contoso.example"), dns("*.um.contoso.example"), address]);
        let own = Own::read(&pem).unwrap();
        // date -u -d 2020-02-03 +%s, date -u -d 2031-04-05 +%s
        assert_eq!(own.not_before_unix_s(), Some(1_580_688_000));
        assert_eq!(own.not_after_unix_s(), Some(1_933_113_600));
        for host in ["um.contoso.example", "UM.contoso.example", "a.um.contoso.example", "192.0.2.10"] {
            assert!(own.is_for(host), "{host}");
        }
        for host in ["contoso.example", "a.b.um.contoso.example", "192.0.2.11", "", "2001:db8::1"] {
            assert!(!own.is_for(host), "{host}");
        }
    }

    #[test]
    fn a_certificate_of_ours_that_callers_will_not_accept_is_complained_about_by_code() {
        let (_, pem) = certificate(vec![dns("um.contoso.example")]);
        let own = Own::read(&pem).unwrap();
        let codes = |host: &str, now_unix_s| -> Vec<&str> {
            own.complaints(&[host.to_owned()], now_unix_s).into_iter().map(|(code, _)| code).collect()
        };
        assert_eq!(codes("um.contoso.example", 1_800_000_000), [""; 0]);
        assert_eq!(codes("um.contoso.example", 1_580_687_999), ["UM1162"]);
        assert_eq!(codes("um.contoso.example", 1_933_113_601), ["UM1161"]);
        assert_eq!(codes("192.0.2.11", 1_800_000_000), ["UM1160"]);
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        assert!(Own::read("").is_err());
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Own::read(nonsense).is_err());
    }
}
