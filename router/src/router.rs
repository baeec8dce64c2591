//! The router's core: bytes, a peer and the time in, an answer out.
//!
//! Decides which requests are answered and by whom: scan, method, required extensions, then
//! [`config::route`]. It keeps nothing between two requests, which RFC 3261 calls a stateless UAS
//! (section 8.2.7):
//!
//! - It sends no 1xx and never repeats an answer by itself; the request's repetition does that.
//! - An ACK is never answered.
//! - A CANCEL is answered by 200, as section 8.3 asks of a redirect server. It changes nothing, for
//!   the INVITE has had its final answer before the CANCEL can arrive.
//! - OPTIONS is answered by 200 in service and 503 otherwise, whoever asks: probes are no gateways.
//! - Whoever is no gateway gets as little as `strangers` says.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use config::token::{Claims, DivertReason, verify};
use config::{Call, Code, Decision, OfferedAudio, Party, route};
use runtime::log::Number;
use runtime::{Now, Outbox, Source};
use sip::{Message, Method, Name, Peer, Response, ScanError, StartLine, Transport};

use crate::answer::{TOKEN_PARAMETER, contacts};
use crate::budget::{Budget, CALL_LINES_PER_SECOND, STRANGER_LINES_PER_SECOND};
use crate::counters::{Counters, Dropped};
use crate::refuse::Refused;
use crate::snapshot::Snapshot;
use crate::strangers::Strangers;

/// The methods that are served, as in `Allow`.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, OPTIONS";

/// The option tags that are supported: none.
const SUPPORTED: &[&str] = &[];

/// What all workers of a router share, and a new configuration changes between two messages.
#[derive(Debug)]
pub struct State {
    snapshot: ArcSwap<Snapshot>,
    draining: AtomicBool,
    strangers: Strangers,
}

impl State {
    /// One that begins with this configuration.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let strangers = Strangers::new(snapshot.tag_key());
        State { snapshot: ArcSwap::new(snapshot), draining: AtomicBool::new(false), strangers }
    }

    /// Answers by this configuration from now on, and gives the one before.
    pub fn swap(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.snapshot.swap(snapshot)
    }

    /// Takes no new calls from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The configuration that is answered by.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether [`State::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// One worker's router.
#[derive(Debug)]
pub struct Router {
    state: Arc<State>,
    counters: Counters,
    pieces: Pieces,
    call_lines: Budget,
    stranger_lines: Budget,
}

/// Texts that are written anew for each request, kept so that none is made for it.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// For header values that are written in pieces.
    pub(crate) scratch: String,
    /// The token of a redirect.
    pub(crate) token: String,
    /// The Contacts of a redirect: the server that hosts the mailbox, and a sibling with half its
    /// weight, if there is one.
    pub(crate) contacts: [String; 2],
}

/// What is said yes to, before it is written.
enum Answer {
    /// To an INVITE.
    Redirect,
    /// To OPTIONS and CANCEL.
    Ok(Method),
}

impl Router {
    /// A router that answers by `state`.
    #[must_use]
    pub fn new(state: Arc<State>, counters: Counters) -> Self {
        Router {
            state,
            counters,
            pieces: Pieces::default(),
            call_lines: Budget::new("calls", CALL_LINES_PER_SECOND),
            stranger_lines: Budget::new("unknown peers", STRANGER_LINES_PER_SECOND),
        }
    }

    /// Answers one datagram, or one message of a connection.
    pub fn answer(&mut self, bytes: &[u8], from: Source<'_>, now_unix_s: u64, out: &mut Outbox) {
        let peer = from.peer;
        // Whatever else is in it, an ACK is never answered.
        if bytes.starts_with(b"ACK ") {
            return self.counters.count_dropped(Dropped::Ack);
        }
        let snapshot = self.state.snapshot.load();
        let address = peer.address.ip();
        let is_stranger = snapshot.table.is_stranger(address, from.names);
        // Before anything is read: this is what a flood costs.
        if is_stranger && self.state.strangers.is_done_with(snapshot.unknown_peers, address, now_unix_s) {
            return self.counters.count_dropped(Dropped::UnknownPeer);
        }
        // A message is large, and stays where it is.
        let scanned = sip::scan(bytes);
        let head = OnceCell::new();
        let (request, fault) = match &scanned {
            Ok(request) => (request, None),
            Err(ScanError::Empty) => return self.counters.count_dropped(Dropped::KeepAlive),
            Err(error) => match (error.status(), sip::scan_head(bytes)) {
                (Some(_), Ok(read)) => (head.get_or_init(|| read), Some(Refused::unreadable(*error))),
                (_, Ok(_) | Err(_)) => return self.counters.count_dropped(Dropped::Noise),
            },
        };
        let method = match request.method() {
            None => return self.counters.count_dropped(Dropped::Response),
            Some(Method::Ack) => return self.counters.count_dropped(Dropped::Ack),
            // Without a Via nothing tells that an answer is waited for. One that cannot be read is no
            // obstacle: its answer goes to where the request came from.
            Some(_) if !request.has(Name::Via) => {
                return self.counters.count_dropped(Dropped::Noise);
            }
            Some(method) => method,
        };
        if is_stranger && !self.state.strangers.take_answer(address, now_unix_s) {
            return self.counters.count_dropped(Dropped::UnknownPeer);
        }
        if method == Method::Invite {
            self.counters.count_received();
        }
        let answer = match fault {
            Some(refused) => Err(refused),
            None => self.decide(&snapshot, request, method, &from, now_unix_s),
        };
        if let Err(refused) = &answer {
            self.counters.count_refused(method == Method::Invite, refused.code);
            let budget = if is_stranger { &mut self.stranger_lines } else { &mut self.call_lines };
            match budget.spend(now_unix_s) {
                true if method == Method::Invite => log_refused(request, &peer, refused),
                true => log_refused_request(request, &peer, refused),
                false => (),
            }
        }
        let tag = snapshot.to_tag(request);
        // Nobody knows that a stranger's datagram came from where it says.
        let most = (is_stranger && peer.transport == Transport::Udp).then_some(bytes.len());
        let pieces = &mut self.pieces;
        let mut is_sent = true;
        out.sip_with(sip::reply_peer(request, peer), |buffer| {
            let start = buffer.len();
            let fits = |buffer: &[u8]| most.is_none_or(|most| buffer.len() - start <= most);
            write(request, &peer, &answer, tag.as_str(), pieces, buffer);
            if !fits(buffer) {
                buffer.truncate(start);
                write_bare(request, &peer, &answer, tag.as_str(), buffer);
            }
            if !fits(buffer) {
                buffer.truncate(start);
                is_sent = false;
            }
        });
        if !is_sent {
            self.counters.count_dropped(Dropped::TooShort);
        }
    }

    fn decide(
        &mut self,
        snapshot: &Snapshot,
        request: &Message<'_>,
        method: Method,
        from: &Source<'_>,
        now_unix_s: u64,
    ) -> Result<Answer, Refused> {
        request.check_request().map_err(Refused::fault)?;
        match method {
            Method::Cancel => Ok(Answer::Ok(method)),
            Method::Invite => {
                self.check_reach(request)?;
                self.redirect(snapshot, request, from, now_unix_s)
            }
            Method::Options => {
                self.check_reach(request)?;
                if snapshot.is_in_service() {
                    Ok(Answer::Ok(method))
                } else {
                    Err(Refused::not_in_service("this server takes no calls; call another server"))
                }
            }
            Method::Bye => {
                Err(Refused::new(Code::NoSuchDialog, "a router has no dialogs; send BYE to the Contact"))
            }
            Method::Ack
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Message
            | Method::Publish
            | Method::Unknown => {
                Err(Refused::new(Code::MethodNotAllowed, "a router redirects calls and does no more"))
            }
        }
    }

    /// What keeps an INVITE or OPTIONS from being looked at further.
    fn check_reach(&self, request: &Message<'_>) -> Result<(), Refused> {
        if request.has(Name::Require) && request.unsupported(SUPPORTED).next().is_some() {
            let unsupported: Vec<_> = request.unsupported(SUPPORTED).collect();
            return Err(Refused::unsupported(unsupported.join(", ")));
        }
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            let text = "a router has no dialogs; send requests of a dialog to its Contact";
            return Err(Refused::new(Code::NoSuchDialog, text));
        }
        if self.state.is_draining() {
            return Err(Refused::not_in_service("this server is being shut down; call another server"));
        }
        Ok(())
    }

    fn redirect(
        &mut self,
        snapshot: &Snapshot,
        request: &Message<'_>,
        from: &Source<'_>,
        now_unix_s: u64,
    ) -> Result<Answer, Refused> {
        let called = sip::called(request);
        let diverter = sip::diverter(request);
        let offered = sip::sdp::offered_audio(request.body());
        let call = Call {
            peer: from.peer.address.ip(),
            names: from.names,
            transport: match from.peer.transport {
                Transport::Udp => config::Transport::Udp,
                Transport::Tcp => config::Transport::Tcp,
                Transport::Tls => config::Transport::Tls,
            },
            called: party(&called),
            diverting: diverter.as_ref().map(|diverter| party(&diverter.party)),
            audio: OfferedAudio { clear: offered.clear, encrypted: offered.encrypted },
            call_id: request.call_id().unwrap_or_default(),
        };
        let route = match route(&snapshot.table, &call) {
            Decision::Accept(route) => route,
            Decision::Refuse(refusal) => return Err(Refused::call(&refusal)),
        };
        check_onward(snapshot, request, now_unix_s)?;
        let diverted = diverter.as_ref().map(|diverter| divert_reason(diverter.reason));
        let claims = Claims::of(&route, diverted);
        contacts(snapshot, &route, &claims, request, &call, now_unix_s, &mut self.pieces)?;
        self.counters.count_redirected();
        if self.call_lines.spend(now_unix_s) {
            tracing::info!(
                target: "umbriel::call",
                event = "redirected",
                call_id = call.call_id,
                gateway = %route.gateway.name,
                mailbox = route.purpose.mailbox().map(|mailbox| display(mailbox.name)),
                server = %route.server.name,
                diverted = claims.diverted.map(debug),
                from = %Number(&party(&sip::caller(request)).normal()),
                to = %Number(&call.called.normal()),
            );
        }
        Ok(Answer::Redirect)
    }
}

/// What keeps a call from being sent on, though it has a route.
fn check_onward(snapshot: &Snapshot, request: &Message<'_>, now_unix_s: u64) -> Result<(), Refused> {
    if request.max_forwards() == Some(0) {
        let text = "Max-Forwards is 0, so that no proxy may follow the redirect; look for a loop between \
                    the PBX and its proxies";
        return Err(Refused::new(Code::TooManyHops, text));
    }
    // Whoever follows a redirect does so with the Max-Forwards and the Call-ID that it began with, so that
    // a loop through a redirect server has no other end (RFC 3261 section 16.7).
    let token = request.request_uri().and_then(|uri| uri.param(TOKEN_PARAMETER));
    let call_id = request.call_id().unwrap_or_default();
    if token.is_some_and(|token| verify(&snapshot.keys, token, call_id, now_unix_s).is_ok()) {
        let text = "the call was redirected already; send it to the address in Contact, not to a router";
        return Err(Refused::new(Code::LoopDetected, text));
    }
    Ok(())
}

fn divert_reason(reason: sip::DivertReason) -> DivertReason {
    match reason {
        sip::DivertReason::Unconditional => DivertReason::Unconditional,
        sip::DivertReason::Busy => DivertReason::Busy,
        sip::DivertReason::NoAnswer => DivertReason::NoAnswer,
        sip::DivertReason::Other => DivertReason::Other,
    }
}

fn party<'a>(party: &'a sip::Party<'_>) -> Party<'a> {
    Party { user: &party.user, domain: &party.domain }
}

fn log_refused(request: &Message<'_>, peer: &Peer, refused: &Refused) {
    tracing::info!(
        target: "umbriel::call",
        event = "refused",
        call_id = request.call_id().unwrap_or_default(),
        peer = %peer.address,
        code = refused.code.id(),
        from = %Number(&party(&sip::caller(request)).normal()),
        to = %Number(&party(&sip::called(request)).normal()),
        "{}",
        refused.redacted.as_deref().unwrap_or(&refused.text)
    );
}

/// No header of it is shown: what it asks for nobody here does.
fn log_refused_request(request: &Message<'_>, peer: &Peer, refused: &Refused) {
    let method = match request.start() {
        StartLine::Request { method_text, .. } => method_text,
        StartLine::Response { .. } => "",
    };
    let (call_id, code) = (request.call_id().unwrap_or_default(), refused.code.id());
    let (event, peer) = ("refused", peer.address);
    tracing::info!(target: "umbriel::request", event, method, call_id, %peer, code, "{}", refused.text);
}

/// Writes an answer. Every one carries the tag, and Content-Length last.
fn write(
    request: &Message<'_>,
    peer: &Peer,
    answer: &Result<Answer, Refused>,
    tag: &str,
    pieces: &mut Pieces,
    out: &mut Vec<u8>,
) {
    match answer {
        Ok(Answer::Redirect) => {
            let mut response = Response::to(request, peer, 302, "Moved Temporarily", out).to_tag(tag);
            for contact in pieces.contacts.iter().filter(|contact| !contact.is_empty()) {
                response = response.header("Contact", contact);
            }
            response.finish();
        }
        Ok(Answer::Ok(method)) => {
            let response = Response::to(request, peer, 200, "OK", out).to_tag(tag);
            if *method == Method::Options {
                response.header("Allow", ALLOW).header("Accept", "application/sdp").finish();
            } else {
                response.finish();
            }
        }
        Err(refused) => {
            let status = refused.code.sip_status();
            let response = Response::to(request, peer, status, sip::reason_phrase(status), out).to_tag(tag);
            refused.headers(response, &mut pieces.scratch).finish();
        }
    }
}

/// The same without a word that the status does not need.
fn write_bare(
    request: &Message<'_>,
    peer: &Peer,
    answer: &Result<Answer, Refused>,
    tag: &str,
    out: &mut Vec<u8>,
) {
    let status = match answer {
        Ok(Answer::Redirect) => 302,
        Ok(Answer::Ok(_)) => 200,
        Err(refused) => refused.code.sip_status(),
    };
    let phrase = if status == 200 { "OK" } else { sip::reason_phrase(status) };
    Response::to(request, peer, status, phrase, out).to_tag(tag).finish();
}

impl runtime::Core for Router {
    type Note = Infallible;

    const ANY_WORKER: bool = true;

    fn handle(&mut self, bytes: &[u8], from: Source<'_>, now: Now, out: &mut Outbox) {
        self.answer(bytes, from, now.unix_ms / 1000, out);
    }

    fn handle_note(&mut self, note: Infallible, _now: Now, _out: &mut Outbox) {
        match note {}
    }

    fn handle_timeout(&mut self, _now: Now, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
