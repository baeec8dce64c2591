//! What each message does, but for INVITEs that begin or change a call.
//!
//! Decides the order of checks (RFC 3261 section 8.2) and the endpoint's own refusals. Refuses to
//! know what a session is about.

use std::time::Instant;

use super::{
    CallKey, Ended, Endpoint, Event, Refusal, Service, TERMINATED, Transmit,
    call::Acknowledged,
    identity::{Identity, TransactionId},
    responses::ALLOW,
    table::NewInvite,
};
use crate::{
    Fault, Message, Method, Name, Peer, ScanError,
    dialog::Order,
    reason_phrase, reply_peer, scan_head,
    transaction::{Received, ServerInvite, ServerOther},
};

/// When to come again if a table is full: calls end every few seconds.
const FULL_RETRY_AFTER_S: &str = "5";

/// A request that no transaction has seen yet.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'r, 'a> {
    pub(super) request: &'r Message<'a>,
    pub(super) peer: Peer,
    pub(super) id: TransactionId,
    pub(super) method: Method,
}

impl Endpoint {
    pub(super) fn handle_request(&mut self, request: &Message<'_>, peer: Peer, now: Instant) {
        if let Err(fault) = request.check_request() {
            self.refuse_fault(request, peer, fault);
            return;
        }
        let method = request.method().unwrap_or(Method::Unknown);
        let id = self.identity.transaction(request, method);
        if self.table.contains(id) {
            self.counters.retransmissions += 1;
            self.transmits.extend(self.table.again(id));
            return;
        }
        let incoming = Incoming { request, peer, id, method };
        match method {
            Method::Ack => self.handle_ack(request, now),
            Method::Invite => self.handle_invite(&incoming, now),
            Method::Cancel => self.handle_cancel(&incoming, now),
            Method::Bye => self.handle_bye(&incoming, now),
            Method::Options => self.handle_options(&incoming, now),
            Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Message
            | Method::Publish
            | Method::Unknown => {
                self.counters.unsupported += 1;
                let headers = [("Allow", ALLOW)];
                let refusal = Refusal { status: 405, reason: "Method Not Allowed", headers: &headers };
                self.refuse_request(&incoming, &refusal, now);
            }
        }
    }

    /// Only our BYE asks for responses (RFC 3261 section 17.1.3).
    pub(super) fn handle_response(&mut self, response: &Message<'_>, now: Instant) {
        if response.check_response().is_err() {
            self.counters.noise += 1;
            return;
        }
        if self.take_bye_response(response, now).is_none() {
            self.counters.stray_responses += 1;
        }
    }

    fn take_bye_response(&mut self, response: &Message<'_>, now: Instant) -> Option<()> {
        let status = response.status()?;
        let branch = response.top_via().ok()?.branch?;
        let call = Identity::call_of_branch(branch)?;
        if response.cseq().ok()?.method != Method::Bye {
            return None;
        }
        let (bye, told) = self.calls.get_mut(&call)?.bye()?;
        match bye.receive(status, now) {
            Received::Final if !*told => {
                *told = true;
                self.live -= 1;
                self.events.push_back(Event::Ended { call, cause: Ended::Answered });
            }
            Received::Final | Received::Provisional | Received::FinalAgain => {}
            Received::Stray => return None,
        }
        if bye.is_terminated() {
            self.forget(call);
        }
        self.settle(call);
        Some(())
    }

    /// Bytes that are no message: answered if they were a request with a Via, else dropped.
    pub(super) fn handle_unreadable(&mut self, bytes: &[u8], error: ScanError, peer: Peer) {
        if error == ScanError::Empty {
            // A keep-alive (RFC 5626 section 3.5.1 on streams, and customary on UDP).
            return;
        }
        let head = error.status().and_then(|status| Some((status, scan_head(bytes).ok()?)));
        match head {
            Some((status, head)) if is_answerable(&head) => {
                let reason = reason_phrase(status);
                self.counters.malformed += 1;
                self.refuse_stateless(&head, peer, &Refusal { status, reason, headers: &[] });
            }
            Some(_) | None => self.counters.noise += 1,
        }
    }

    fn refuse_fault(&mut self, request: &Message<'_>, peer: Peer, fault: Fault) {
        if !is_answerable(request) {
            self.counters.noise += 1;
            return;
        }
        let (status, reason) = (fault.status(), reason_phrase(fault.status()));
        match fault {
            Fault::Method => self.counters.unsupported += 1,
            Fault::Version
            | Fault::Line
            | Fault::RequestUri(_)
            | Fault::RequestUriHeaders
            | Fault::Scheme
            | Fault::Header(_)
            | Fault::CSeqMethod
            | Fault::Kind => self.counters.malformed += 1,
        }
        self.refuse_stateless(request, peer, &Refusal { status, reason, headers: &[] });
    }

    /// Answers and remembers nothing: each copy gets the same answer anew (RFC 3261 section 8.2.7).
    pub(super) fn refuse_stateless(&mut self, request: &Message<'_>, peer: Peer, refusal: &Refusal<'_>) {
        let tag = self.identity.stateless_tag(request);
        let bytes = self.identity.own_refusal(request, &peer, &tag, refusal);
        self.transmits.push_back(Transmit { peer: reply_peer(request, peer), bytes });
    }

    /// Refuses a request by ourselves. An INVITE gets a transaction, so that its refusal is repeated
    /// until the ACK, unless the table is full.
    pub(super) fn refuse_request(
        &mut self,
        incoming: &Incoming<'_, '_>,
        refusal: &Refusal<'_>,
        now: Instant,
    ) {
        let Incoming { request, peer, id, method } = *incoming;
        if method != Method::Invite || self.is_table_full() {
            self.refuse_stateless(request, peer, refusal);
            return;
        }
        let tag = self.identity.stateless_tag(request);
        let bytes = self.identity.own_refusal(request, &peer, &tag, refusal);
        let mut machine = ServerInvite::new(Vec::new(), peer.transport.is_reliable());
        let to = reply_peer(request, peer);
        if machine.refuse(bytes.clone(), now) {
            let new = NewInvite { machine, call: None, merge: None, to };
            self.table.add_invite(id, new, &mut self.schedule);
            self.transmits.push_back(Transmit { peer: to, bytes });
        }
    }

    /// 503 with `Retry-After` for want of a place in a table.
    pub(super) fn refuse_full(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let headers = [("Retry-After", FULL_RETRY_AFTER_S)];
        let refusal = Refusal { status: 503, reason: "Service Unavailable", headers: &headers };
        self.refuse_request(incoming, &refusal, now);
    }

    /// 481, in whose dialog nothing is known (RFC 3261 section 12.2.2).
    pub(super) fn refuse_unknown(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        self.counters.unknown_dialog += 1;
        let reason = "Call/Transaction Does Not Exist";
        self.refuse_request(incoming, &Refusal { status: 481, reason, headers: &[] }, now);
    }

    /// Whether the request asks for an extension, which is none of ours (RFC 3261 section 8.2.2.3).
    /// It is refused then.
    pub(super) fn refuse_extensions(&mut self, incoming: &Incoming<'_, '_>, now: Instant) -> bool {
        let tags: Vec<&str> = incoming.request.unsupported(&[]).collect();
        if tags.is_empty() {
            return false;
        }
        self.counters.unsupported += 1;
        let tags = tags.join(", ");
        let headers = [("Unsupported", tags.as_str())];
        let refusal = Refusal { status: 420, reason: "Bad Extension", headers: &headers };
        self.refuse_request(incoming, &refusal, now);
        true
    }

    /// 500 to a request that came too late or too early (RFC 3261 sections 12.2.2 and 14.2).
    pub(super) fn refuse_order(&mut self, incoming: &Incoming<'_, '_>, retry: bool, now: Instant) {
        self.counters.out_of_order += 1;
        let seconds = self.identity.backoff_s(incoming.request).to_string();
        let retry_after = [("Retry-After", seconds.as_str())];
        let headers: &[(&str, &str)] = if retry { &retry_after } else { &[] };
        let refusal = Refusal { status: 500, reason: "Server Internal Error", headers };
        self.refuse_request(incoming, &refusal, now);
    }

    /// The call in whose dialog a request stands (RFC 3261 section 12.2.2).
    pub(super) fn call_of(&self, request: &Message<'_>) -> Option<CallKey> {
        let call = self.identity.call_of_tag(request.to().ok()?.tag()?)?;
        self.calls.get(&call).filter(|it| it.dialog.owns(request)).map(|_| call)
    }

    pub(super) fn is_table_full(&self) -> bool {
        self.table.len() >= self.identity.settings.max_transactions
    }

    /// An ACK is never answered: it ends the repetition of a refusal, or of a 200.
    fn handle_ack(&mut self, ack: &Message<'_>, now: Instant) {
        let id = self.identity.transaction(ack, Method::Invite);
        if self.table.move_invite(id, &mut self.schedule, |machine| machine.acknowledge(now)).is_some() {
            return;
        }
        let (Some(call), Ok(cseq)) = (self.call_of(ack), ack.cseq()) else {
            self.counters.stray_acks += 1;
            return;
        };
        let Some(it) = self.calls.get_mut(&call) else {
            return;
        };
        match it.acknowledge(cseq.number) {
            Acknowledged::Nothing => {}
            Acknowledged::Established => {
                self.events.push_back(Event::Acknowledged { call, body: ack.body().to_vec() });
            }
            Acknowledged::HangUp(hangup) => self.send_bye(call, &hangup, false, now),
        }
        self.settle(call);
    }

    /// RFC 3261 section 9.2.
    fn handle_cancel(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let invite = self.identity.transaction(incoming.request, Method::Invite);
        let Some((proceeding, call)) = self.table.invite(invite) else {
            self.refuse_unknown(incoming, now);
            return;
        };
        let tag = call
            .map_or_else(|| self.identity.stateless_tag(incoming.request), |call| self.identity.tag(call));
        self.respond_ok(incoming, &tag, now);
        // A CANCEL that crosses the final response changes nothing.
        let Some(call) = call.filter(|_| proceeding) else {
            return;
        };
        let rang = self.calls.get(&call).is_some_and(|it| it.ringing().is_some());
        self.refuse_pending(call, &TERMINATED, true, now);
        if rang {
            self.events.push_back(Event::Cancelled { call });
            self.forget(call);
        }
    }

    /// RFC 3261 section 15.1.2.
    fn handle_bye(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let Some(call) = self.call_of(incoming.request) else {
            self.refuse_unknown(incoming, now);
            return;
        };
        if self.refuse_extensions(incoming, now) || !self.is_in_order(incoming, call, now) {
            return;
        }
        let tag = self.identity.tag(call);
        self.respond_ok(incoming, &tag, now);
        self.refuse_pending(call, &TERMINATED, true, now);
        if self.calls.get(&call).is_some_and(|it| it.is_live()) {
            self.events.push_back(Event::Hangup { call });
        }
        self.forget(call);
    }

    /// RFC 3261 section 11.2.
    fn handle_options(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let Incoming { request, peer, .. } = *incoming;
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog {
            let Some(call) = self.call_of(request) else {
                self.refuse_unknown(incoming, now);
                return;
            };
            if !self.is_in_order(incoming, call, now) {
                return;
            }
        }
        if self.refuse_extensions(incoming, now) {
            return;
        }
        match self.service {
            Service::Active => {
                let tag = self.identity.stateless_tag(request);
                let bytes = self.identity.capabilities(request, &peer, &tag);
                self.transmits.push_back(Transmit { peer: reply_peer(request, peer), bytes });
            }
            Service::Unavailable { retry_after_s } => {
                let seconds = retry_after_s.to_string();
                let headers = [("Retry-After", seconds.as_str())];
                let refusal = Refusal { status: 503, reason: "Service Unavailable", headers: &headers };
                self.refuse_stateless(request, peer, &refusal);
            }
        }
    }

    /// Whether a request other than INVITE is in order in its dialog; else it is refused. One with
    /// the number of the last request is let pass, because simple peers never count on.
    fn is_in_order(&mut self, incoming: &Incoming<'_, '_>, call: CallKey, now: Instant) -> bool {
        let number = incoming.request.cseq().map_or(0, |cseq| cseq.number);
        let dialog = self.calls.get_mut(&call).map(|it| &mut it.dialog);
        let in_order = dialog.is_some_and(|dialog| {
            let order = dialog.order(number);
            dialog.advance(number);
            order != Order::Older
        });
        if !in_order {
            self.refuse_order(incoming, false, now);
        }
        in_order
    }

    /// 200 to a request whose copies would no longer be understood. If the table is full, a copy is
    /// answered 481, which ends the far end's transaction as well.
    fn respond_ok(&mut self, incoming: &Incoming<'_, '_>, tag: &str, now: Instant) {
        let Incoming { request, peer, id, .. } = *incoming;
        let bytes = self.identity.plain_ok(request, &peer, tag);
        let to = reply_peer(request, peer);
        let mut machine = ServerOther::new(peer.transport.is_reliable());
        if self.is_table_full() {
            self.counters.transactions_full += 1;
        } else if machine.respond(bytes.clone(), now) {
            self.table.add_other(id, machine, to, &mut self.schedule);
        }
        self.transmits.push_back(Transmit { peer: to, bytes });
    }
}

/// Whether a request that is at fault can be answered: never an ACK, and only if it says where to.
fn is_answerable(request: &Message<'_>) -> bool {
    request.method().is_some_and(|method| method != Method::Ack) && request.top_via().is_ok()
}

/// How long the far end gives a call to be answered, in seconds (RFC 3261 section 13.3.1).
pub(super) fn expires_s(invite: &Message<'_>) -> Option<u64> {
    invite.header(Name::Expires).and_then(crate::lex::decimal)
}
