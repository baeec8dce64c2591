//! Databases: what mailboxes are hosted by (decision 17).
//!
//! Decides which database a mailbox belongs to, by its name alone, so that everybody agrees whatever
//! else they know. Refuses to know which server hosts a database: the directory says so.

use crate::table::stable_hash;

/// How many databases there are. It never changes: mailboxes would move.
pub const DATABASES: usize = 32;

/// The database of the mailbox of this name, below [`DATABASES`].
pub fn database_of(mailbox: &str) -> usize {
    // The remainder is below 32, so it fits.
    usize::try_from(stable_hash(mailbox) % DATABASES as u64).unwrap_or_default()
}
