//! The caller's side of one call: which message follows which.
//!
//! Decides the order of INVITE, redirect, ACK and BYE, and when a message is repeated (RFC 3261
//! sections 8.1.3.4, 13.2, 15.1 and 17.1). Refuses to know sockets and clocks: bytes and `now` go
//! in, [`Command`]s and one deadline come out.
//!
//! ```text
//! Dialing --dialled--> Inviting --2xx--> Talking --hang_up--> HangingUp --200--> Over
//!    ^                    |  \--4xx.. 6xx--> Over    \--BYE--> Over
//!    '-------3xx, 5xx-----'
//! ```

mod pending;
mod responses;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use rsip::prelude::{HeadersExt, UntypedHeader};
use rsip::{Method, Request, SipMessage, Uri};

use super::journal::Journal;
use super::message::{self, Hop, Identity, Parts, Reply};
use super::plan::Codec;
use super::report::{EndedBy, Outcome, StepKind};
use super::sdp::Agreed;
use pending::{GIVE_UP, Pending, T2};
use responses::kind;

/// Contacts that are tried for one call; a ring of redirects ends here.
const MAX_LEGS: usize = 6;

/// What the agent wants done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Find the way to a URI, then call [`Agent::dialled`] or [`Agent::broken`].
    Dial(Uri),
    /// Send a message.
    Send(Hop, Vec<u8>),
    /// Media may flow.
    Talk(Agreed),
    /// Nothing more will come.
    Over,
}

/// One INVITE of the call.
#[derive(Debug)]
struct Leg {
    hop: Hop,
    uri: Uri,
    branch: u32,
    ack: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    Dialing,
    Inviting { invite: Pending, proceeding: bool },
    Talking,
    HangingUp { bye: Pending },
    Over,
}

/// The caller's side of one call.
#[derive(Debug)]
pub(crate) struct Agent {
    identity: Identity,
    codecs: Vec<Codec>,
    offer: String,
    to: String,
    state: State,
    legs: Vec<Leg>,
    /// Contacts of a redirect that were not tried yet, best first.
    contacts: VecDeque<Uri>,
    /// The dialog's far end: its `To` with tag, and the URI and place that requests go to.
    dialog: Option<(String, Uri, Hop)>,
    /// The caller gave up while the far end had not answered yet.
    giving_up: bool,
    cancel: Option<Pending>,
    branches: u32,
    outcome: Option<Outcome>,
    commands: VecDeque<Command>,
    /// What happened so far.
    pub(crate) journal: Journal,
}

impl Agent {
    /// A call to `target` that offers `codecs` by the text `offer`.
    pub(crate) fn new(
        identity: Identity,
        target: Uri,
        codecs: Vec<Codec>,
        offer: String,
        now: Instant,
    ) -> Self {
        let plain = Uri { params: Vec::new(), ..target.clone() };
        Self {
            identity,
            codecs,
            offer,
            to: format!("<{plain}>"),
            state: State::Dialing,
            legs: Vec::new(),
            contacts: VecDeque::new(),
            dialog: None,
            giving_up: false,
            cancel: None,
            branches: 0,
            outcome: None,
            commands: VecDeque::from([Command::Dial(target)]),
            journal: Journal::new(now),
        }
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// How the call ended, once it has.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// When [`Agent::handle_timeout`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let pending = match &self.state {
            State::Inviting { invite, .. } => Some(invite),
            State::HangingUp { bye } => Some(bye),
            State::Dialing | State::Talking | State::Over => None,
        };
        [pending, self.cancel.as_ref()].into_iter().flatten().map(Pending::deadline).min()
    }

    /// The way to the URI of [`Command::Dial`] was found: the INVITE goes out.
    pub(crate) fn dialled(&mut self, uri: Uri, hop: Hop, now: Instant) {
        let branch = self.next_branch();
        self.legs.push(Leg { hop, uri, branch, ack: None });
        let bytes = self.write(Method::Invite, self.legs.len() - 1, branch, &self.to, Some(&self.offer));
        let Some(leg) = self.legs.last() else { return };
        let token = leg.uri.params.iter().any(|parameter| parameter.to_string().starts_with(";um="));
        let bare = Uri { params: Vec::new(), ..leg.uri.clone() };
        let text = format!("INVITE {bare}{}", if token { " with token" } else { "" });
        self.journal.meet(&hop);
        self.journal.sent(now, &hop, StepKind::Request, &text);
        let label = "INVITE".to_owned();
        let invite = Pending::new(bytes.clone(), hop, label, GIVE_UP, now);
        self.state = State::Inviting { invite, proceeding: false };
        self.commands.push_back(Command::Send(hop, bytes));
    }

    /// The way to a URI was not found, or a connection broke.
    pub(crate) fn broken(&mut self, step: &str, error: &str, now: Instant) {
        match self.state {
            State::Dialing | State::Inviting { .. } => {
                if !self.try_next_contact() {
                    self.fail(step, error, now);
                }
            }
            State::Talking => self.fail(step, error, now),
            State::HangingUp { .. } => self.over(now),
            State::Over => {}
        }
    }

    /// Takes one message as it came.
    pub(crate) fn handle(&mut self, bytes: &[u8], hop: &Hop, now: Instant) {
        match SipMessage::try_from(bytes) {
            Ok(SipMessage::Response(response)) => {
                if let Some(reply) = Reply::read(&response, message::phrase(bytes), &self.identity) {
                    self.response(&reply, now);
                }
            }
            Ok(SipMessage::Request(request)) => self.request(&request, hop, now),
            Err(error) => {
                self.journal.received(now, hop, StepKind::Refusal, &format!("not understood: {error}"));
            }
        }
    }

    /// Repeats what is due, or gives up.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let pending = match &mut self.state {
            State::Inviting { invite, .. } => Some(invite),
            State::HangingUp { bye } => Some(bye),
            State::Dialing | State::Talking | State::Over => None,
        };
        let mut given_up = false;
        for pending in pending.into_iter().chain(self.cancel.as_mut()) {
            if now >= pending.give_up_at {
                given_up = true;
            } else if pending.repeat(now) {
                self.journal.sent(now, &pending.hop, StepKind::Again, &format!("{} again", pending.label));
                self.commands.push_back(Command::Send(pending.hop, pending.bytes.clone()));
            }
        }
        if given_up {
            let (step, hop) = match &self.state {
                State::Inviting { invite, .. } => ("INVITE", invite.hop),
                State::HangingUp { bye } => ("BYE", bye.hop),
                State::Dialing | State::Talking | State::Over => return,
            };
            let seconds = GIVE_UP.as_secs();
            let error = format!(
                "{} did not answer within {seconds} s; see that a SIP server listens there and that the \
                 number of the port is right",
                hop.remote
            );
            self.broken(step, &error, now);
        }
    }

    /// The caller hangs up, or gives up if the far end has not answered yet.
    pub(crate) fn hang_up(&mut self, now: Instant) {
        match &self.state {
            State::Dialing => self.fail("dialling", "the caller gave up", now),
            State::Inviting { proceeding, .. } if !self.giving_up => {
                self.giving_up = true;
                if *proceeding {
                    self.send_cancel(now);
                } else {
                    self.fail("INVITE", "the caller gave up before anything was heard", now);
                }
            }
            State::Talking => self.send_bye(now),
            State::Inviting { .. } | State::HangingUp { .. } | State::Over => {}
        }
    }

    /// Ends the call because it led nowhere; what `error` says becomes its outcome.
    pub(crate) fn abandon(&mut self, error: &str, now: Instant) {
        if self.outcome.is_none() && !matches!(self.state, State::Over) {
            self.outcome = Some(Outcome::Failed { step: "patience".to_owned(), error: error.to_owned() });
        }
        self.hang_up(now);
    }

    /// Whether the call hangs on this hop now.
    pub(crate) fn is_current(&self, hop: &Hop) -> bool {
        match (&self.state, &self.dialog) {
            (State::Over, _) => false,
            (_, Some((_, _, dialog))) => dialog == hop,
            (_, None) => self.legs.last().is_some_and(|leg| leg.hop == *hop),
        }
    }

    /// The UDP address that the first INVITE went to, once it is time to repeat it and nothing was
    /// heard at all: perhaps nobody listens there.
    pub(crate) fn unheard_udp(&self, now: Instant) -> Option<std::net::SocketAddr> {
        match &self.state {
            State::Inviting { invite, proceeding: false } => {
                invite.repeat_at.filter(|at| now >= *at).map(|_| invite.hop.remote)
            }
            State::Inviting { .. }
            | State::Dialing
            | State::Talking
            | State::HangingUp { .. }
            | State::Over => None,
        }
    }

    fn request(&mut self, request: &Request, hop: &Hop, now: Instant) {
        if request.call_id_header().is_ok_and(|call_id| call_id.value() != self.identity.call_id) {
            self.answer(request, hop, 481, "Call Does Not Exist", now);
            return;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "every other method of rsip's is refused alike")]
        match request.method {
            Method::Ack => {}
            Method::Bye => {
                self.journal.received(now, hop, StepKind::Request, "BYE");
                self.answer(request, hop, 200, "OK", now);
                if matches!(self.state, State::Talking) {
                    self.outcome.get_or_insert(Outcome::Completed { ended_by: EndedBy::FarEnd });
                    self.over(now);
                }
            }
            Method::Options => self.answer(request, hop, 200, "OK", now),
            // The first offer stands: this client never changes a session (RFC 3261 section 14.2).
            Method::Invite => self.answer(request, hop, 488, "Not Acceptable Here", now),
            _ => self.answer(request, hop, 405, "Method Not Allowed", now),
        }
    }

    fn answer(&mut self, request: &Request, hop: &Hop, status: u16, phrase: &str, now: Instant) {
        self.journal.sent(now, hop, kind(status), &format!("{status} {phrase}"));
        self.commands.push_back(Command::Send(*hop, message::answer(request, status, phrase)));
    }

    /// Acknowledges the final response of one leg: a refusal on its own branch, a 2xx on a new one.
    fn acknowledge(&mut self, index: usize, branch: u32, to: &str, now: Instant) {
        let in_dialog = self.dialog.as_ref().map(|(_, uri, hop)| (uri.clone(), *hop));
        let Some(leg) = self.legs.get_mut(index) else { return };
        if let Some((uri, hop)) = in_dialog {
            (leg.uri, leg.hop) = (uri, hop);
        }
        let bytes = self.write(Method::Ack, index, branch, to, None);
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.ack = Some(bytes.clone());
        let hop = leg.hop;
        self.journal.sent(now, &hop, StepKind::Request, "ACK");
        self.commands.push_back(Command::Send(hop, bytes));
    }

    fn send_bye(&mut self, now: Instant) {
        let Some((to, uri, hop)) = self.dialog.clone() else { return };
        let branch = self.next_branch();
        let cseq = u32::try_from(self.legs.len()).unwrap_or(u32::MAX).saturating_add(1);
        let parts = Parts { method: Method::Bye, uri: &uri, to: &to, cseq, branch, body: None };
        let bytes = message::request(&self.identity, &hop, &parts);
        self.journal.sent(now, &hop, StepKind::Request, "BYE");
        let bye = Pending::new(bytes.clone(), hop, "BYE".to_owned(), T2, now);
        self.state = State::HangingUp { bye };
        self.commands.push_back(Command::Send(hop, bytes));
    }

    fn send_cancel(&mut self, now: Instant) {
        let Some(leg) = self.legs.last() else { return };
        let (hop, branch) = (leg.hop, leg.branch);
        let bytes = self.write(Method::Cancel, self.legs.len() - 1, branch, &self.to, None);
        self.journal.sent(now, &hop, StepKind::Request, "CANCEL");
        self.cancel = Some(Pending::new(bytes.clone(), hop, "CANCEL".to_owned(), T2, now));
        self.commands.push_back(Command::Send(hop, bytes));
    }

    /// Dials the next contact of a redirect, if there is one.
    fn try_next_contact(&mut self) -> bool {
        if self.legs.len() >= MAX_LEGS {
            return false;
        }
        let Some(uri) = self.contacts.pop_front() else { return false };
        self.state = State::Dialing;
        self.commands.push_back(Command::Dial(uri));
        true
    }

    fn write(&self, method: Method, index: usize, branch: u32, to: &str, body: Option<&str>) -> Vec<u8> {
        let Some(leg) = self.legs.get(index) else { return Vec::new() };
        let cseq = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let parts = Parts { method, uri: &leg.uri, to, cseq, branch, body };
        message::request(&self.identity, &leg.hop, &parts)
    }

    fn next_branch(&mut self) -> u32 {
        self.branches += 1;
        self.branches
    }

    fn fail(&mut self, step: &str, error: &str, now: Instant) {
        self.outcome
            .get_or_insert_with(|| Outcome::Failed { step: step.to_owned(), error: error.to_owned() });
        self.over(now);
    }

    fn over(&mut self, now: Instant) {
        self.outcome.get_or_insert(Outcome::Completed { ended_by: EndedBy::Caller });
        self.cancel = None;
        self.state = State::Over;
        self.journal.ended(now);
        self.commands.push_back(Command::Over);
    }
}
