//! What each response leads to.
//!
//! Decides when the far end has taken the call, when another place is tried and when the call was
//! refused. Refuses to know requests of the far end.

use std::time::Instant;

use rsip::{Method, Uri};

use super::super::message::{Hop, Reply};
use super::super::plan::Transport;
use super::super::report::{Outcome, StepKind, read_reason};
use super::super::sdp;
use super::pending::GIVE_UP;
use super::{Agent, Command, State};

impl Agent {
    pub(super) fn response(&mut self, reply: &Reply, now: Instant) {
        let Some(index) = usize::try_from(reply.cseq).ok().and_then(|cseq| cseq.checked_sub(1)) else {
            return;
        };
        if reply.method == Method::Bye {
            if let State::HangingUp { bye } = &self.state
                && reply.status >= 200
            {
                let hop = bye.hop;
                self.journal.received(now, &hop, kind(reply.status), &status_line(reply));
                self.over(now);
            }
            return;
        }
        if reply.method == Method::Cancel && reply.status >= 200 {
            self.cancel = None;
        }
        let Some(leg) = self.legs.get(index).filter(|_| reply.method == Method::Invite) else { return };
        let hop = leg.hop;
        if let Some(ack) = &leg.ack {
            // The same final response once more: our ACK was lost (RFC 3261 sections 13.2.2.4, 17.1.1.2).
            self.journal.received(now, &hop, StepKind::Again, &format!("{} again", status_line(reply)));
            self.commands.push_back(Command::Send(hop, ack.clone()));
            return;
        }
        match reply.status {
            100..=199 => self.provisional(reply, &hop, now),
            200..=299 => self.accepted(reply, index, now),
            300..=399 => self.redirected(reply, index, now),
            _ => self.refused(reply, index, now),
        }
    }

    fn provisional(&mut self, reply: &Reply, hop: &Hop, now: Instant) {
        let State::Inviting { invite, proceeding } = &mut self.state else { return };
        invite.repeat_at = None;
        // It is being worked on: from here on, the caller's patience decides.
        invite.give_up_at = now + GIVE_UP * 8;
        *proceeding = true;
        let giving_up = self.giving_up;
        self.journal.received(now, hop, StepKind::Response, &status_line(reply));
        if reply.status == 180 {
            self.journal.ringing(now);
        }
        if giving_up && self.cancel.is_none() {
            self.send_cancel(now);
        }
    }

    fn accepted(&mut self, reply: &Reply, index: usize, now: Instant) {
        let Some(leg) = self.legs.get(index) else { return };
        let hop = leg.hop;
        let target = reply.contacts.first().cloned().unwrap_or_else(|| leg.uri.clone());
        let answer = sdp::read_answer(&reply.body, &self.codecs);
        let note = answer.as_ref().map(|agreed| format!(" ({})", agreed.codec.name())).unwrap_or_default();
        self.journal.received(now, &hop, StepKind::Response, &format!("{}{note}", status_line(reply)));
        self.journal.answered(now);
        // In a dialog, requests go where the far end said that it is; a connection stays the one it was.
        let mut remote = hop;
        if hop.transport == Transport::Udp
            && let Some(address) = literal_address(&target)
        {
            remote.remote = address;
            self.journal.alias(&remote, &hop);
        }
        self.dialog = Some((reply.to.clone(), target, remote));
        self.cancel = None;
        self.state = State::Talking;
        let branch = self.next_branch();
        self.acknowledge(index, branch, &reply.to, now);
        match answer {
            Ok(agreed) if !self.giving_up => self.commands.push_back(Command::Talk(agreed)),
            Ok(_) => self.send_bye(now),
            Err(error) => {
                self.outcome =
                    Some(Outcome::Failed { step: "SDP answer".to_owned(), error: error.to_string() });
                self.send_bye(now);
            }
        }
    }

    fn redirected(&mut self, reply: &Reply, index: usize, now: Instant) {
        let Some(leg) = self.legs.get(index) else { return };
        let (hop, branch) = (leg.hop, leg.branch);
        self.journal.received(now, &hop, StepKind::Redirect, &status_line(reply));
        self.journal.redirected(now, &hop);
        self.acknowledge(index, branch, &reply.to, now);
        for contact in reply.contacts.iter().rev() {
            self.contacts.push_front(contact.clone());
        }
        if !self.try_next_contact() {
            let error = "the redirect names no place that could be tried; see its Contact header";
            self.fail("redirect", error, now);
        }
    }

    fn refused(&mut self, reply: &Reply, index: usize, now: Instant) {
        let Some(leg) = self.legs.get(index) else { return };
        let (hop, branch) = (leg.hop, leg.branch);
        self.journal.received(now, &hop, StepKind::Refusal, &status_line(reply));
        self.acknowledge(index, branch, &reply.to, now);
        // A server that cannot is no reason not to ask its sibling; one that will not, is.
        let sibling = matches!(reply.status, 408 | 500..=599) && !self.giving_up;
        if sibling && self.try_next_contact() {
            return;
        }
        let (code, text) = reply.reason.as_deref().map(read_reason).unwrap_or_default();
        let phrase = reply.phrase.clone();
        self.outcome.get_or_insert(Outcome::Refused { status: reply.status, phrase, code, text });
        self.over(now);
    }
}

/// The address of a URI whose host is one, with SIP's own port where it names none.
fn literal_address(uri: &Uri) -> Option<std::net::SocketAddr> {
    let port = uri.port().map_or(5060, |port| *port.value());
    match uri.host() {
        rsip::Host::IpAddr(address) => Some(std::net::SocketAddr::new(*address, port)),
        rsip::Host::Domain(_) => None,
    }
}

fn status_line(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.phrase)
}

pub(super) fn kind(status: u16) -> StepKind {
    match status {
        0..=299 => StepKind::Response,
        300..=399 => StepKind::Redirect,
        _ => StepKind::Refusal,
    }
}
