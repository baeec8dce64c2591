//! Keeps what happened in a test call: who took part, each arrow and its time.
//!
//! Decides the names of the parties. Refuses to know why a message was sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::Hop;
use super::report::{Party, Step, StepKind, Timings};

/// Arrows that are kept of one call; a peer that repeats itself without end is not written down
/// without end.
const MAX_STEPS: usize = 500;

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Journal {
    began: Instant,
    pub(crate) parties: Vec<Party>,
    pub(crate) steps: Vec<Step>,
    pub(crate) timings: Timings,
    /// Other addresses of a party that was met before.
    aliases: Vec<(SocketAddr, usize)>,
}

impl Journal {
    /// Nothing happened yet.
    pub(crate) fn new(now: Instant) -> Self {
        let caller = Party { name: "caller".to_owned(), address: None, transport: None };
        Self {
            began: now,
            parties: vec![caller],
            steps: Vec::new(),
            timings: Timings::default(),
            aliases: Vec::new(),
        }
    }

    /// A party is about to be called.
    pub(crate) fn meet(&mut self, hop: &Hop) {
        if let Some(caller) = self.parties.first_mut().filter(|caller| caller.address.is_none()) {
            caller.address = Some(hop.local);
        }
        if self.find(hop.remote).is_none() {
            let name = if self.timings.redirected.is_some() { "mailbox" } else { "server" };
            self.parties.push(Party {
                name: name.to_owned(),
                address: Some(hop.remote),
                transport: Some(hop.transport),
            });
        }
    }

    /// One party has two addresses.
    pub(crate) fn alias(&mut self, other: &Hop, known: &Hop) {
        if let Some(party) = self.find(known.remote)
            && self.find(other.remote).is_none()
        {
            self.aliases.push((other.remote, party));
        }
    }

    /// We sent something.
    pub(crate) fn sent(&mut self, now: Instant, hop: &Hop, kind: StepKind, text: &str) {
        let to = self.find(hop.remote).unwrap_or(self.parties.len() - 1);
        self.push(now, 0, to, kind, text);
    }

    /// Something came.
    pub(crate) fn received(&mut self, now: Instant, hop: &Hop, kind: StepKind, text: &str) {
        let from = self.find(hop.remote).unwrap_or(self.parties.len() - 1);
        self.push(now, from, 0, kind, text);
    }

    /// Media, which goes between the caller and the party that answered.
    pub(crate) fn media(&mut self, now: Instant, outgoing: bool, text: &str) {
        let far = self.parties.len() - 1;
        let (from, to) = if outgoing { (0, far) } else { (far, 0) };
        self.push(now, from, to, StepKind::Media, text);
    }

    /// The party behind `hop` sent the call elsewhere.
    pub(crate) fn redirected(&mut self, now: Instant, hop: &Hop) {
        self.timings.redirected.get_or_insert(now - self.began);
        if let Some(party) = self.find(hop.remote).and_then(|index| self.parties.get_mut(index)) {
            party.name = "router".to_owned();
        }
    }

    /// The far end rings.
    pub(crate) fn ringing(&mut self, now: Instant) {
        self.timings.ringing.get_or_insert(now - self.began);
    }

    /// The far end answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.timings.answered.get_or_insert(now - self.began);
    }

    /// The first audio was heard.
    pub(crate) fn first_audio(&mut self, now: Instant) {
        self.timings.first_audio.get_or_insert(now - self.began);
    }

    /// The beep ended.
    pub(crate) fn beep_ended(&mut self, now: Instant) {
        self.timings.beep_ended.get_or_insert(now - self.began);
    }

    /// Everything was said.
    pub(crate) fn spoken(&mut self, now: Instant) {
        self.timings.spoken.get_or_insert(now - self.began);
    }

    /// The call is over.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.timings.ended.get_or_insert(now - self.began);
    }

    fn push(&mut self, now: Instant, from: usize, to: usize, kind: StepKind, text: &str) {
        if self.steps.len() < MAX_STEPS {
            let at: Duration = now.saturating_duration_since(self.began);
            self.steps.push(Step { at, from, to, kind, text: text.to_owned() });
        }
    }

    fn find(&self, address: SocketAddr) -> Option<usize> {
        let alias = || self.aliases.iter().find(|(other, _)| *other == address).map(|(_, party)| *party);
        self.parties
            .iter()
            .skip(1)
            .position(|party| party.address == Some(address))
            .map(|at| at + 1)
            .or_else(alias)
    }
}
