//! [`Memory`]: what followed from an earlier world.
//!
//! Decides that what follows from the same is not found out again ([`Memo`]). It changes nothing of
//! what a plan says, only how long it takes to say it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use config::MailboxServer;
use config::parts::{Part, Piece, SitePart};

use crate::directory::RoutingSite;
use crate::kinds::Kinds;
use crate::mailboxes::Mailboxes;
use crate::routing::{Routing, RoutingMemory, RoutingObjects};
use crate::shared::Shared;
use crate::told::{Told, names};
use crate::world::World;

/// What a plan took to be made, counted: how much of a world was looked at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Dial plans, gateways, hunt groups, auto attendants and mailbox policies that were looked at.
    pub routing: usize,
    /// Slices of databases whose pieces and problems were found out.
    pub slices: usize,
    /// Mailboxes that were looked at for that.
    pub mailboxes: usize,
    /// Slices whose statuses were compared, of kinds that are held in slices.
    pub statuses: usize,
}

/// What followed from something, for as long as that is the same.
#[derive(Debug)]
pub(crate) struct Memo<I, O>(Option<(I, Shared<O>)>);

impl<I, O> Default for Memo<I, O> {
    fn default() -> Self {
        Memo(None)
    }
}

impl<I: PartialEq, O> Memo<I, O> {
    /// What follows from `input`, found out by `find` unless it is known.
    pub(crate) fn of(&mut self, input: I, find: impl FnOnce(&I) -> O) -> Shared<O> {
        if let Some((before, known)) = self.0.as_mut().filter(|(before, _)| *before == input) {
            // What is equal to it is the very same the next time.
            *before = input;
            return known.clone();
        }
        let found = Shared::from(find(&input));
        self.0 = Some((input, found.clone()));
        found
    }
}

/// What followed from an earlier world.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    routing: RoutingMemory,
    /// What followed from its mailboxes.
    pub(crate) mailboxes: Mailboxes,
    /// The site part of each namespace.
    sites: BTreeMap<String, SiteMemory>,
    /// What was said of objects that are no mailboxes.
    pub(crate) kinds: Kinds,
}

/// What followed from the site of one namespace.
#[derive(Debug, Default)]
struct SiteMemory {
    site: Memo<SiteInput, Site>,
    head: Memo<SitePart, Option<Piece>>,
    gateways: BTreeMap<usize, Memo<Shared<SitePart>, Option<Piece>>>,
    hunt_groups: BTreeMap<usize, Memo<Shared<SitePart>, Option<Piece>>>,
}

/// What a site part follows from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SiteInput {
    /// What routing objects come to.
    pub(crate) routing: Shared<RoutingSite>,
    /// Addresses of the cluster itself.
    pub(crate) nodes: Vec<IpAddr>,
    pub(crate) servers: Vec<MailboxServer>,
    /// Who hosts each database.
    pub(crate) hosts: Vec<String>,
}

/// What a site part tells servers, and its bytes, if it can be written.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) told: Arc<Told>,
    pub(crate) part: Option<Part>,
}

impl Memory {
    /// What follows from the routing objects of `world`.
    pub(crate) fn routing(&mut self, world: &World) -> Shared<Routing> {
        self.routing.of(RoutingObjects::of(world))
    }

    /// The site part of a namespace.
    pub(crate) fn site(&mut self, namespace: &str, input: SiteInput) -> Shared<Site> {
        let SiteMemory { site, head, gateways, hunt_groups } =
            self.sites.entry(namespace.to_owned()).or_default();
        site.of(input, |input| {
            let mut content = input.routing.head.clone();
            content.directory.cluster.clone_from(&input.nodes);
            content.directory.mailbox_servers.clone_from(&input.servers);
            content.directory.hosts.clone_from(&input.hosts);
            let mut told = Told::of(&content);
            let mut pieces = vec![head.of(content, |content| content.to_piece().ok())];
            for (documents, memos) in
                [(&input.routing.gateways, gateways), (&input.routing.hunt_groups, hunt_groups)]
            {
                memos.retain(|number, _| documents.contains_key(number));
                for (number, document) in documents {
                    told.names.extend(names(&document.directory.gateways));
                    let memo = memos.entry(*number).or_default();
                    pieces.push(memo.of(document.clone(), |document| document.to_piece().ok()));
                }
            }
            let pieces: Option<Vec<&Piece>> = pieces.iter().map(|piece| piece.as_ref()).collect();
            Site { told: Arc::new(told), part: pieces.map(Part::of) }
        })
    }

    /// What the last plan took.
    pub(crate) fn effort(&self) -> Effort {
        let mut effort = self.mailboxes.effort();
        effort.routing = self.routing.looked_at();
        effort.statuses += self.kinds.compared();
        effort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_found_out_again_until_it_changes() {
        let (mut memo, mut found) = (Memo::default(), 0);
        for (input, times) in [(1, 1), (1, 1), (2, 2), (1, 3)] {
            let output = memo.of(input, |input| {
                found += 1;
                input * 10
            });
            assert_eq!((*output, found), (input * 10, times));
        }
    }
}
