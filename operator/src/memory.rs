//! [`Memory`]: the parts that followed from an earlier world.
//!
//! Decides that a part whose content has not changed is not compressed again. It changes nothing of
//! what a plan says, only how long it takes to say it.

use std::collections::BTreeMap;

use config::ConfigError;
use config::parts::{DatabasePart, Part, SitePart};

use crate::world::PartRef;

/// Contents of parts, and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sites: BTreeMap<PartRef, (SitePart, Part)>,
    databases: BTreeMap<PartRef, (DatabasePart, Part)>,
}

impl Memory {
    /// The bytes of a site part.
    pub(crate) fn site(&mut self, named: &PartRef, content: &SitePart) -> Option<Part> {
        recall(&mut self.sites, named, content, SitePart::to_part)
    }

    /// The bytes of a database's part.
    pub(crate) fn database(&mut self, named: &PartRef, content: &DatabasePart) -> Option<Part> {
        recall(&mut self.databases, named, content, DatabasePart::to_part)
    }
}

fn recall<C: Clone + PartialEq>(
    known: &mut BTreeMap<PartRef, (C, Part)>,
    named: &PartRef,
    content: &C,
    to_part: impl Fn(&C) -> Result<Part, ConfigError>,
) -> Option<Part> {
    if let Some((_, part)) = known.get(named).filter(|(before, _)| before == content) {
        return Some(part.clone());
    }
    let part = to_part(content).ok()?;
    known.insert(named.clone(), (content.clone(), part.clone()));
    Some(part)
}
