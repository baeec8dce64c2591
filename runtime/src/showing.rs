//! What a server shows to who connects by TLS, from its first certificate on.
//!
//! Decides that another certificate is shown without a listener being touched, that one which stays is
//! left alone, and what is shown by a server that was given none. Refuses to know where certificates
//! come from.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::metrics::ServeMetrics;
use crate::tls::{Shown, TlsError, self_signed, server_config};

/// A certificate with its key and those who sign peers' certificates, as [`server_config`] takes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The chain, leaf first.
    pub chain: String,
    /// The private key.
    pub key: String,
    /// Who signs the certificates of peers.
    pub authorities: Option<String>,
}

impl std::fmt::Debug for Pem {
    /// Shows no byte of the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pem(..)")
    }
}

impl Pem {
    /// Settings of a listener that shows it.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        server_config(&self.chain, &self.key, self.authorities.as_deref())
    }
}

/// What one server shows.
#[derive(Debug)]
pub struct Showing {
    address: IpAddr,
    metrics: ServeMetrics,
    /// For a server that was given none; made once, so that it outlives changes.
    own: Option<Pem>,
    now: Option<Now>,
}

#[derive(Debug)]
struct Now {
    pem: Pem,
    hosts: Vec<String>,
    shown: Arc<Shown>,
}

impl Showing {
    /// Shows nothing yet.
    #[must_use]
    pub fn new(address: IpAddr, metrics: ServeMetrics) -> Showing {
        Showing { address, metrics, own: None, now: None }
    }

    /// Shows this certificate from now on, or one of its own for the server of this name. `hosts` is where
    /// callers are told to find the server.
    ///
    /// # Errors
    /// When it cannot be used; then the one before is still shown.
    pub fn show(
        &mut self,
        given: Option<Pem>,
        name: &str,
        hosts: Vec<String>,
    ) -> Result<Arc<Shown>, TlsError> {
        let is_given = given.is_some();
        let pem = match given {
            Some(pem) => pem,
            None => self.own(name)?,
        };
        let shown = match &self.now {
            Some(now) if now.pem == pem && now.hosts == hosts => return Ok(Arc::clone(&now.shown)),
            // Whoever has been here before resumes by the same settings.
            Some(now) if now.pem == pem => Arc::clone(&now.shown),
            Some(now) => {
                now.shown.show(pem.config()?);
                Arc::clone(&now.shown)
            }
            None => Shown::new(pem.config()?),
        };
        // Nobody is asked to check one that the server has made for itself.
        self.metrics.show_certificate(&pem.chain, if is_given { &hosts } else { &[] });
        self.now = Some(Now { pem, hosts, shown: Arc::clone(&shown) });
        Ok(shown)
    }

    fn own(&mut self, name: &str) -> Result<Pem, TlsError> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let (chain, key) = self_signed(name, self.address)?;
        Ok(self.own.insert(Pem { chain, key, authorities: None }).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> Pem {
        let (chain, key) = self_signed("router", [127, 0, 0, 1].into()).unwrap();
        Pem { chain, key, authorities: None }
    }

    #[test]
    fn another_certificate_is_shown_by_what_listens_already_and_the_same_one_changes_nothing() {
        let mut showing = Showing::new([127, 0, 0, 1].into(), ServeMetrics::new());
        let (first, second) = (pem(), pem());
        let shown = showing.show(Some(first.clone()), "router", Vec::new()).unwrap();
        let before = shown.config();
        showing.show(Some(first), "router", vec!["127.0.0.1".into()]).unwrap();
        assert!(Arc::ptr_eq(&before, &shown.config()));
        let again = showing.show(Some(second.clone()), "router", Vec::new()).unwrap();
        assert!(Arc::ptr_eq(&again, &shown) && !Arc::ptr_eq(&before, &shown.config()));
        let after = shown.config();
        let unusable = Pem { key: "no key".into(), ..second };
        assert!(showing.show(Some(unusable), "router", Vec::new()).is_err());
        assert!(Arc::ptr_eq(&after, &shown.config()));
    }

    #[test]
    fn a_server_that_was_given_no_certificate_keeps_the_one_that_it_made() {
        let mut showing = Showing::new([127, 0, 0, 1].into(), ServeMetrics::new());
        let shown = showing.show(None, "router", Vec::new()).unwrap();
        let before = shown.config();
        showing.show(None, "router", Vec::new()).unwrap();
        assert!(Arc::ptr_eq(&before, &shown.config()));
    }
}
