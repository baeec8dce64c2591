//! The gateway of the network that this process is in: [`gateway`].
//!
//! Decides who stands between this process and everybody else, as the kernel's routes say. Callers
//! never sit there; what seems to come from it had another address before.

use std::net::{IpAddr, Ipv4Addr};

/// The kernel's IPv4 routes: a heading, and one route a line.
const ROUTES: &str = "/proc/net/route";

/// The gateway of the default route, if there is one.
#[must_use]
pub fn gateway() -> Option<IpAddr> {
    default_of(&std::fs::read_to_string(ROUTES).ok()?)
}

/// The columns are interface, destination, gateway and more; addresses are numbers as the machine
/// holds them in memory, in hexadecimal digits.
fn default_of(routes: &str) -> Option<IpAddr> {
    routes.lines().skip(1).find_map(|route| {
        let mut columns = route.split_whitespace().skip(1);
        let (destination, gateway) = (address(columns.next()?)?, address(columns.next()?)?);
        (destination.is_unspecified() && !gateway.is_unspecified()).then_some(IpAddr::V4(gateway))
    })
}

fn address(digits: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(digits, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    /// What a route says of 10.244.0.1 on this machine.
    fn digits() -> String {
        format!("{:08X}", u32::from_ne_bytes([10, 244, 0, 1]))
    }

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let routes = format!(
            "{HEADING}eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             eth0\t00000000\t{}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
            digits()
        );
        assert_eq!(default_of(&routes), Some(IpAddr::from([10, 244, 0, 1])));
    }

    #[test]
    fn without_a_default_route_there_is_none() {
        let elsewhere = format!("{HEADING}eth0\t0000F40A\t{}\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n", digits());
        let on_the_link = format!("{HEADING}eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n");
        for routes in ["", HEADING, "x\ny", elsewhere.as_str(), on_the_link.as_str()] {
            assert_eq!(default_of(routes), None, "{routes}");
        }
    }
}
