//! Hosts and ports, as URIs and `Via` write them (RFC 3261 section 25.1).
//!
//! Decides what is an address, what is a name and what is neither. Refuses to resolve names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lex::{are_all, cut, decimal, kind, run};
use crate::uri::UriError;

/// The host of a URI or of a `Via`'s sent-by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name, as written.
    HostName(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl Host<'_> {
    /// The address, unless it is a name.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::HostName(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::HostName(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Reads `host[:port]`, with an IPv6 address in brackets.
pub(crate) fn parse_hostport(text: &str) -> Result<(Host<'_>, Option<u16>), UriError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(UriError::Host)?;
        let host = Host::V6(parse_v6(address).ok_or(UriError::Host)?);
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return Err(UriError::Host),
        }
    } else {
        let (host, port) = cut(text, b':').map_or((text, None), |(host, port)| (host, Some(port)));
        (parse_name_or_v4(host)?, port)
    };
    let port = port.map(parse_port).transpose()?;
    Ok((host, port))
}

/// The host and the port in front of `text`, and what is behind them: a name or an IPv4 address.
pub(crate) fn split_hostport(text: &str) -> Option<(Host<'_>, Option<u16>, &str)> {
    let (host, mut rest) = text.split_at(run(text, kind::HOST_NAME));
    let mut port = None;
    if let Some(behind) = rest.strip_prefix(':') {
        let (digits, behind) = behind.split_at(run(behind, kind::HOST_NAME));
        (port, rest) = (Some(parse_port(digits).ok()?), behind);
    }
    Some((parse_name_or_v4(host).ok()?, port, rest))
}

pub(crate) fn parse_port(text: &str) -> Result<u16, UriError> {
    decimal(text).and_then(|port| u16::try_from(port).ok()).ok_or(UriError::Port)
}

pub(crate) fn parse_name_or_v4(text: &str) -> Result<Host<'_>, UriError> {
    // A name ends in a letter (RFC 3261 section 25.1, toplabel), but not all do.
    if text.as_bytes().last().is_some_and(u8::is_ascii_digit)
        && let Some(address) = parse_v4(text.as_bytes())
    {
        return Ok(Host::V4(address));
    }
    if text.is_empty() || !are_all(text, kind::HOST_NAME) {
        return Err(UriError::Host);
    }
    Ok(Host::HostName(text))
}

/// Reads four numbers with dots between them, as the standard library does: none has a leading zero,
/// which some read as octal. Every message has half a dozen of them, and a reader of every form of address
/// takes its time.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut address, mut rest) = (0, text);
    for number in 0..4 {
        if number > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (octet, digits) = octet(rest)?;
        (address, rest) = (address << 8 | octet, &rest[digits..]);
    }
    rest.is_empty().then(|| Ipv4Addr::from(address))
}

/// The octet in front, and how many digits it is written with.
fn octet(text: &[u8]) -> Option<(u32, usize)> {
    let digit =
        |at: usize| text.get(at).map(|byte| u32::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit <= 9);
    let first = digit(0)?;
    // Behind a zero no digit may stand.
    let Some(second) = digit(1).filter(|_| first > 0) else { return Some((first, 1)) };
    let Some(third) = digit(2) else { return Some((first * 10 + second, 2)) };
    Some((first * 100 + second * 10 + third, 3)).filter(|(octet, _)| *octet <= 255)
}

/// Reads an IPv6 address without brackets. `:::` in front of an IPv4 address is taken for `::`, because
/// RFC 3261's grammar made implementations write it (RFC 5118 section 4.10, put right by RFC 5954).
pub(crate) fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let Some((before, after)) = text.split_once(":::") else {
        return text.parse().ok();
    };
    after.parse::<Ipv4Addr>().ok()?;
    // The longest IPv6 address has 45 characters (INET6_ADDRSTRLEN less its NUL).
    let mut buffer = [0_u8; 45];
    let mut length = 0;
    for part in [before, "::", after] {
        buffer.get_mut(length..length + part.len())?.copy_from_slice(part.as_bytes());
        length += part.len();
    }
    std::str::from_utf8(buffer.get(..length)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ipv4_address_has_four_numbers_without_leading_zeros() {
        for (text, address) in
            [("0.0.0.0", [0; 4]), ("255.255.255.255", [255; 4]), ("10.0.200.9", [10, 0, 200, 9])]
        {
            assert_eq!(parse_v4(text.as_bytes()), Some(Ipv4Addr::from(address)));
        }
        for text in [
            "",
            ".",
            "1",
            "1.2.3",
            "1.2.3.",
            ".1.2.3",
            "1.2.3.4.",
            "1.2.3.4.5",
            "1..2.3",
            "01.2.3.4",
            "1.2.3.00",
            "256.1.1.1",
            "1.2.3.-4",
            "1.2.3.4 ",
        ] {
            assert_eq!(parse_v4(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_read_as_the_standard_library_reads_it(text in "[0-9.]{0,16}", octets in any::<[u8; 4]>()) {
            prop_assert_eq!(parse_v4(text.as_bytes()), text.parse().ok());
            let address = Ipv4Addr::from(octets);
            prop_assert_eq!(parse_v4(address.to_string().as_bytes()), Some(address));
        }
    }
}
