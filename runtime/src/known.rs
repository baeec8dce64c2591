//! Peers that are known: [`KnownPeers`].
//!
//! Refuses to know by what they are: whoever starts a server says so, and may say otherwise at any time.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Says who is known by an address, and names that a certificate has proved, in small letters.
type Knows = dyn Fn(IpAddr, &[String]) -> bool + Send + Sync;

/// Who is known: a share of a server's connections is kept for them.
#[derive(Clone)]
pub struct KnownPeers(Arc<Knows>);

impl KnownPeers {
    /// Those of whom `knows` says so. It is asked when a connection comes, and once more when its TLS handshake has
    /// proved names.
    #[must_use]
    pub fn new(knows: impl Fn(IpAddr, &[String]) -> bool + Send + Sync + 'static) -> Self {
        KnownPeers(Arc::new(knows))
    }

    /// Everybody, so that nothing is kept for anybody.
    #[must_use]
    pub fn everybody() -> Self {
        KnownPeers::new(|_, _| true)
    }

    pub(crate) fn has(&self, address: IpAddr, names: &[String]) -> bool {
        (self.0)(address, names)
    }
}

impl fmt::Debug for KnownPeers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KnownPeers(..)")
    }
}
