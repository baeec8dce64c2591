//! One version of the configuration, ready to answer by.
//!
//! Decides what is worked out once, when a configuration arrives, rather than for each call.
//! Refuses to know where the configuration comes from.

use std::hash::Hasher;

use config::{KeyError, Keyring, RouterConfig, ServerIdentity, ServerStatus, Table, UnknownPeers};
use sip::Message;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24Of128};

/// The key under which the key of To-tags is derived. It is no secret: the token key is.
const DERIVATION_KEY: &[u8; 16] = b"umbriel.to-tag.1";

/// One version of the configuration, compiled.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) identity: ServerIdentity,
    pub(crate) table: Table,
    pub(crate) keys: Keyring,
    pub(crate) unknown_peers: UnknownPeers,
    tag_key: [u8; 16],
}

impl Snapshot {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// When its keys cannot sign.
    pub fn compile(config: &RouterConfig) -> Result<Snapshot, KeyError> {
        let keys = Keyring::new(&config.token_keys)?;
        let mut derived = SipHasher24Of128::new_with_key(DERIVATION_KEY);
        if let Some(key) = config.token_keys.first() {
            derived.write(key.secret.as_bytes());
        }
        Ok(Snapshot {
            generation: config.generation,
            identity: config.server.clone(),
            table: Table::compile(&config.directory, &config.server),
            keys,
            unknown_peers: config.unknown_peers,
            tag_key: derived.finish128().as_bytes(),
        })
    }

    /// The generation of the configuration.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A secret of all routers that share their token keys.
    pub(crate) fn tag_key(&self) -> [u8; 16] {
        self.tag_key
    }

    pub(crate) fn is_in_service(&self) -> bool {
        match self.identity.status {
            ServerStatus::Enabled => true,
            ServerStatus::Disabled | ServerStatus::NoNewCalls => false,
        }
    }

    /// The tag of To in every answer to this request and to its retransmissions, and in that to its
    /// CANCEL (RFC 3261 sections 8.2.7 and 9.2): a keyed hash of what those have in common.
    pub(crate) fn to_tag(&self, request: &Message<'_>) -> Tag {
        let mut hash = SipHasher24::new_with_key(&self.tag_key);
        let branch = request.top_via().ok().and_then(|via| via.branch);
        let from_tag = request.from().ok().and_then(|from| from.tag());
        for part in [request.call_id().ok(), from_tag, branch, request.uri()] {
            let part = part.unwrap_or_default();
            hash.write_u64(part.len() as u64);
            hash.write(part.as_bytes());
        }
        Tag::of(hash.finish())
    }
}

/// A tag: a hash in hexadecimal.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; 16]);

impl Tag {
    fn of(hash: u64) -> Tag {
        let mut rest = hash;
        let mut tag = Tag([0; 16]);
        for digit in tag.0.iter_mut().rev() {
            *digit = b"0123456789abcdef"[usize::try_from(rest & 15).unwrap_or(0)];
            rest >>= 4;
        }
        tag
    }

    pub(crate) fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
