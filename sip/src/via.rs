//! One hop of a `Via` header (RFC 3261 section 20.42, RFC 3581).
//!
//! Decides how protocol, sent-by and parameters are told apart, with white space wherever the grammar
//! lets it stand. Refuses to know where a response goes.

use std::net::IpAddr;

use crate::header::Flaw;
use crate::host::{Host, parse_hostport, parse_port, parse_v6, split_hostport};
use crate::lex::{cut, is_space, is_token, kind, position, run, trim};
use crate::params::Params;
use crate::uri::UriError;

/// What a `Via` says about the port to answer to (RFC 3581).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// No `rport` parameter.
    Absent,
    /// `rport` without a value: the sender asks for the port that we see.
    Asked,
    /// `rport` with a value.
    Port(u16),
}

/// One hop of a `Via` header (RFC 3261 section 20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS` or any other token.
    pub transport: &'a str,
    /// Host of sent-by.
    pub host: Host<'a>,
    /// Port of sent-by, where one is written.
    pub port: Option<u16>,
    /// The `branch` parameter.
    pub branch: Option<&'a str>,
    /// The `received` parameter, where it is an address. IPv6 may stand in brackets (RFC 5118
    /// section 4.5).
    pub received: Option<IpAddr>,
    /// The `rport` parameter.
    pub rport: Rport,
    /// All parameters.
    pub params: Params<'a>,
    /// Whether `received` is one of them, an address or not.
    pub(crate) has_received: bool,
}

impl<'a> Via<'a> {
    /// Reads one value of a `Via` header.
    ///
    /// # Errors
    ///
    /// [`Flaw`] says which part does not follow the grammar.
    pub fn parse(text: &'a str) -> Result<Via<'a>, Flaw> {
        Self::parse_plain(text).map_or_else(|| Self::parse_any(text), Ok)
    }

    /// What nearly all of them are, read in one go: `SIP/2.0/transport host[:port][;rport];branch=token[;rport]`.
    /// `None` for all others, be they right or not.
    pub(crate) fn parse_plain(text: &'a str) -> Option<Via<'a>> {
        let rest = text.strip_prefix("SIP/2.0/")?;
        let (transport, rest) = rest.split_at(run(rest, kind::TOKEN));
        let rest = rest.strip_prefix(' ').filter(|_| !transport.is_empty())?;
        let (host, port, params) = split_hostport(rest)?;
        let behind = params.strip_prefix(";rport").filter(|rest| rest.starts_with(';'));
        let (branch, rest) = Params::read_token(behind.unwrap_or(params), "branch")?;
        let rport = match (behind, rest) {
            (None, "") => Rport::Absent,
            (Some(_), "") | (None, ";rport") => Rport::Asked,
            (_, _) => return None,
        };
        let (branch, params) = (Some(branch), Params::known(params));
        let (received, has_received) = (None, false);
        Some(Via { transport, host, port, branch, received, rport, params, has_received })
    }

    fn parse_any(text: &'a str) -> Result<Via<'a>, Flaw> {
        let rest = match text.strip_prefix("SIP/2.0/") {
            Some(rest) => trim(rest),
            None => behind_protocol(text).ok_or(Flaw::Protocol)?,
        };
        let (transport, rest) = rest.split_at(rest.bytes().position(is_space).ok_or(Flaw::Protocol)?);
        if !is_token(transport) {
            return Err(Flaw::Protocol);
        }
        let (sent_by, params) = rest.split_at(position(rest.as_bytes(), b';').unwrap_or(rest.len()));
        let (host, port) = parse_sent_by(trim(sent_by))?;
        let params = Params::parse(params)?;
        let (mut rport, mut branch, mut received, mut has_received) = (Rport::Absent, None, None, false);
        // No name stands twice in parameters that could be read.
        for (name, value) in params.iter() {
            if name.eq_ignore_ascii_case("branch") {
                branch = Some(value.unwrap_or("")).filter(|branch| is_token(branch));
                branch.ok_or(Flaw::Parameter)?;
            } else if name.eq_ignore_ascii_case("rport") {
                rport = match value.unwrap_or("") {
                    "" => Rport::Asked,
                    port => Rport::Port(parse_port(port).map_err(|_| Flaw::Parameter)?),
                };
            } else if name.eq_ignore_ascii_case("received") {
                (received, has_received) = (value.and_then(parse_received), true);
            }
        }
        Ok(Via { transport, host, port, branch, received, rport, params, has_received })
    }
}

/// What stands behind protocol and version, in any of their spellings.
fn behind_protocol(text: &str) -> Option<&str> {
    let (protocol, rest) = cut(text, b'/')?;
    let (version, rest) = cut(rest, b'/')?;
    let is_sip = trim(protocol).eq_ignore_ascii_case("SIP") && trim(version) == "2.0";
    is_sip.then(|| trim(rest))
}

/// `host [COLON port]`, where white space may stand around the colon.
fn parse_sent_by(text: &str) -> Result<(Host<'_>, Option<u16>), Flaw> {
    if !text.bytes().any(is_space) {
        return Ok(parse_hostport(text)?);
    }
    let (host, port) = text.rsplit_once(':').ok_or(Flaw::Uri(UriError::Host))?;
    let (host, no_port) = parse_hostport(trim(host))?;
    match no_port {
        None => Ok((host, Some(parse_port(trim(port))?))),
        Some(_) => Err(Flaw::Uri(UriError::Host)),
    }
}

fn parse_received(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(text) => parse_v6(text).map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_hop_is_read_as_any_other_is(
            host in "[ a1.\\[]{0,9}(:[0-9a]{0,5})?", params in "(;(branch|rport|received)?=?[a1;=, ]{0,4}){0,3}",
            rport in 0..3_usize,
        ) {
            let text = format!("SIP/2.0/UDP {host}{params}");
            if let Some(plain) = Via::parse_plain(&text) {
                prop_assert_eq!(Ok(plain), Via::parse_any(&text));
            }
            let rport = ["", ";rport", ""].get(rport..rport + 2).unwrap_or(&["", ""]).join(";branch=z9hG4bK1");
            let text = format!("SIP/2.0/TCP 192.0.2.1:5070{rport}");
            let plain = Via::parse_plain(&text);
            prop_assert_eq!(plain.is_some(), !rport.is_empty());
            prop_assert!(plain.is_none() || plain == Via::parse_any(&text).ok());
        }
    }

    #[test]
    fn every_part_of_a_hop_is_found() {
        let via =
            Via::parse("SIP/2.0/TCP pbx.example.com:5070;branch=z9hG4bK7;received=192.0.2.9;rport=99;ttl=1")
                .unwrap();
        assert_eq!(
            (via.transport, via.host, via.port),
            ("TCP", Host::HostName("pbx.example.com"), Some(5070))
        );
        assert_eq!((via.branch, via.rport), (Some("z9hG4bK7"), Rport::Port(99)));
        assert_eq!(via.received, Some("192.0.2.9".parse().unwrap()));
        assert_eq!(via.params.get("TTL"), Some("1"));
    }

    #[test]
    fn white_space_may_stand_between_the_parts() {
        let via = Via::parse("SIP  / 2.0\r\n / UDP\t[2001:db8::1] : 5070 ;\r\n branch = a ; rport").unwrap();
        assert_eq!((via.transport, via.port, via.branch), ("UDP", Some(5070), Some("a")));
        assert_eq!(via.host.to_string(), "[2001:db8::1]");
        assert_eq!(via.rport, Rport::Asked);
    }

    #[test]
    fn what_is_no_hop_is_refused() {
        for (text, flaw) in [
            ("", Flaw::Protocol),
            ("SIP/2.0/UDP", Flaw::Protocol),
            ("SIP/3.0/UDP a", Flaw::Protocol),
            ("HTTP/2.0/UDP a", Flaw::Protocol),
            ("SIP/2.0/U@P a", Flaw::Protocol),
            ("SIP/2.0/UDP ;branch=a", Flaw::Uri(UriError::Host)),
            ("SIP/2.0/UDP a b", Flaw::Uri(UriError::Host)),
            ("SIP/2.0/UDP a:1 : 2", Flaw::Uri(UriError::Host)),
            ("SIP/2.0/UDP a:", Flaw::Uri(UriError::Port)),
            ("SIP/2.0/UDP a;branch", Flaw::Parameter),
            ("SIP/2.0/UDP a;branch=a:b", Flaw::Parameter),
            ("SIP/2.0/UDP a;rport=x", Flaw::Parameter),
            ("SIP/2.0/UDP a;;", Flaw::Parameter),
        ] {
            assert_eq!(Via::parse(text), Err(flaw), "{text}");
        }
    }
}
