//! [`Turn`]: of whom a plan speaks, where there is more to be said than one plan says.
//!
//! Decides that each plan goes on behind those of whom the one before spoke last, in a circle: objects of
//! which the API server refuses the status keep nobody else waiting. Refuses to know what is said.

use std::ops::Range;

use config::slice_of;
use crds::Kind;

use crate::plan::Write;
use crate::shared::SLICES;
use crate::world::{Key, ObjectRef};

/// What is said so far.
pub(crate) struct Turn {
    limit: usize,
    writes: Vec<Write>,
    /// Whether there may be more to say.
    is_cut: bool,
}

impl Turn {
    /// What is said of `others`, which are no mailboxes, and of slices of `mailboxes`, which are told how
    /// much room there is: about `limit` statuses, beginning behind the object `after`. Gives the object
    /// behind which the next plan goes on, if there is more.
    pub(crate) fn of(
        limit: usize,
        after: Option<&ObjectRef>,
        mut others: Vec<Write>,
        mut mailboxes: impl FnMut(Range<usize>, usize) -> (Vec<Write>, bool),
    ) -> (Vec<Write>, Option<ObjectRef>) {
        let mut turn = Turn { limit, writes: Vec::new(), is_cut: false };
        let mut first_slice = 0;
        let rest = match after {
            None => Vec::new(),
            Some(ObjectRef { kind, key }) if Kind::of(kind) == Some(Kind::UMMailbox) => {
                first_slice = slice_of(&key.name) + 1;
                std::mem::take(&mut others)
            }
            Some(after) => others.extract_if(.., |write| place(write) <= Some(place_of(after))).collect(),
        };
        turn.add(others);
        turn.add_slices(first_slice..SLICES, &mut mailboxes);
        turn.add(rest);
        turn.add_slices(0..first_slice, &mut mailboxes);
        let last = turn.writes.last().and_then(Write::status).filter(|_| turn.is_cut).cloned();
        (turn.writes, last)
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.writes.len())
    }

    /// Says as much as there is room for.
    fn add(&mut self, mut writes: Vec<Write>) {
        if writes.len() > self.room() {
            writes.sort_by(|one, other| place(one).cmp(&place(other)));
            writes.truncate(self.room());
            self.is_cut = true;
        }
        self.writes.extend(writes);
    }

    fn add_slices(
        &mut self,
        slices: Range<usize>,
        mailboxes: &mut impl FnMut(Range<usize>, usize) -> (Vec<Write>, bool),
    ) {
        let (writes, is_cut) = mailboxes(slices, self.room());
        self.writes.extend(writes);
        self.is_cut |= is_cut;
    }
}

/// Where an object stands in the circle.
fn place_of(object: &ObjectRef) -> (Option<Kind>, &Key) {
    (Kind::of(&object.kind), &object.key)
}

/// Where the object stands of whose status this is.
fn place(write: &Write) -> Option<(Option<Kind>, &Key)> {
    write.status().map(place_of)
}
