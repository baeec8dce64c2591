//! The call that is placed over and over: an INVITE with an offer and a Diversion, and the ACK that
//! ends it.
//!
//! Decides what is written and what a reply must hold. Refuses to know sockets, and the SIP code of
//! the server: what it says is read by other code than its own.

use std::net::SocketAddr;
use std::ops::Range;

use memchr::memchr;
use memchr::memmem::find;

/// Where users begin: user `n` has the extension `FIRST_EXTENSION + n`, always of [`DIGITS`] digits.
pub(crate) const FIRST_EXTENSION: u32 = 100_000;

/// Digits of an extension.
pub(crate) const DIGITS: usize = 6;

/// Hexadecimal digits of a call's number.
const NUMBER: usize = 16;

/// In the template, what the extension and the number are written over.
const EXTENSION_HERE: &str = "######";
const NUMBER_HERE: &str = "@@@@@@@@@@@@@@@@";

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// An INVITE with room for an extension and a number, and the ACK of its answer.
pub(crate) struct Template {
    invite: Vec<u8>,
    extensions: Vec<usize>,
    numbers: Vec<usize>,
    /// What the ACK has in common with the INVITE: from behind the method to the end of From, the
    /// To, and the Call-ID.
    head: Range<usize>,
    to: Range<usize>,
    call_id: Range<usize>,
}

/// A call of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) extension: u32,
}

/// What a reply says of the call that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    /// The number in the branch of its Via.
    pub(crate) number: u64,
    /// Whether it is a 302 with that number in Call-ID too.
    pub(crate) redirects: bool,
    /// The user of its first Contact.
    pub(crate) contact: Option<&'a [u8]>,
    /// The tag of its To.
    pub(crate) tag: &'a [u8],
}

impl Template {
    /// Calls from `from` to a server.
    pub(crate) fn new(transport: Transport, from: SocketAddr, server: SocketAddr) -> Template {
        let host = from.ip();
        let sdp = format!(
            "v=0\r\no=gateway 8124 2213 IN IP4 {host}\r\ns=call\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio 18290 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"
        );
        let invite = format!(
            "INVITE sip:{EXTENSION_HERE}@{server} SIP/2.0\r\n\
             Via: SIP/2.0/{via} {from};branch=z9hG4bK{NUMBER_HERE}\r\n\
             Max-Forwards: 70\r\n\
             From: \"A Caller\" <sip:5550100@{host}>;tag={NUMBER_HERE}\r\n\
             To: <sip:{EXTENSION_HERE}@{ip}>\r\n\
             Call-ID: {NUMBER_HERE}@{host}\r\n\
             CSeq: 101 INVITE\r\n\
             Contact: <sip:5550100@{from};transport={transport}>\r\n\
             Diversion: <sip:{EXTENSION_HERE}@{ip}>;reason=no-answer;privacy=off;counter=1\r\n\
             Allow: INVITE, OPTIONS, BYE, CANCEL, ACK, PRACK, UPDATE, REFER, NOTIFY, INFO\r\n\
             User-Agent: gateway\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{sdp}",
            via = transport.name().to_uppercase(),
            transport = transport.name(),
            ip = server.ip(),
            length = sdp.len(),
        )
        .into_bytes();
        let places = |what: &str| memchr::memmem::find_iter(&invite, what).collect();
        let (extensions, numbers) = (places(EXTENSION_HERE), places(NUMBER_HERE));
        let line = |name: &str| {
            let start = find(&invite, format!("\r\n{name}: ").as_bytes()).map_or(0, |at| at + 2);
            start..start + find(&invite[start..], b"\r\n").unwrap_or(0)
        };
        let (head, to, call_id) = ("INVITE".len()..line("From").end + 2, line("To"), line("Call-ID"));
        Template { invite, extensions, numbers, head, to, call_id }
    }

    /// Bytes of an INVITE.
    pub(crate) fn invite_bytes(&self) -> usize {
        self.invite.len()
    }

    /// Appends the INVITE of a call.
    pub(crate) fn invite(&self, call: Call, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.invite);
        let invite = &mut out[start..];
        for at in &self.extensions {
            invite[*at..at + DIGITS].copy_from_slice(&digits(call.extension));
        }
        let number = hexadecimal(call.number);
        for at in &self.numbers {
            invite[*at..at + NUMBER].copy_from_slice(&number);
        }
    }

    /// Appends the ACK of a call's answer, which had this tag.
    pub(crate) fn ack(&self, call: Call, tag: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        self.invite(call, out);
        let end = out.len();
        out.extend_from_slice(b"ACK");
        let of = |range: &Range<usize>| start + range.start..start + range.end;
        out.extend_from_within(of(&self.head));
        out.extend_from_within(of(&self.to));
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(tag);
        out.extend_from_slice(b"\r\n");
        out.extend_from_within(of(&self.call_id));
        out.extend_from_slice(b"\r\nCSeq: 101 ACK\r\nContent-Length: 0\r\n\r\n");
        let length = out.len() - end;
        out.copy_within(end.., start);
        out.truncate(start + length);
    }
}

/// The user of an extension, as it is written.
pub(crate) fn digits(extension: u32) -> [u8; DIGITS] {
    let (mut text, mut rest) = ([b'0'; DIGITS], extension);
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    text
}

fn hexadecimal(number: u64) -> [u8; NUMBER] {
    let (mut text, mut rest) = ([b'0'; NUMBER], number);
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::try_from(rest & 15).unwrap_or(0)];
        rest >>= 4;
    }
    text
}

fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text.get(..NUMBER)?).ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// Reads a reply; `None` if it names no call of ours.
pub(crate) fn read(bytes: &[u8]) -> Option<Reply<'_>> {
    let (mut branch, mut call_id, mut contact, mut tag) = (None, None, None, &b""[..]);
    let mut rest = bytes;
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        match line {
            [b'V', b'i', b'a', b':', value @ ..] => {
                branch = branch.or_else(|| number(&value[find(value, b"branch=z9hG4bK")? + 14..]));
            }
            [b'C', b'a', b'l', b'l', b'-', b'I', b'D', b':', b' ', value @ ..] => call_id = number(value),
            [b'C', b'o', b'n', b't', b'a', b'c', b't', b':', value @ ..] if contact.is_none() => {
                contact = find(value, b"sip:").map(|at| &value[at + 4..]);
                contact = contact.and_then(|user| Some(&user[..memchr(b'@', user)?]));
            }
            [b'T', b'o', b':', value @ ..] => {
                let of_tag = find(value, b";tag=").map(|at| &value[at + 5..]).unwrap_or_default();
                tag = of_tag.strip_suffix(b"\r").unwrap_or(of_tag);
            }
            [b'\r'] => break,
            _ => (),
        }
    }
    let number = branch?;
    let redirects = bytes.starts_with(b"SIP/2.0 302 ") && call_id == Some(number);
    Some(Reply { number, redirects, contact, tag })
}

/// The length of the first message of a stream, once it is all there.
pub(crate) fn message_bytes(stream: &[u8]) -> Option<usize> {
    let head = find(stream, b"\r\n\r\n")? + 4;
    let value = find(&stream[..head], b"\r\nContent-Length:").map(|at| &stream[at + 17..head]);
    let body = value.and_then(|value| {
        let text = std::str::from_utf8(&value[..find(value, b"\r\n")?]).ok()?;
        text.trim().parse::<usize>().ok()
    });
    let length = head + body.unwrap_or(0);
    (stream.len() >= length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call { number: 0x1234_5678_9abc_def0, extension: 100_042 };

    fn template() -> Template {
        Template::new(Transport::Tcp, "127.0.0.1:40000".parse().unwrap(), "127.0.0.1:5060".parse().unwrap())
    }

    #[test]
    fn an_invite_and_its_ack_name_the_same_call() {
        let (mut invite, mut ack) = (Vec::new(), b"before".to_vec());
        template().invite(CALL, &mut invite);
        template().ack(CALL, b"t7", &mut ack);
        let invite = String::from_utf8(invite).unwrap();
        assert_eq!(invite.matches("123456789abcdef0").count(), 3);
        assert_eq!(invite.matches("100042").count(), 3);
        assert_eq!(message_bytes(invite.as_bytes()), Some(invite.len()));
        assert_eq!(
            String::from_utf8(ack).unwrap(),
            "beforeACK sip:100042@127.0.0.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/TCP 127.0.0.1:40000;branch=z9hG4bK123456789abcdef0\r\n\
             Max-Forwards: 70\r\n\
             From: \"A Caller\" <sip:5550100@127.0.0.1>;tag=123456789abcdef0\r\n\
             To: <sip:100042@127.0.0.1>;tag=t7\r\n\
             Call-ID: 123456789abcdef0@127.0.0.1\r\n\
             CSeq: 101 ACK\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_reply_must_be_a_302_of_this_call() {
        let reply = |status: &str, call_id: &str| {
            format!(
                "SIP/2.0 {status}\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK123456789abcdef0\r\n\
                 To: <sip:a>;tag=t7\r\nCall-ID: {call_id}@a\r\nContact: <sip:100042@b;um=x>;q=1\r\n\r\n"
            )
        };
        let redirects = |text: &str| read(text.as_bytes()).map(|reply| reply.redirects);
        let good = reply("302 Moved Temporarily", "123456789abcdef0");
        let wanted = Reply { number: CALL.number, redirects: true, contact: Some(b"100042"), tag: b"t7" };
        assert_eq!(read(good.as_bytes()), Some(wanted));
        assert_eq!(redirects(&reply("404 Not Found", "123456789abcdef0")), Some(false));
        assert_eq!(redirects(&reply("302 Moved Temporarily", "123456789abcdef1")), Some(false));
        assert_eq!(redirects("SIP/2.0 302 x\r\n\r\n"), None);
    }
}
