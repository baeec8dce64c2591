//! The session descriptions of one call: the answers and offers that it is sent, and the keys in them
//! (RFC 3264, RFC 4568).
//!
//! Decides which key of ours goes into which description: one for each suite and call, however often it
//! is negotiated. Refuses to choose codecs, and to know packets.

use std::net::SocketAddr;

use config::Code;
use sip::sdp::{self, AudioOffer, Crypto, MAX_KEY_BYTES, Payload, Profile, SessionId, Suite};

use crate::admission::Refused;
use crate::srtp::Keys;

/// Bytes that nobody can guess; `None` if the machine has none.
pub(crate) type Secret<'s> = &'s dyn Fn() -> Option<[u8; MAX_KEY_BYTES]>;

/// What a call was told so far.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// That of the last description.
    id: SessionId,
    profile: Profile,
    /// Ours, at most one for each suite.
    ours: Vec<Crypto>,
}

/// A description, and what follows from it.
#[derive(Debug)]
pub(crate) struct Described {
    /// As it is sent.
    pub(crate) text: String,
    /// What is agreed on with it, where audio is encrypted and the far end has made the offer.
    pub(crate) keys: Option<Keys>,
}

impl Session {
    /// One without any description. `id` is unlike that of any other session.
    pub(crate) fn new(id: u64, profile: Profile) -> Self {
        Session { id: SessionId { id, version: 0 }, profile, ours: Vec::new() }
    }

    /// How its audio travels.
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    /// Answers an offer with this codec.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub(crate) fn answer(
        &mut self,
        offer: &AudioOffer,
        codec: Payload,
        local: SocketAddr,
        secret: Secret<'_>,
    ) -> Result<Described, Refused> {
        // The first is the one that the far end likes best (RFC 4568 section 5.1.2).
        let keys = match offer.cryptos.first() {
            Some(theirs) => {
                let ours = self.key_of(theirs.suite, theirs.tag, secret)?;
                self.ours = vec![ours];
                Some(Keys { theirs: *theirs, ours })
            }
            None => None,
        };
        let text = sdp::answer(offer, codec, keys.map(|keys| keys.ours), local, self.next_id());
        Ok(Described { text, keys })
    }

    /// Makes an offer.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub(crate) fn offer(&mut self, local: SocketAddr, secret: Secret<'_>) -> Result<Described, Refused> {
        let suites = match self.profile {
            Profile::Avp => &[][..],
            Profile::Savp => &Suite::ALL,
        };
        let offered = (1..).zip(suites).map(|(tag, suite)| self.key_of(*suite, tag, secret));
        self.ours = offered.collect::<Result<_, _>>()?;
        let id = self.next_id();
        let text = sdp::write_offer(&self.ours, local, id);
        Ok(Described { text, keys: None })
    }

    /// What is agreed on by an answer to the last offer of ours. `None` if it chose what was not offered.
    pub(crate) fn agreed(&self, answer: &AudioOffer) -> Option<Option<Keys>> {
        let Some(theirs) = answer.cryptos.first() else {
            return (self.profile == Profile::Avp).then_some(None);
        };
        let ours = self.ours.iter().find(|ours| ours.tag == theirs.tag && ours.suite == theirs.suite)?;
        Some(Some(Keys { theirs: *theirs, ours: *ours }))
    }

    fn key_of(&self, suite: Suite, tag: u32, secret: Secret<'_>) -> Result<Crypto, Refused> {
        if let Some(before) = self.ours.iter().find(|ours| ours.suite == suite) {
            return Ok(before.with_tag(tag));
        }
        let secret = secret().ok_or_else(|| {
            let text = "the machine gives no random numbers for a key; look at its log".to_owned();
            Refused::because(Code::InternalError, text)
        })?;
        Ok(Crypto::new(tag, suite, secret))
    }

    fn next_id(&mut self) -> SessionId {
        self.id.version += 1;
        self.id
    }
}
