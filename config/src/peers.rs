//! Whose call it is, by where it comes from: [`Prefix`], and the compiled form of all gateways.
//!
//! Decides which gateway answers to which address and to which name of a certificate: one address goes
//! before a prefix, and a longer prefix before a shorter one. Refuses to judge: of two gateways that claim
//! the same, the first one has it; whoever writes a directory tells the person who wrote them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Directory, Gateway};

/// Bits in front of an IPv4 address in IPv6 clothes, `::ffff:192.0.2.1` (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// All addresses that begin in the same way, written `192.0.2.0/24` (RFC 4632 section 3.1); a single one
/// is written without its length. An IPv4 address in IPv6 clothes is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

/// The text is neither an address nor a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address, nor a prefix such as 192.0.2.0/24")]
pub struct NoPrefix;

impl Prefix {
    /// The address, if there is only one.
    pub fn single(&self) -> Option<IpAddr> {
        (self.0.prefix_len() == self.0.max_prefix_len()).then(|| self.0.addr())
    }

    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The first of its addresses.
    pub fn first(&self) -> IpAddr {
        self.0.network()
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Prefix(IpNet::from(address.to_canonical()))
    }
}

impl From<IpNet> for Prefix {
    /// Bits behind the length do not count.
    fn from(net: IpNet) -> Self {
        let length = net.prefix_len();
        let plain = net.addr().to_canonical();
        let net = if plain.is_ipv4() && net.addr().is_ipv6() && length >= MAPPED_BITS {
            IpNet::new(plain, length - MAPPED_BITS).unwrap_or(net)
        } else {
            net
        };
        Prefix(net.trunc())
    }
}

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let single = text.parse::<IpAddr>().map(Prefix::from);
        single.or_else(|_| text.parse::<IpNet>().map(Prefix::from)).map_err(|_| NoPrefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => address.fmt(formatter),
            None => self.0.fmt(formatter),
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Gateways by what they call from. A lookup allocates nothing, and takes one step for an address and one
/// more for each length of prefix that any gateway has.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_address: Map<IpAddr, Arc<Gateway>>,
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
    /// By name, in small letters.
    by_name: Map<String, Arc<Gateway>>,
    /// Addresses of the cluster itself; empty where there is none.
    cluster: HashSet<IpAddr, RandomState>,
    /// Addresses of servers of ours.
    servers: HashSet<IpAddr, RandomState>,
}

/// Prefixes by their mask, the longest first; each by the bits under it.
#[derive(Debug)]
struct Prefixes<B>(Vec<(B, Map<B, Arc<Gateway>>)>);

/// Keys come from the configuration and from nobody who calls, so that a quick hash is good enough.
type Map<K, V> = HashMap<K, V, RandomState>;

impl<B> Default for Prefixes<B> {
    fn default() -> Self {
        Prefixes(Vec::new())
    }
}

impl<B: Copy + Eq + Ord + Hash + std::ops::BitAnd<Output = B>> Prefixes<B> {
    fn insert(&mut self, mask: B, bits: B, gateway: &Arc<Gateway>) {
        // A longer prefix has the larger mask.
        let place = match self.0.binary_search_by(|(other, _)| mask.cmp(other)) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (mask, Map::default()));
                place
            }
        };
        self.0[place].1.entry(bits).or_insert_with(|| Arc::clone(gateway));
    }

    fn get(&self, address: B) -> Option<&Gateway> {
        self.0.iter().find_map(|(mask, gateways)| gateways.get(&(address & *mask))).map(Arc::as_ref)
    }
}

impl Peers {
    pub(crate) fn compile(directory: &Directory) -> Peers {
        let cluster = directory.cluster.iter().map(IpAddr::to_canonical).collect();
        let servers = directory.mailbox_servers.iter().map(|server| server.address.to_canonical()).collect();
        let mut peers = Peers { cluster, servers, ..Peers::default() };
        for gateway in directory.gateways.iter().cloned().map(Arc::new) {
            for prefix in &gateway.addresses {
                peers.insert(prefix, &gateway);
            }
            if let Some(name) = &gateway.fqdn {
                let name = name.to_ascii_lowercase();
                peers.by_name.entry(name).or_insert_with(|| Arc::clone(&gateway));
            }
        }
        peers
    }

    fn insert(&mut self, prefix: &Prefix, gateway: &Arc<Gateway>) {
        match (prefix.single(), prefix.0) {
            (Some(address), _) => {
                self.by_address.entry(address).or_insert_with(|| Arc::clone(gateway));
            }
            (None, IpNet::V4(net)) => {
                self.v4.insert(net.netmask().to_bits(), net.network().to_bits(), gateway);
            }
            (None, IpNet::V6(net)) => {
                self.v6.insert(net.netmask().to_bits(), net.network().to_bits(), gateway);
            }
        }
    }

    /// The gateway that calls from `address`. What belongs to the cluster itself is a gateway only if it is
    /// named as such: a prefix around it says nothing, because anybody's calls may seem to come from there.
    pub(crate) fn at(&self, address: IpAddr) -> Option<&Gateway> {
        let address = address.to_canonical();
        if let Some(gateway) = self.by_address.get(&address) {
            return Some(gateway);
        }
        if self.cluster.contains(&address) {
            return None;
        }
        match address {
            IpAddr::V4(address) => self.v4.get(Ipv4Addr::to_bits(address)),
            IpAddr::V6(address) => self.v6.get(Ipv6Addr::to_bits(address)),
        }
    }

    /// The gateway that has one of these names, which are in small letters.
    pub(crate) fn named(&self, names: &[String]) -> Option<&Gateway> {
        names.iter().find_map(|name| self.by_name.get(name)).map(Arc::as_ref)
    }

    /// Whether `address` is that of a server of ours.
    pub(crate) fn is_server(&self, address: IpAddr) -> bool {
        self.servers.contains(&address.to_canonical())
    }

    /// In a cluster, the gateway of the network that a server is in belongs to the cluster itself as
    /// much as nodes do. Elsewhere it may be anybody.
    pub(crate) fn add_network_gateway(&mut self, address: IpAddr) {
        if !self.cluster.is_empty() {
            self.cluster.insert(address.to_canonical());
        }
    }

    /// Whether `address` belongs to the cluster itself.
    pub(crate) fn is_of_the_cluster(&self, address: IpAddr) -> bool {
        self.cluster.contains(&address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Prefix>().map_or_else(|error| error.to_string(), |prefix| prefix.to_string())
    }

    #[test]
    fn a_prefix_is_read_and_written_in_one_form() {
        for (text, form) in [
            ("192.0.2.10", "192.0.2.10"),
            ("192.0.2.10/32", "192.0.2.10"),
            ("192.0.2.10/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::ffff:192.0.2.10", "192.0.2.10"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            assert_eq!(shown(text), form, "{text}");
        }
        for text in ["", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "sbc.example.com", "192.0.2.0/24/8"] {
            assert_eq!(shown(text), NoPrefix.to_string(), "{text}");
        }
    }
}
