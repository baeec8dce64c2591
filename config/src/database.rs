//! Databases: what mailboxes are hosted by (decision 17).
//!
//! Decides which database a mailbox belongs to, by its name alone, so that everybody agrees whatever
//! else they know, and in which slice of it, so that a change is written with few others. Refuses to
//! know which server hosts a database: the directory says so.

use crate::table::stable_hash;

/// How many databases there are. It never changes: mailboxes would move.
pub const DATABASES: usize = 32;

/// Into how many slices each database is divided. It is nobody's business but that of whoever writes:
/// the mailboxes of a slice are put together and compressed by themselves.
pub const SLICES_OF_A_DATABASE: usize = 16;

/// The database of the mailbox of this name, below [`DATABASES`].
pub fn database_of(mailbox: &str) -> usize {
    // The remainder is below 32, so it fits.
    usize::try_from(stable_hash(mailbox) % DATABASES as u64).unwrap_or_default()
}

/// The slice that the mailbox of this name is in, below [`DATABASES`] * [`SLICES_OF_A_DATABASE`]. The
/// slices of one database are next to each other.
pub fn slice_of(mailbox: &str) -> usize {
    // What is left of the hash once it has said which database.
    let within = stable_hash(mailbox) / DATABASES as u64 % SLICES_OF_A_DATABASE as u64;
    database_of(mailbox) * SLICES_OF_A_DATABASE + usize::try_from(within).unwrap_or_default()
}
