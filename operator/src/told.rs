//! [`Told`]: what the servers of a namespace were told last, as far as the next plan follows from it.
//!
//! Decides what of a site part somebody looks at again, so that nobody keeps thousands of gateways and
//! hunt groups in memory for that. Refuses to know the bytes of a part.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::parts::SitePart;
use config::{Gateway, MailboxServer, Prefix};

use crate::shared::Shared;

/// What servers were told last of each gateway that is known by a name: that name, and its addresses.
pub(crate) type Names = BTreeMap<String, (String, Vec<Prefix>)>;

/// What the servers of a namespace were told last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Mailbox servers whose address is known, whether in service or not.
    pub servers: Vec<MailboxServer>,
    /// Who hosts each database.
    pub hosts: Vec<String>,
    /// Addresses of the cluster itself.
    pub cluster: Vec<IpAddr>,
    /// Gateways that are known by a name.
    pub(crate) names: Shared<Names>,
}

impl Told {
    /// What a part says.
    pub fn of(site: &SitePart) -> Told {
        let directory = &site.directory;
        Told {
            servers: directory.mailbox_servers.clone(),
            hosts: directory.hosts.clone(),
            cluster: directory.cluster.clone(),
            names: names(&directory.gateways).collect::<Names>().into(),
        }
    }
}

/// What is told of those of `gateways` that are known by a name.
pub(crate) fn names(gateways: &[Gateway]) -> impl Iterator<Item = (String, (String, Vec<Prefix>))> {
    let named = |gateway: &Gateway| {
        let name = gateway.fqdn.clone()?;
        Some((gateway.name.clone(), (name, gateway.addresses.clone())))
    };
    gateways.iter().filter_map(named)
}
