//! One SIP endpoint that takes calls (RFC 3261's user agent server, and client of its own BYE).
//!
//! Decides every answer that needs no opinion: retransmissions, OPTIONS, CANCEL, BYE, ACK, and the
//! refusal of what is broken, unknown or too much. Refuses to know sockets, clocks, media, numbers
//! and who may call: bytes, peer and `now` come in; messages, events and one deadline go out.

mod call;
mod event;
mod handle;
mod identity;
mod invites;
mod responses;
mod schedule;
mod settings;
mod table;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Instant,
};

use call::{Call, Due, Hangup, Pending, Repeated};
pub use event::{CallKey, Ended, Event, Refusal, Transmit, WrongState};
use identity::{Identity, TransactionId};
use responses::DialogReply;
use schedule::Schedule;
pub use settings::{Counters, EndpointSettings, Service, no_reason};
use table::Table;

use crate::{
    Message, Name, Peer, reply_peer, scan,
    transaction::{ClientOther, ServerInvite, Tick},
};

/// All calls of one worker. Drain [`Endpoint::poll_transmit`] and [`Endpoint::poll_event`] after each
/// call of a method that takes `now`.
#[derive(Debug)]
pub struct Endpoint {
    identity: Identity,
    service: Service,
    counters: Counters,
    calls: HashMap<CallKey, Call>,
    /// How many of `calls` the user still counts on.
    live: usize,
    table: Table,
    schedule: Schedule<Owner>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Transaction(TransactionId),
    Call(CallKey),
}

impl Endpoint {
    /// An endpoint without calls.
    #[must_use]
    pub fn new(settings: EndpointSettings) -> Endpoint {
        Endpoint {
            identity: Identity::new(settings),
            service: Service::Active,
            counters: Counters::default(),
            calls: HashMap::new(),
            live: 0,
            table: Table::new(),
            schedule: Schedule::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Changes what answers OPTIONS. Calls are not touched.
    pub fn set_service(&mut self, service: Service) {
        self.service = service;
    }

    /// Changes where far ends reach us from now on: host of `Contact` and `Via`, and the ports of UDP,
    /// TCP and TLS. A call that stands was told another address and is still known.
    pub fn set_contact(&mut self, host: IpAddr, [udp, tcp, tls]: [Option<u16>; 3]) {
        let settings = &mut self.identity.settings;
        settings.contact_host = host;
        (settings.udp_port, settings.tcp_port, settings.tls_port) = (udp, tcp, tls);
    }

    /// Takes one datagram, or one framed message, that `peer` sent.
    pub fn handle(&mut self, bytes: &[u8], peer: Peer, now: Instant) {
        match scan(bytes) {
            Ok(message) if message.is_request() => self.handle_request(&message, peer, now),
            Ok(message) => self.handle_response(&message, now),
            Err(error) => self.handle_unreadable(bytes, error, peer),
        }
    }

    /// Moves on what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.schedule.due(now) {
            match owner {
                Owner::Transaction(id) => self.time_transaction(id, now),
                Owner::Call(key) => self.time_call(key, now),
            }
        }
    }

    /// The next instant at which [`Endpoint::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.schedule.first()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends `180 Ringing`. Does nothing once the call is answered or gone.
    pub fn ring(&mut self, call: CallKey, _now: Instant) {
        let Some((secure, invite)) = self.calls.get(&call).and_then(|it| Some((it.secure, it.ringing()?)))
        else {
            return;
        };
        let Ok(request) = scan(&invite.request) else {
            return;
        };
        let reply = DialogReply { call, secure, status: 180, reason: "Ringing", sdp: None };
        let bytes = self.identity.dialog_reply(&request, &invite.peer, &reply);
        let step = |machine: &mut ServerInvite| machine.provisional(bytes.clone());
        if let Some(peer) = self.table.move_invite(invite.transaction, &mut self.schedule, step) {
            self.transmits.push_back(Transmit { peer, bytes });
        }
    }

    /// Sends `200 OK` with `sdp`, and repeats it until it is acknowledged.
    ///
    /// # Errors
    /// [`WrongState`] unless the call waits for its answer.
    pub fn answer(&mut self, call: CallKey, sdp: &str, now: Instant) -> Result<(), WrongState> {
        self.calls.get(&call).and_then(Call::ringing).ok_or(WrongState)?;
        self.accept(call, sdp, now)
    }

    /// Refuses the call, which is gone then: no event follows.
    ///
    /// # Errors
    /// [`WrongState`] unless the call waits for its answer.
    pub fn refuse(&mut self, call: CallKey, refusal: Refusal<'_>, now: Instant) -> Result<(), WrongState> {
        self.calls.get(&call).and_then(Call::ringing).ok_or(WrongState)?;
        self.refuse_pending(call, &refusal, false, now);
        self.forget(call);
        Ok(())
    }

    /// Sends `200 OK` with `sdp` to a re-INVITE, and repeats it until it is acknowledged.
    ///
    /// # Errors
    /// [`WrongState`] unless a re-INVITE waits.
    pub fn answer_reinvite(&mut self, call: CallKey, sdp: &str, now: Instant) -> Result<(), WrongState> {
        self.calls.get(&call).and_then(Call::reinvited).ok_or(WrongState)?;
        self.accept(call, sdp, now)
    }

    /// Refuses a re-INVITE. The call goes on as it was.
    ///
    /// # Errors
    /// [`WrongState`] unless a re-INVITE waits.
    pub fn refuse_reinvite(
        &mut self,
        call: CallKey,
        refusal: Refusal<'_>,
        now: Instant,
    ) -> Result<(), WrongState> {
        self.calls.get(&call).and_then(Call::reinvited).ok_or(WrongState)?;
        self.refuse_pending(call, &refusal, false, now);
        Ok(())
    }

    /// Ends an answered call by BYE: at once, or as soon as the 200 is acknowledged (RFC 3261
    /// section 15). [`Event::Ended`] follows, or [`Event::Hangup`] if the far end's BYE comes first.
    /// `reason` is the value of a `Reason` header (RFC 3326).
    ///
    /// # Errors
    /// [`WrongState`] unless the call is answered and not ending.
    pub fn bye(&mut self, call: CallKey, reason: Option<&str>, now: Instant) -> Result<(), WrongState> {
        let hangup = Hangup { reason: reason.map(str::to_owned) };
        let it = self.calls.get_mut(&call).ok_or(WrongState)?;
        if it.may_end() {
            self.refuse_pending(call, &TERMINATED, true, now);
            self.send_bye(call, &hangup, false, now);
            return Ok(());
        }
        if it.hang_up_later(hangup) { Ok(()) } else { Err(WrongState) }
    }

    /// How many calls there are, ringing and ending ones included.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.live
    }

    /// Whether nothing is left to do: no call, no transaction that waits for a copy, nothing to poll.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let still = self.calls.is_empty() && self.table.len() == 0;
        still && self.transmits.is_empty() && self.events.is_empty()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// What becomes of an INVITE whose call ends before its answer (RFC 3261 section 15.1.2).
const TERMINATED: Refusal<'static> = Refusal { status: 487, reason: "Request Terminated", headers: &[] };

/// Timers, and what several requests and the user have in common.
impl Endpoint {
    fn time_transaction(&mut self, id: TransactionId, now: Instant) {
        let (tick, transmit) = self.table.handle_timeout(id, now, &mut self.schedule);
        match tick {
            Tick::Nothing => {}
            Tick::Resend => self.counters.resent += 1,
            Tick::GiveUp => self.counters.given_up += 1,
        }
        self.transmits.extend(transmit);
    }

    fn time_call(&mut self, call: CallKey, now: Instant) {
        let Some(it) = self.calls.get_mut(&call) else {
            return;
        };
        match it.handle_timeout(now) {
            Due::Nothing => {}
            Due::Resend(peer, bytes) => {
                self.counters.resent += 1;
                self.transmits.push_back(Transmit { peer, bytes });
            }
            Due::Expired(invite) => {
                self.refuse_invite(call, &invite, &TERMINATED, true, now);
                self.events.push_back(Event::Cancelled { call });
                self.forget(call);
            }
            Due::NeverAcknowledged(hangup) => {
                self.counters.given_up += 1;
                self.send_bye(call, &hangup, true, now);
                self.events.push_back(Event::Ended { call, cause: Ended::NeverAcknowledged });
            }
            Due::ByeTimedOut { told } => {
                self.counters.given_up += 1;
                if !told {
                    self.events.push_back(Event::Ended { call, cause: Ended::TimedOut });
                }
                self.forget(call);
            }
            Due::Over => self.forget(call),
        }
        self.settle(call);
    }

    /// Answers the INVITE that waits in `call` by 200.
    fn accept(&mut self, call: CallKey, sdp: &str, now: Instant) -> Result<(), WrongState> {
        let it = self.calls.get_mut(&call).ok_or(WrongState)?;
        let secure = it.secure;
        let Pending { transaction, request, peer } = it.take_pending().ok_or(WrongState)?;
        // It could be scanned when it came.
        let request = scan(&request).map_err(|_| WrongState)?;
        let cseq = request.cseq().map_err(|_| WrongState)?.number;
        let offers = !has_sdp(&request);
        let reply = DialogReply { call, secure, status: 200, reason: "OK", sdp: Some(sdp) };
        let bytes = self.identity.dialog_reply(&request, &peer, &reply);
        let to = reply_peer(&request, peer);
        it.answered(Repeated::new(bytes.clone(), to, cseq, offers, now));
        // The 200 is the dialog's: the transaction only learns of it (RFC 6026 section 7.1).
        let _peer = self.table.move_invite(transaction, &mut self.schedule, |machine| machine.accept(now));
        self.transmits.push_back(Transmit { peer: to, bytes });
        self.settle(call);
        Ok(())
    }

    /// Refuses the INVITE that waits in `call`, if one does.
    fn refuse_pending(&mut self, call: CallKey, refusal: &Refusal<'_>, own: bool, now: Instant) {
        if let Some(invite) = self.calls.get_mut(&call).and_then(Call::take_pending) {
            self.refuse_invite(call, &invite, refusal, own, now);
        }
    }

    fn refuse_invite(
        &mut self,
        call: CallKey,
        invite: &Pending,
        refusal: &Refusal<'_>,
        own: bool,
        now: Instant,
    ) {
        let Ok(request) = scan(&invite.request) else {
            return;
        };
        let tag = self.identity.tag(call);
        let bytes = if own {
            self.identity.own_refusal(&request, &invite.peer, &tag, refusal)
        } else {
            self.identity.refusal(&request, &invite.peer, &tag, refusal)
        };
        let step = |machine: &mut ServerInvite| machine.refuse(bytes.clone(), now);
        if let Some(peer) = self.table.move_invite(invite.transaction, &mut self.schedule, step) {
            self.transmits.push_back(Transmit { peer, bytes });
        }
    }

    /// Sends our BYE. `told` if the user counts the call as over already.
    fn send_bye(&mut self, call: CallKey, hangup: &Hangup, told: bool, now: Instant) {
        let Some(it) = self.calls.get_mut(&call) else {
            return;
        };
        let peer = it.dialog.next_hop();
        let via = self.identity.via(call, peer.transport);
        let mut bytes = Vec::with_capacity(1_024);
        let mut request = it.dialog.request("BYE", &via, &mut bytes);
        if let Some(reason) = &hangup.reason {
            request = request.header("Reason", reason);
        }
        request.header("User-Agent", &self.identity.settings.user_agent).finish();
        it.ending(ClientOther::new(bytes.clone(), peer.transport.is_reliable(), now), peer, told);
        self.live -= usize::from(told);
        self.transmits.push_back(Transmit { peer, bytes });
        self.settle(call);
    }

    /// Plans the next deadline of `call`, if it is still there.
    fn settle(&mut self, call: CallKey) {
        if let Some(it) = self.calls.get_mut(&call) {
            let next = it.next_deadline();
            self.schedule.set(Owner::Call(call), &mut it.deadline, next);
        }
    }

    fn forget(&mut self, call: CallKey) {
        if let Some(mut it) = self.calls.remove(&call) {
            self.schedule.set(Owner::Call(call), &mut it.deadline, None);
            self.live -= usize::from(it.is_live());
        }
    }
}

/// Whether a message brings a session description, be it alone or in parts.
fn has_sdp(message: &Message<'_>) -> bool {
    !message.body().is_empty() && message.header(Name::ContentType).is_some()
}

#[cfg(test)]
mod tests;
