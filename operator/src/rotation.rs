//! Rotation of the keys of the redirect token, with overlap: [`rotate`].
//!
//! Decides which key signs and which ones verify, so that no call is refused because a router and a
//! mailbox server know different keys: a new key verifies first, signs once every server serves it,
//! and the one before goes when the last token that it signed has run out. Pure: the time and the new
//! key are given. Refuses to know where keys are kept.
//!
//! ```text
//! Steady [a] --a month--> Introduced [a, b] --all serve it--> Signing [b, a]
//!    ^                                                             | all serve it
//!    '------------ tokens of a have run out -- Retiring [b, a] <---'
//! ```

use std::collections::{BTreeMap, BTreeSet};

use config::TokenKey;
use config::parts::{TOKEN_KEYS_FILE, digest, token_keys_to_yaml};
use config::token::WINDOW_S;
use crds::Kind;
use jiff::{SignedDuration, Timestamp};

use crate::world::{ObjectRef, Phase, World, WrittenKeys};

/// How long a key signs alone: 30 days.
const STEADY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A token holds for the window of its signer's clock and of its reader's, whichever way they differ;
/// a call that is on its way may be repeated for 32 s.
#[allow(clippy::cast_possible_wrap, reason = "a few minutes")]
const LIFETIME: SignedDuration = SignedDuration::from_secs(2 * WINDOW_S as i64 + 60);

/// The keys as they should be now. Without any, and with a spare one, that is the first.
pub(crate) fn rotate(world: &World) -> Option<WrittenKeys> {
    let servers = world.cluster.iter().flat_map(|cluster| cluster.servers());
    let owners = servers.map(|(_, uid)| uid.clone()).collect();
    let Some(written) = &world.observed.token_keys else {
        let keys = vec![world.spare_key.clone()?];
        return Some(WrittenKeys { keys, phase: Phase::Steady, since: world.now, owners });
    };
    let mut next = WrittenKeys { owners, ..written.clone() };
    if next.since > world.now {
        // The clock went back: the wait begins anew.
        next.since = world.now;
        return Some(next);
    }
    let is_served = || match next.phase {
        Phase::Introduced | Phase::Signing => serve(world, &next.keys),
        Phase::Steady | Phase::Retiring => false,
    };
    if is_due(&next, world.now) || is_served() {
        advance(&mut next, world.spare_key.as_ref(), world.now);
    }
    Some(next)
}

/// Whether there is something to do about these keys at `now`, whatever the servers say.
pub(crate) fn is_due(keys: &WrittenKeys, now: Timestamp) -> bool {
    let elapsed = now.duration_since(keys.since);
    let is_over = match keys.phase {
        Phase::Steady => elapsed >= STEADY,
        Phase::Introduced | Phase::Signing => false,
        Phase::Retiring => elapsed >= LIFETIME,
    };
    is_over || keys.since > now
}

/// Keys that are read, with what stands beside them of their rotation. Where that is missing, as with
/// keys that somebody wrote, the first one signs, and the others go in time.
pub(crate) fn known(
    keys: Vec<TokenKey>,
    phase: Option<Phase>,
    since: Option<Timestamp>,
    owners: BTreeSet<String>,
) -> WrittenKeys {
    let alone = if keys.len() == 1 { Phase::Steady } else { Phase::Signing };
    let phase = phase.filter(|_| since.is_some()).unwrap_or(alone);
    // What lies in the future begins when it is seen.
    WrittenKeys { keys, phase, since: since.unwrap_or(Timestamp::MAX), owners }
}

/// Who has seen the keys before puts them back where somebody broke them.
pub(crate) fn remember(world: &mut World, memory: &mut BTreeMap<String, WrittenKeys>, namespace: &str) {
    if let Some(keys) = &world.observed.token_keys {
        memory.insert(namespace.into(), keys.clone());
    } else if world.token_trouble.is_none() {
        memory.remove(namespace);
    } else if let Some(keys) = memory.get(namespace) {
        // They belong to nobody, so they are written.
        world.observed.token_keys = Some(WrittenKeys { owners: BTreeSet::new(), ..keys.clone() });
        world.token_trouble = None;
    }
}

/// The step that follows.
fn advance(keys: &mut WrittenKeys, spare: Option<&TokenKey>, now: Timestamp) {
    keys.phase = match keys.phase {
        Phase::Steady => {
            let Some(spare) = spare else { return };
            keys.keys.push(spare.clone());
            Phase::Introduced
        }
        Phase::Introduced => {
            // The newest one is the last.
            keys.keys.rotate_right(1);
            Phase::Signing
        }
        Phase::Signing => Phase::Retiring,
        Phase::Retiring => {
            keys.keys.truncate(1);
            Phase::Steady
        }
    };
    keys.since = now;
}

/// Whether every server that there is serves these keys.
fn serve(world: &World, keys: &[TokenKey]) -> bool {
    let Ok(text) = token_keys_to_yaml(keys) else { return false };
    let wanted = digest(text.as_bytes());
    let observed = &world.observed;
    let serves = |server: ObjectRef, index: Option<(u64, Option<&String>)>| {
        index.is_some_and(|(generation, keys)| {
            keys == Some(&wanted) && observed.served.get(&server) == Some(&generation)
        })
    };
    let routers = world.routers.keys().all(|key| {
        let index = observed.routers.get(key);
        let index = index.map(|index| (index.generation, index.parts.get(TOKEN_KEYS_FILE)));
        serves(ObjectRef::new(Kind::UMCallRouter, key), index)
    });
    routers
        && world.services.keys().all(|key| {
            let index = observed.services.get(key);
            let index = index.map(|index| (index.generation, index.parts.get(TOKEN_KEYS_FILE)));
            serves(ObjectRef::new(Kind::UMService, key), index)
        })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn keys_that_somebody_broke_are_put_back_by_who_remembers_them() {
        let keys = WrittenKeys {
            keys: vec![TokenKey { id: "k1".into(), secret: "secret".into() }],
            phase: Phase::Signing,
            since: Timestamp::UNIX_EPOCH,
            owners: ["uid-1".into()].into(),
        };
        let world = || World::empty(IpAddr::from([0, 0, 0, 0]), Timestamp::UNIX_EPOCH);
        let mut memory = BTreeMap::new();
        let (mut good, mut broken) = (world(), world());
        good.observed.token_keys = Some(keys.clone());
        broken.token_trouble = Some("nonsense".into());
        remember(&mut broken, &mut memory, "office");
        assert!(broken.token_trouble.is_some(), "nobody remembers them");
        remember(&mut good, &mut memory, "office");
        remember(&mut broken, &mut memory, "office");
        let back = broken.observed.token_keys.unwrap();
        assert_eq!((broken.token_trouble, &back.keys, back.phase), (None, &keys.keys, Phase::Signing));
        assert_ne!(back, keys, "so that they are written");
        // Deleting them asks for new ones.
        remember(&mut world(), &mut memory, "office");
        assert!(memory.is_empty());
    }
}
