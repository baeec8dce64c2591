//! Who this endpoint is on the wire: tags, branches, `Via` and `Contact`, and the names under which
//! it keeps transactions.
//!
//! Decides that nobody can guess a tag, and that equal requests get equal names. Refuses to keep
//! anything but a counter.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::{CallKey, EndpointSettings};
use crate::{Message, Method, Transport};

/// What the branch of every RFC 3261 transaction begins with (section 8.1.1.7).
const MAGIC_COOKIE: &str = "z9hG4bK";
/// Second half of the hash key beside the seed: hashes of other purposes differ.
const HASH_KEY: u64 = 0x756d_6272_6965_6c31;

/// Names one server transaction by a keyed hash of what identifies it on the wire (RFC 3261
/// section 17.2.3), so that a table of them holds no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TransactionId(u128);

/// Names what all copies of a request have in common that reach us on different paths (RFC 3261
/// section 8.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MergeId(u128);

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) settings: EndpointSettings,
    made: u64,
}

impl Identity {
    pub(super) fn new(settings: EndpointSettings) -> Identity {
        Identity { settings, made: 0 }
    }

    /// A key that cannot be guessed and was not used before, but by a chance of 2^-64.
    pub(super) fn new_call(&mut self) -> CallKey {
        self.made += 1;
        let mut hasher = self.hasher();
        ("call", self.made).hash(&mut hasher);
        CallKey(hasher.finish128().h1)
    }

    /// Our tag of a call.
    pub(super) fn tag(&self, call: CallKey) -> String {
        format!("{}{:016x}", self.settings.tag_prefix, call.0)
    }

    /// The call that [`Identity::tag`] names.
    pub(super) fn call_of_tag(&self, tag: &str) -> Option<CallKey> {
        key(tag.strip_prefix(self.settings.tag_prefix.as_str())?)
    }

    /// The tag of an answer that leaves nothing behind: the same for each copy of a request
    /// (RFC 3261 section 8.2.7).
    pub(super) fn stateless_tag(&self, request: &Message<'_>) -> String {
        let mut hasher = self.hasher();
        "tag".hash(&mut hasher);
        hash_call(request, &mut hasher);
        if let Ok(via) = request.top_via() {
            via.branch.hash(&mut hasher);
        }
        format!("{}{:016x}", self.settings.tag_prefix, hasher.finish128().h1)
    }

    /// The branch of a call's BYE.
    pub(super) fn branch(call: CallKey) -> String {
        format!("{MAGIC_COOKIE}{:016x}", call.0)
    }

    /// The call whose BYE has this branch.
    pub(super) fn call_of_branch(branch: &str) -> Option<CallKey> {
        key(branch.strip_prefix(MAGIC_COOKIE)?)
    }

    /// The value of `Via` in a request of ours.
    pub(super) fn via(&self, call: CallKey, transport: Transport) -> String {
        let (name, host, branch) = (transport.via(), self.host_port(transport), Identity::branch(call));
        format!("SIP/2.0/{name} {host};branch={branch};rport")
    }

    /// The value of `Contact`. A dialog that was asked for by a sips URI stays one (RFC 3261
    /// section 12.1.1).
    pub(super) fn contact(&self, transport: Transport, secure: bool) -> String {
        let host = self.host_port(transport);
        match transport {
            _ if secure => format!("<sips:{host}>"),
            Transport::Udp => format!("<sip:{host}>"),
            Transport::Tcp | Transport::Tls => {
                format!("<sip:{host};transport={}>", transport.uri_parameter())
            }
        }
    }

    fn host_port(&self, transport: Transport) -> String {
        let host = match self.settings.contact_host {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = match transport {
            Transport::Udp => self.settings.udp_port,
            Transport::Tcp => self.settings.tcp_port,
            Transport::Tls => self.settings.tls_port,
        };
        port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }

    /// The server transaction of `request` if its method were `method`: an ACK and a CANCEL are
    /// looked up as INVITE (RFC 3261 section 17.2.3).
    pub(super) fn transaction(&self, request: &Message<'_>, method: Method) -> TransactionId {
        let mut hasher = self.hasher();
        ("transaction", method).hash(&mut hasher);
        if let Ok(via) = request.top_via() {
            via.branch.hash(&mut hasher);
            via.host.to_string().to_ascii_lowercase().hash(&mut hasher);
            via.port.hash(&mut hasher);
            if !via.branch.is_some_and(|branch| branch.starts_with(MAGIC_COOKIE)) {
                // RFC 2543 had no unique branches.
                hash_call(request, &mut hasher);
                request.uri().hash(&mut hasher);
            }
        }
        TransactionId(hasher.finish128().as_u128())
    }

    /// What the copies of `request` have in common that came by other paths.
    pub(super) fn merge(&self, request: &Message<'_>) -> MergeId {
        let mut hasher = self.hasher();
        "merge".hash(&mut hasher);
        hash_call(request, &mut hasher);
        MergeId(hasher.finish128().as_u128())
    }

    /// A number of 0 to 10 seconds that differs from request to request (RFC 3261 section 14.2).
    pub(super) fn backoff_s(&self, request: &Message<'_>) -> u64 {
        let mut hasher = self.hasher();
        "backoff".hash(&mut hasher);
        hash_call(request, &mut hasher);
        hasher.finish128().h1 % 11
    }

    fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.settings.seed, HASH_KEY)
    }
}

/// Call-ID, tag of the sender and number: what identifies a request apart from its path.
fn hash_call(request: &Message<'_>, hasher: &mut impl Hasher) {
    request.call_id().ok().hash(hasher);
    request.from().ok().and_then(|from| from.tag()).hash(hasher);
    request.cseq().ok().map(|cseq| cseq.number).hash(hasher);
}

/// Exactly the sixteen digits that `{:016x}` writes.
fn key(digits: &str) -> Option<CallKey> {
    let plain = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(digits, 16).ok().map(CallKey)).flatten()
}
