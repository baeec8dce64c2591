//! Dialogs as the side that was called sees them (RFC 3261 section 12).
//!
//! Decides which requests belong to a dialog, whether they are in order, and where our own go and
//! through which proxies. Refuses to know what the requests do.

use std::net::SocketAddr;

use crate::reply::default_port;
use crate::{Flaw, HeaderError, Message, Name, NameAddr, Peer, Request, Scheme, Transport, Uri, unfold};

/// One dialog, made by an INVITE that we received.
#[derive(Debug)]
pub(crate) struct Dialog {
    call_id: String,
    /// Tag of the far end. None if it speaks RFC 2543 (RFC 3261 section 12.1.1).
    remote_tag: Option<String>,
    /// Our address as the far end wrote it, with our tag: `From` of our requests.
    local: String,
    /// The far end's address with its tag: `To` of our requests.
    remote: String,
    /// Where the far end wants our requests: the URI of its latest `Contact`.
    remote_target: String,
    /// Values of `Route`, nearest proxy first.
    route_set: Vec<String>,
    /// The greatest number that the far end has used.
    remote_cseq: u32,
    /// Number of our latest request.
    local_cseq: u32,
    /// Who sent the latest INVITE.
    peer: Peer,
}

/// How a request's number stands to those before it (RFC 3261 section 12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Newer,
    Same,
    Older,
}

impl Dialog {
    /// The dialog that `invite` makes if we answer with `local_tag` (RFC 3261 section 12.1.1).
    ///
    /// # Errors
    /// [`HeaderError`] if a header that makes a dialog is missing or malformed.
    pub(crate) fn from_invite(
        invite: &Message<'_>,
        local_tag: &str,
        peer: Peer,
    ) -> Result<Dialog, HeaderError> {
        let from = header(invite, Name::From)?;
        let to = header(invite, Name::To)?;
        let mut route_set = Vec::new();
        for value in invite.values(Name::RecordRoute) {
            sip_address(value, Name::RecordRoute)?;
            route_set.push(unfold(value).into_owned());
        }
        Ok(Dialog {
            call_id: invite.call_id()?.to_owned(),
            remote_tag: invite.from()?.tag().map(str::to_owned),
            local: format!("{to};tag={local_tag}"),
            remote: from,
            remote_target: contact(invite)?.to_owned(),
            route_set,
            remote_cseq: invite.cseq()?.number,
            local_cseq: 0,
            peer,
        })
    }

    /// Whether a request with our tag in `To` belongs here (RFC 3261 section 12.2.2).
    pub(crate) fn owns(&self, request: &Message<'_>) -> bool {
        request.call_id() == Ok(self.call_id.as_str())
            && request.from().is_ok_and(|from| from.tag() == self.remote_tag.as_deref())
    }

    /// Where `number` stands in the order of the far end's requests.
    pub(crate) fn order(&self, number: u32) -> Order {
        match number.cmp(&self.remote_cseq) {
            std::cmp::Ordering::Greater => Order::Newer,
            std::cmp::Ordering::Equal => Order::Same,
            std::cmp::Ordering::Less => Order::Older,
        }
    }

    /// Notes the number of a request that was in order.
    pub(crate) fn advance(&mut self, number: u32) {
        self.remote_cseq = self.remote_cseq.max(number);
    }

    /// Takes the far end's new target from a re-INVITE (RFC 3261 section 12.2.2), and the connection
    /// by which it came.
    ///
    /// # Errors
    /// [`HeaderError`] if its `Contact` is missing or malformed; nothing is changed then.
    pub(crate) fn refresh(&mut self, reinvite: &Message<'_>, peer: Peer) -> Result<(), HeaderError> {
        contact(reinvite)?.clone_into(&mut self.remote_target);
        self.peer = peer;
        Ok(())
    }

    /// Begins a request of ours: request line, `Route`, `Max-Forwards`, `From`, `To`, `Call-ID` and
    /// `CSeq` (RFC 3261 section 12.2.1.1). The caller puts `via` together for [`Dialog::next_hop`].
    pub(crate) fn request<'o>(&mut self, method: &str, via: &str, out: &'o mut Vec<u8>) -> Request<'o> {
        self.local_cseq += 1;
        let strict = self.route_set.first().is_some_and(|route| !is_loose(route));
        let (uri, skipped) = match self.route_set.first() {
            Some(route) if strict => (uri_of(route), 1),
            Some(_) | None => (self.remote_target.as_str(), 0),
        };
        let mut request = Request::new(method, uri, out).header("Via", via);
        for route in self.route_set.iter().skip(skipped) {
            request = request.header("Route", route);
        }
        if strict {
            // A strict router wants the target behind the route set.
            request = request.header_args("Route", format_args!("<{}>", self.remote_target));
        }
        request
            .header("Max-Forwards", "70")
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.call_id)
            .header_args("CSeq", format_args!("{} {method}", self.local_cseq))
    }

    /// Where a request of ours goes: to the first proxy or else the target, where that is an IP
    /// address (RFC 3261 section 12.2.1.1), and else back to where the INVITE came from, because names
    /// are not looked up here. An INVITE that came by a connection keeps it for our requests; the
    /// address is then for the case that it is gone.
    pub(crate) fn next_hop(&self) -> Peer {
        let hop = self.route_set.first().map_or(self.remote_target.as_str(), |route| uri_of(route));
        match address_of(hop) {
            Some(hop) if self.peer.transport.is_reliable() => Peer { address: hop.address, ..self.peer },
            Some(hop) => hop,
            None => self.peer,
        }
    }
}

/// The far end of a URI whose host is an address that can be sent to.
fn address_of(uri: &str) -> Option<Peer> {
    let uri = Uri::parse(uri).ok()?;
    let ip = uri.host?.ip().filter(|ip| !ip.is_unspecified() && !ip.is_multicast())?;
    let transport = match (uri.scheme, uri.param("transport")) {
        (Scheme::Sips, _) => Transport::Tls,
        (Scheme::Sip, None) => Transport::Udp,
        (Scheme::Sip, Some(name)) => [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|transport| name.eq_ignore_ascii_case(transport.uri_parameter()))?,
        (Scheme::Tel | Scheme::Other, _) => return None,
    };
    let port = uri.port.unwrap_or(default_port(transport));
    (port != 0).then(|| Peer { transport, address: SocketAddr::new(ip, port), connection: None })
}

/// Whether a `Route` value names a loose router (RFC 3261 section 19.1.1, `lr`).
fn is_loose(route: &str) -> bool {
    NameAddr::parse(route).is_ok_and(|route| route.uri.param("lr").is_some())
}

fn uri_of(route: &str) -> &str {
    NameAddr::parse(route).map_or(route, |route| route.uri.text)
}

fn header(message: &Message<'_>, name: Name) -> Result<String, HeaderError> {
    message.header(name).map(|value| unfold(value).into_owned()).ok_or(HeaderError::Missing(name))
}

/// The URI of the one `Contact` that an INVITE has (RFC 3261 section 8.1.1.8).
fn contact<'a>(message: &Message<'a>) -> Result<&'a str, HeaderError> {
    let value = message.values(Name::Contact).next().ok_or(HeaderError::Missing(Name::Contact))?;
    sip_address(value, Name::Contact)
}

fn sip_address(value: &str, name: Name) -> Result<&str, HeaderError> {
    let address = NameAddr::parse(value).map_err(|flaw| HeaderError::Malformed(name, flaw))?;
    match address.uri.scheme {
        Scheme::Sip | Scheme::Sips => Ok(address.uri.text),
        Scheme::Tel | Scheme::Other => Err(HeaderError::Malformed(name, Flaw::Word)),
    }
}
