//! [`Memory`]: what followed from an earlier world.
//!
//! Decides that a part whose content has not changed is not compressed again. It changes nothing of
//! what a plan says, only how long it takes to say it.

use std::collections::BTreeMap;

use config::parts::{Part, SitePart};

use crate::mailboxes::Mailboxes;
use crate::world::PartRef;

/// What followed from an earlier world.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What followed from its mailboxes.
    pub(crate) mailboxes: Mailboxes,
    /// The content of each site part, and its bytes.
    sites: BTreeMap<PartRef, (SitePart, Part)>,
}

impl Memory {
    /// The bytes of a site part.
    pub(crate) fn site(&mut self, named: &PartRef, content: &SitePart) -> Option<Part> {
        if let Some((_, part)) = self.sites.get(named).filter(|(before, _)| before == content) {
            return Some(part.clone());
        }
        let part = content.to_part().ok()?;
        self.sites.insert(named.clone(), (content.clone(), part.clone()));
        Some(part)
    }
}
