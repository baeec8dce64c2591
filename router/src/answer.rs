//! Where a 302 leads.
//!
//! Decides the shape of Contact: the called user as it was written, the mailbox server's address and
//! port, the caller's transport where the server has it, and the signed token that carries the
//! decision (decision 10).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use config::token::{Claims, WINDOW_S, sign};
use config::{Code, Listeners, MailboxServer, Route, VoIPSecurity};
use sip::{Message, Scheme, Transport};

use crate::refuse::Refused;
use crate::router::Pieces;
use crate::snapshot::Snapshot;

/// The parameter of Contact's URI that carries the token.
pub(crate) const TOKEN_PARAMETER: &str = "um";

/// Writes the Contacts of a call that was accepted.
pub(crate) fn contacts(
    snapshot: &Snapshot,
    route: &Route<'_>,
    claims: &Claims<'_>,
    request: &Message<'_>,
    call: &config::Call<'_>,
    now_unix_s: u64,
    pieces: &mut Pieces,
) -> Result<(), Refused> {
    let uri = request.request_uri();
    let secure = uri.is_some_and(|uri| uri.scheme == Scheme::Sips)
        || match route.dial_plan.voip_security {
            VoIPSecurity::SIPSecured | VoIPSecurity::Secured => true,
            VoIPSecurity::Unsecured => false,
        };
    let caller = match call.transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    };
    let Pieces { token, contacts, .. } = pieces;
    token.clear();
    sign(&snapshot.keys, claims, call.call_id, now_unix_s, token).map_err(|error| {
        Refused::new(Code::InternalError, format!("the redirect cannot be signed: {error}"))
    })?;
    let user = uri.and_then(|uri| uri.user).unwrap_or(route.purpose.number());
    let way = |server: &MailboxServer| {
        let (transport, port) = way_in(&server.listeners, caller, secure)?;
        Some((SocketAddr::new(server.address, port), transport))
    };
    let (first, sibling) = (way(route.server), route.sibling.and_then(way));
    let (weight, sibling_weight) = if sibling.is_some() { (";q=1.0", ";q=0.5") } else { ("", "") };
    // The sibling alone is better than nobody, and then it has no other to be compared with.
    let (ways, weights) = match first {
        Some(_) => ([first, sibling], [weight, sibling_weight]),
        None => ([sibling, None], [sibling_weight, ""]),
    };
    if ways[0].is_none() {
        return Err(no_way_in(route, secure));
    }
    for ((contact, way), weight) in contacts.iter_mut().zip(ways).zip(weights) {
        contact.clear();
        if let Some((host, transport)) = way {
            write_contact(contact, user, host, transport, token, weight);
        }
    }
    Ok(())
}

fn no_way_in(route: &Route<'_>, secure: bool) -> Refused {
    let asked = if secure { "a TLS listener" } else { "any listener" };
    Refused::new(
        Code::NoMailboxServer,
        format!("mailbox server {} has not {asked}; look at its ports and umStartupMode", route.server.name),
    )
}

/// The transport and port by which a server is called: the caller's own, or the next best.
fn way_in(listeners: &Listeners, caller: Transport, secure: bool) -> Option<(Transport, u16)> {
    let port = |transport| match transport {
        Transport::Udp => listeners.udp,
        Transport::Tcp => listeners.tcp,
        Transport::Tls => listeners.tls,
    };
    let order: &[Transport] = match caller {
        _ if secure => &[Transport::Tls],
        Transport::Udp => &[Transport::Udp, Transport::Tcp, Transport::Tls],
        Transport::Tcp => &[Transport::Tcp, Transport::Tls, Transport::Udp],
        Transport::Tls => &[Transport::Tls, Transport::Tcp, Transport::Udp],
    };
    order.iter().find_map(|transport| port(*transport).map(|port| (*transport, port)))
}

/// `<sip:USER@HOST:PORT;transport=T;um=TOKEN>;q=Q;expires=S`. A redirect may be remembered for as
/// long as its token surely lives (RFC 3261 section 8.3).
fn write_contact(
    contact: &mut String,
    user: &str,
    host: SocketAddr,
    transport: Transport,
    token: &str,
    weight: &str,
) {
    contact.push_str("<sip:");
    push_user(contact, user);
    contact.push('@');
    push_host(contact, host);
    let transport = transport.uri_parameter();
    for piece in [";transport=", transport, ";", TOKEN_PARAMETER, "=", token, ">", weight, ";expires="] {
        contact.push_str(piece);
    }
    contact.push_str(itoa::Buffer::new().format(WINDOW_S));
}

/// Writes an address and its port.
fn push_host(contact: &mut String, host: SocketAddr) {
    let mut digits = itoa::Buffer::new();
    match host.ip() {
        IpAddr::V4(ip) => {
            for (number, octet) in ip.octets().into_iter().enumerate() {
                contact.push_str(if number > 0 { "." } else { "" });
                contact.push_str(digits.format(octet));
            }
        }
        // Writing to a String cannot fail.
        IpAddr::V6(ip) => drop(write!(contact, "[{ip}]")),
    }
    contact.push(':');
    contact.push_str(digits.format(host.port()));
}

/// Copies a user part; what may not stand in one is escaped (RFC 3261 section 25.1), as a number of
/// a tel URI may hold a `#`. Escapes stay.
fn push_user(contact: &mut String, user: &str) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte);
    if user.bytes().all(fits) {
        return contact.push_str(user);
    }
    for byte in user.bytes() {
        if fits(byte) {
            contact.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(contact, "%{byte:02X}");
        }
    }
}
