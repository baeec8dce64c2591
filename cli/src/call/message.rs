//! The SIP messages of a test call, written and read through `rsip`.
//!
//! Decides which headers each request of ours carries and how a response is matched and read.
//! Refuses to know order, time and sockets. `rsip` is another implementation than the one that
//! the servers speak, so every test call checks each against the other.

use std::net::SocketAddr;

use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader, UntypedHeader};
use rsip::{Header, Headers, Method, Request, Response, StatusCode, Uri, Version};

use super::plan::Transport;

/// Redirects and proxies that a request may pass (RFC 3261 section 8.1.1.6).
const MAX_FORWARDS: &str = "70";

/// What the requests of one call have in common.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The Call-ID of every leg.
    pub call_id: String,
    /// The caller's tag.
    pub from_tag: String,
    /// The user part of the caller's address.
    pub from_user: String,
    /// The number that the call was diverted from.
    pub diversion: Option<String>,
    /// Begins every branch of this call; random, so that calls differ.
    pub branch_seed: String,
}

/// One place that requests are sent to, and where it answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// How messages travel.
    pub transport: Transport,
    /// The far end.
    pub remote: SocketAddr,
    /// Our own end, as the far end sees it.
    pub local: SocketAddr,
}

/// The parts of a request that differ.
pub(crate) struct Parts<'a> {
    pub method: Method,
    pub uri: &'a Uri,
    pub to: &'a str,
    pub cseq: u32,
    pub branch: u32,
    pub body: Option<&'a str>,
}

/// Writes a request.
pub(crate) fn request(identity: &Identity, hop: &Hop, parts: &Parts<'_>) -> Vec<u8> {
    let Parts { method, uri, to, cseq, branch, body } = parts;
    let local = hop.local;
    let via = format!(
        "SIP/2.0/{} {local};branch=z9hG4bK{}-{branch};rport",
        hop.transport.via(),
        identity.branch_seed
    );
    let from = format!("<sip:{}@{}>;tag={}", identity.from_user, local.ip(), identity.from_tag);
    let contact = format!(
        "<sip:{}@{local};transport={}>",
        identity.from_user,
        hop.transport.via().to_ascii_lowercase()
    );
    let mut headers = Headers::default();
    headers.push(rsip::headers::Via::new(via).into());
    headers.push(rsip::headers::MaxForwards::new(MAX_FORWARDS).into());
    headers.push(rsip::headers::From::new(from).into());
    headers.push(rsip::headers::To::new(*to).into());
    headers.push(rsip::headers::CallId::new(identity.call_id.as_str()).into());
    headers.push(rsip::headers::CSeq::new(format!("{cseq} {method}")).into());
    if *method == Method::Invite {
        headers.push(rsip::headers::Contact::new(contact).into());
        headers.push(rsip::headers::Allow::new("INVITE, ACK, CANCEL, BYE, OPTIONS").into());
        if let Some(user) = &identity.diversion {
            let diversion = format!("<sip:{user}@{}>;reason=no-answer;privacy=off;screen=no", local.ip());
            headers.push(Header::Other("Diversion".into(), diversion));
        }
    }
    headers.push(rsip::headers::UserAgent::new(concat!("Umbriel-call/", env!("CARGO_PKG_VERSION"))).into());
    let body = body.unwrap_or_default();
    if !body.is_empty() {
        headers.push(rsip::headers::ContentType::new("application/sdp").into());
    }
    headers.push(rsip::headers::ContentLength::new(body.len().to_string()).into());
    Request {
        method: *method,
        uri: (*uri).clone(),
        version: Version::V2,
        headers,
        body: body.as_bytes().to_vec(),
    }
    .to_string()
    .into_bytes()
}

/// Answers a request of the far end.
pub(crate) fn answer(request: &Request, status: u16, phrase: &str) -> Vec<u8> {
    let mut headers = Headers::default();
    for header in request.headers().iter() {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a response copies five headers of rsip's sixty")]
        match header {
            Header::Via(_) | Header::From(_) | Header::To(_) | Header::CallId(_) | Header::CSeq(_) => {
                headers.push(header.clone());
            }
            _ => {}
        }
    }
    headers.push(rsip::headers::ContentLength::new("0").into());
    Response {
        status_code: StatusCode::Other(status, phrase.to_owned()),
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
    .to_string()
    .into_bytes()
}

/// What a response says that we act on.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub phrase: String,
    pub cseq: u32,
    pub method: Method,
    /// The whole `To`, with the far end's tag.
    pub to: String,
    /// Contacts, best first.
    pub contacts: Vec<Uri>,
    /// The `Reason` header.
    pub reason: Option<String>,
    pub body: String,
}

impl Reply {
    /// Reads a response of this call; `None` if it belongs to another one or lacks what it must have.
    pub(crate) fn read(response: &Response, phrase: String, identity: &Identity) -> Option<Self> {
        if response.call_id_header().ok()?.value() != identity.call_id {
            return None;
        }
        let cseq = response.cseq_header().ok()?.typed().ok()?;
        Some(Self {
            status: response.status_code.code(),
            phrase,
            cseq: cseq.seq,
            method: cseq.method,
            to: response.to_header().ok()?.value().to_owned(),
            contacts: contacts(response.headers()),
            reason: other(response.headers(), "Reason").map(str::to_owned),
            body: String::from_utf8_lossy(&response.body).into_owned(),
        })
    }
}

/// The reason phrase of a status line; `rsip` keeps none for the statuses that it knows.
pub(crate) fn phrase(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
}

/// The value of a header that `rsip` has no type for.
fn other<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find_map(|header| {
        if let Header::Other(own, value) = header
            && own.eq_ignore_ascii_case(name)
        {
            return Some(value.as_str());
        }
        None
    })
}

/// The addresses of all Contact headers, highest `q` first; a missing `q` counts as 1 (RFC 3261
/// section 20.10).
fn contacts(headers: &Headers) -> Vec<Uri> {
    let mut found: Vec<(u32, Uri)> = Vec::new();
    for header in headers.iter() {
        let Header::Contact(contact) = header else { continue };
        for part in split_commas(contact.value()) {
            let Ok(typed) = rsip::headers::Contact::new(escape_dots(part)).typed() else { continue };
            let q = typed.params.iter().find_map(|parameter| {
                if let rsip::Param::Q(q) = parameter { Some(thousandths(&q.to_string())) } else { None }
            });
            found.push((q.unwrap_or(1_000), typed.uri));
        }
    }
    found.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    found.into_iter().map(|(_, uri)| uri).collect()
}

/// A URI as `rsip` can read it: it takes a dot before the `@` for the end of a host, so dots are
/// written by their code, which means the same (RFC 3261 section 19.1.4).
pub(crate) fn escape_dots(text: &str) -> String {
    let Some(start) = text.find("sip:").map(|at| at + 4) else { return text.to_owned() };
    match text[start..].find(['@', '>', ';']) {
        Some(length) if text[start + length..].starts_with('@') => {
            let (user, rest) = text[start..].split_at(length);
            format!("{}{}{rest}", &text[..start], user.replace('.', "%2E"))
        }
        Some(_) | None => text.to_owned(),
    }
}

/// `0.5` as 500; `q` has at most three decimals (RFC 3261 section 25.1).
fn thousandths(q: &str) -> u32 {
    let (whole, decimals) = q.split_once('.').unwrap_or((q, ""));
    let decimals: String = decimals.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u32>().unwrap_or(1).min(1) * 1_000 + decimals.parse::<u32>().unwrap_or(0)
}

/// Splits a header value at the commas that are neither inside `<>` nor inside quotes.
fn split_commas(value: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut angle, mut quoted) = (false, false);
    for (at, character) in value.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                parts.push(value[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            call_id: "c1".into(),
            from_tag: "t1".into(),
            from_user: "200".into(),
            diversion: Some("101".into()),
            branch_seed: "seed".into(),
        }
    }

    #[test]
    fn an_invite_carries_what_a_pbx_would_send() {
        let hop = Hop {
            transport: Transport::Tcp,
            remote: "127.0.0.1:5060".parse().unwrap(),
            local: "127.0.0.1:4000".parse().unwrap(),
        };
        let uri = Uri::try_from("sip:101@127.0.0.1:5062;transport=tcp;um=k1.ab_c.d-e").unwrap();
        let parts = Parts {
            method: Method::Invite,
            uri: &uri,
            to: "<sip:101@127.0.0.1>",
            cseq: 2,
            branch: 3,
            body: Some("v=0\r\n"),
        };
        let text = String::from_utf8(request(&identity(), &hop, &parts)).unwrap();
        assert_eq!(
            text,
            "INVITE sip:101@127.0.0.1:5062;transport=TCP;um=k1.ab_c.d-e SIP/2.0\r\n\
             Via: SIP/2.0/TCP 127.0.0.1:4000;branch=z9hG4bKseed-3;rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:200@127.0.0.1>;tag=t1\r\n\
             To: <sip:101@127.0.0.1>\r\n\
             Call-ID: c1\r\n\
             CSeq: 2 INVITE\r\n\
             Contact: <sip:200@127.0.0.1:4000;transport=tcp>\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
             Diversion: <sip:101@127.0.0.1>;reason=no-answer;privacy=off;screen=no\r\n\
             User-Agent: Umbriel-call/0.1.0\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: 5\r\n\r\nv=0\r\n"
        );
    }

    #[test]
    fn contacts_are_tried_by_their_q_and_a_missing_one_counts_as_one() {
        let text = "SIP/2.0 302 Moved Temporarily\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKx\r\n\
                    From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\
                    Contact: <sip:x@10.0.0.2:5062>;q=0.5, \"a, b\" <sip:y@10.0.0.1:5062;um=k.p.m>\r\n\
                    Content-Length: 0\r\n\r\n";
        let response = Response::try_from(text).unwrap();
        let reply = Reply::read(&response, phrase(text.as_bytes()), &identity()).unwrap();
        let contacts: Vec<String> = reply.contacts.iter().map(Uri::to_string).collect();
        assert_eq!(contacts, ["sip:y@10.0.0.1:5062;um=k.p.m", "sip:x@10.0.0.2:5062"]);
        assert_eq!((reply.status, reply.phrase.as_str()), (302, "Moved Temporarily"));
    }

    #[test]
    fn a_user_with_dots_is_written_so_that_rsip_reads_it() {
        assert_eq!(escape_dots("<sip:j.d@h.example;x=a.b>"), "<sip:j%2Ed@h.example;x=a.b>");
        assert_eq!(escape_dots("sip:h.example;x=a@b"), "sip:h.example;x=a@b");
        assert_eq!(Uri::try_from(escape_dots("sip:j.d@h.example")).unwrap().user(), Some("j%2Ed"));
    }

    #[test]
    fn a_response_of_another_call_is_not_ours() {
        let text = "SIP/2.0 200 OK\r\nCall-ID: c2\r\nCSeq: 1 INVITE\r\nTo: <sip:c@d>\r\n\r\n";
        assert!(Reply::read(&Response::try_from(text).unwrap(), "OK".into(), &identity()).is_none());
    }
}
