//! INVITEs: those that begin a call and those that change one.
//!
//! Decides which reach the user. Refuses to judge what they offer.

use std::time::{Duration, Instant};

use super::{
    CallKey, Endpoint, Event, Refusal, Transmit,
    call::{Call, Pending, Readiness},
    handle::{Incoming, expires_s},
    identity::{Identity, MergeId},
    table::NewInvite,
};
use crate::{
    HeaderError, Scheme, Uri,
    dialog::{Dialog, Order},
    reply_peer,
    transaction::ServerInvite,
};

/// Longest time that a call waits for its answer: what a proxy in between allows (timer C, RFC 3261
/// section 16.6).
const LONGEST_RINGING: Duration = Duration::from_secs(3 * 60);

impl Endpoint {
    pub(super) fn handle_invite(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let in_dialog = incoming.request.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog {
            self.handle_reinvite(incoming, now);
        } else {
            self.handle_new_invite(incoming, now);
        }
    }

    fn handle_new_invite(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let Incoming { request, peer, .. } = *incoming;
        let merge = self.identity.merge(request);
        if self.table.is_merged(merge) {
            self.counters.merged += 1;
            let refusal = Refusal { status: 482, reason: "Loop Detected", headers: &[] };
            self.refuse_request(incoming, &refusal, now);
            return;
        }
        if self.refuse_extensions(incoming, now) || self.refuse_if_full(incoming, now) {
            return;
        }
        let key = self.identity.new_call();
        let dialog = match Dialog::from_invite(request, &self.identity.tag(key), peer) {
            Ok(dialog) => dialog,
            Err(error) => {
                self.refuse_header(incoming, error, now);
                return;
            }
        };
        let pending = self.begin(incoming, key, Some(merge));
        let secure =
            request.uri().is_some_and(|uri| Uri::parse(uri).is_ok_and(|it| it.scheme == Scheme::Sips));
        let patience = expires_s(request).map_or(LONGEST_RINGING, Duration::from_secs).min(LONGEST_RINGING);
        self.calls.insert(key, Call::new(dialog, secure, pending, now + patience));
        self.live += 1;
        self.settle(key);
        self.events.push_back(Event::Invite { call: key, peer, request: request.bytes().to_vec() });
    }

    /// RFC 3261 section 14.2, and RFC 5407 sections 3.1.4 and 3.1.5 where it
    /// overtakes the ACK.
    fn handle_reinvite(&mut self, incoming: &Incoming<'_, '_>, now: Instant) {
        let request = incoming.request;
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let Some(key) = self.call_of(request) else {
            self.refuse_unknown(incoming, now);
            return;
        };
        let Some(it) = self.calls.get_mut(&key) else {
            return;
        };
        let newer = it.dialog.order(number) == Order::Newer;
        match it.readiness() {
            // Our BYE crosses this INVITE.
            Readiness::Ending => self.refuse_unknown(incoming, now),
            Readiness::Ready | Readiness::Acknowledges | Readiness::Busy | Readiness::OfferOpen if !newer => {
                self.refuse_order(incoming, false, now);
            }
            Readiness::Busy => self.refuse_order(incoming, true, now),
            Readiness::OfferOpen => {
                self.counters.out_of_order += 1;
                let refusal = Refusal { status: 491, reason: "Request Pending", headers: &[] };
                self.refuse_request(incoming, &refusal, now);
            }
            Readiness::Ready | Readiness::Acknowledges => {
                if self.refuse_extensions(incoming, now) || self.refuse_if_full(incoming, now) {
                    return;
                }
                self.take_reinvite(incoming, key, number, now);
            }
        }
    }

    fn take_reinvite(&mut self, incoming: &Incoming<'_, '_>, key: CallKey, number: u32, now: Instant) {
        let Incoming { request, peer, .. } = *incoming;
        let Some(it) = self.calls.get_mut(&key) else {
            return;
        };
        if let Err(error) = it.dialog.refresh(request, peer) {
            self.refuse_header(incoming, error, now);
            return;
        }
        it.dialog.advance(number);
        if it.readiness() == Readiness::Acknowledges {
            self.events.push_back(Event::Acknowledged { call: key, body: Vec::new() });
        }
        let pending = self.begin(incoming, key, None);
        if let Some(it) = self.calls.get_mut(&key) {
            it.reinvite(pending);
        }
        self.settle(key);
        self.events.push_back(Event::Reinvite { call: key, peer, request: request.bytes().to_vec() });
    }

    /// Sends `100 Trying` and begins the transaction of an INVITE that waits for the user.
    fn begin(&mut self, incoming: &Incoming<'_, '_>, call: CallKey, merge: Option<MergeId>) -> Pending {
        let Incoming { request, peer, id, .. } = *incoming;
        let trying = Identity::trying(request, &peer);
        let to = reply_peer(request, peer);
        self.transmits.push_back(Transmit { peer: to, bytes: trying.clone() });
        let machine = ServerInvite::new(trying, peer.transport.is_reliable());
        let new = NewInvite { machine, call: Some(call), merge, to };
        self.table.add_invite(id, new, &mut self.schedule);
        Pending { transaction: id, request: request.bytes().to_vec(), peer }
    }

    /// Whether there is no place for one more call or transaction. It is refused then.
    fn refuse_if_full(&mut self, incoming: &Incoming<'_, '_>, now: Instant) -> bool {
        let begins = incoming.request.to().is_ok_and(|to| to.tag().is_none());
        if self.is_table_full() {
            self.counters.transactions_full += 1;
        } else if begins && self.live >= self.identity.settings.max_calls {
            self.counters.calls_full += 1;
        } else {
            return false;
        }
        self.refuse_full(incoming, now);
        true
    }

    fn refuse_header(&mut self, incoming: &Incoming<'_, '_>, error: HeaderError, now: Instant) {
        self.counters.malformed += 1;
        let text = error.to_string();
        let warning = format!("399 umbriel \"{}\"", text.replace(['"', '\\'], "'"));
        let headers = [("Warning", warning.as_str())];
        self.refuse_request(
            incoming,
            &Refusal { status: 400, reason: "Bad Request", headers: &headers },
            now,
        );
    }
}
