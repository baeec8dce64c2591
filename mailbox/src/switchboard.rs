//! All calls of one worker: SIP on one side, media on the other.
//!
//! Decides which call a packet, an event or a deadline belongs to, and keeps the one timer structure
//! of them all. Refuses to know sockets, clocks and files: it is a [`runtime::Core`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use config::{Code, MailboxServer, RETRY_AFTER_S, ServerStatus};
use runtime::{Core, Now, Outbox, Source, WorkerPlace};
use sip::sdp::{self, SdpError};
use sip::{CallKey, Ended, Endpoint, Event, Message, Service};
use siphasher::sip::SipHasher13;

use crate::admission::{Refused, admit, called};
use crate::call::{Call, Context, Ending, FirstWord, Media, Next};
use crate::call_facts::CallFacts;
use crate::chance::Chance;
use crate::message::MessageId;
use crate::metrics::CallMetrics;
use crate::negotiation::{canonical, choose, offer_in, unusable};
use crate::prompt::Utterance;
use crate::refusal::{reason_header, with_headers};
use crate::rtp::Stream;
use crate::session::Session;
use crate::speech::Spoken;
use crate::srtp::Keys;
use crate::surroundings::{CallSlot, Surroundings};

/// What other threads tell a switchboard.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// Another configuration is served, or the server began to drain.
    ServiceChanged,
    /// A sentence is ready to be played, or cannot be.
    Spoken(Utterance),
    /// End every call.
    Stop,
}

/// All calls of one worker.
pub(crate) struct Switchboard<S: Surroundings> {
    endpoint: Endpoint,
    surroundings: S,
    metrics: CallMetrics,
    chance: Chance,
    place: WorkerPlace,
    /// Where callers send media, as they are told.
    local: SocketAddr,
    calls: HashMap<CallKey, Line>,
    by_media: HashMap<SocketAddr, CallKey>,
    /// The next deadline of each call.
    timers: BTreeSet<(Instant, CallKey)>,
}

/// One call and what belongs to its signalling.
struct Line {
    call: Call,
    session: Session,
    /// What its 200 will say.
    description: String,
    due: Option<Instant>,
    _slot: CallSlot,
}

impl<S: Surroundings> Switchboard<S> {
    /// The switchboard of the worker at `place`, without calls.
    pub(crate) fn new(
        endpoint: Endpoint,
        surroundings: S,
        metrics: CallMetrics,
        place: WorkerPlace,
        seed: u64,
    ) -> Self {
        let mut switchboard = Switchboard {
            endpoint,
            surroundings,
            metrics,
            chance: Chance::new(seed),
            place,
            // Replaced before the first call: without an address none is taken.
            local: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into(),
            calls: HashMap::new(),
            by_media: HashMap::new(),
            timers: BTreeSet::new(),
        };
        switchboard.set_service();
        switchboard
    }

    /// Takes up where this server is reached and whether it takes calls.
    fn set_service(&mut self) {
        let served = self.surroundings.served();
        if let Some(MailboxServer { address, listeners, media_ports, .. }) = &served.advertised {
            self.endpoint.set_contact(*address, [listeners.udp, listeners.tcp, listeners.tls]);
            let bound = self.place.media.map_or(0, |media| media.port());
            let port = media_ports.get(self.place.index).copied().unwrap_or(bound);
            self.local = SocketAddr::new(*address, port);
        }
        let enabled = served.config.server.status == ServerStatus::Enabled && served.advertised.is_some();
        self.endpoint.set_service(if enabled && !self.surroundings.is_draining() {
            Service::Active
        } else {
            Service::Unavailable { retry_after_s: RETRY_AFTER_S }
        });
    }

    /// Whoever is told another address than our own is reached by translation.
    fn first_word(&self) -> FirstWord {
        match self.place.media {
            Some(bound) if bound != self.local => FirstWord::Callers,
            Some(_) | None => FirstWord::Anybodys,
        }
    }

    /// Handles what the endpoint has found out, and sends what it wants sent.
    fn pump(&mut self, now: Now, out: &mut Outbox) {
        self.pump_of(&[], now, out);
    }

    /// The same while a message is handled that came from a peer who has proved these names: whatever
    /// call begins is begun by it.
    fn pump_of(&mut self, names: &[String], now: Now, out: &mut Outbox) {
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                out.sip(transmit.peer, &transmit.bytes);
            }
            let Some(event) = self.endpoint.poll_event() else { return };
            self.on_event(event, names, now, out);
        }
    }

    fn on_event(&mut self, event: Event, names: &[String], now: Now, out: &mut Outbox) {
        match event {
            Event::Invite { call, peer, request } => {
                if let Err(refused) = self.on_invite(call, Source { peer, names }, &request, now) {
                    self.refuse(call, &refused, &request, now);
                }
            }
            Event::Reinvite { call, request, .. } => {
                if let Err(refused) = self.on_reinvite(call, &request, now) {
                    with_headers(&refused, |refusal| {
                        // A re-INVITE that was cancelled meanwhile needs no answer.
                        let _ = self.endpoint.refuse_reinvite(call, refusal, now.instant);
                    });
                }
                self.schedule(call);
            }
            Event::Acknowledged { call, body } => {
                let agreed = body.is_empty() || self.on_answer(call, &body, now);
                if agreed {
                    self.step(call, now, out, |call, cx| call.acknowledged(cx));
                } else {
                    self.hang_up(call, Ending::Media, now, out);
                }
            }
            Event::Cancelled { call } => self.over(call, Ending::Cancelled, now, out),
            Event::Hangup { call } => self.over(call, Ending::Hangup, now, out),
            Event::Ended { call, cause } => match cause {
                Ended::NeverAcknowledged => self.over(call, Ending::Unacknowledged, now, out),
                // The call was over when we hung up.
                Ended::Answered | Ended::TimedOut => {}
            },
        }
    }

    fn on_invite(&mut self, key: CallKey, from: Source<'_>, request: &[u8], now: Now) -> Result<(), Refused> {
        // A note of a change may have been missed.
        self.set_service();
        let invite = scan(request)?;
        let admitted = admit(&self.surroundings, self.metrics.slots(), &invite, from, now.unix_ms / 1_000)?;
        let offer = offer_in(&invite, admitted.profile)?;
        // RFC 8866 section 5.2 asks for numbers that fit 63 bits in practice.
        let mut session = Session::new(self.chance.next() >> 2, admitted.profile);
        let secret = || self.surroundings.secret();
        let (media, described) = match &offer {
            None => (None, session.offer(self.local, &secret)?),
            Some(offer) => {
                let (codec, media) = choose(offer, None).ok_or_else(|| unusable(&SdpError::NoCodec))?;
                (Some(media), session.answer(offer, codec, self.local, &secret)?)
            }
        };
        if let Some(media) = media {
            self.claim(media.remote, key)?;
        }
        let facts = CallFacts {
            id: MessageId::new(now.unix_ms, self.chance.bytes()),
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            mailbox: admitted.mailbox,
            extension: admitted.extension,
            diverted: admitted.diverted,
            gateway: admitted.gateway,
            caller: admitted.caller,
            greeting: admitted.greeting,
            settings: admitted.settings,
        };
        let waits = matches!(self.surroundings.speak(&facts.greeting), Spoken::Coming);
        let stream = Stream::new([self.chance.next(), self.chance.next()]);
        let first_word = self.first_word();
        let mut call = Call::ringing(facts, (media, admitted.profile), stream, first_word, now.instant);
        if let Some(keys) = described.keys {
            call.agree(keys);
        }
        let line = Line { call, session, description: described.text, due: None, _slot: admitted.slot };
        self.calls.insert(key, line);
        self.endpoint.ring(key, now.instant);
        if waits {
            self.schedule(key);
        } else {
            self.answer(key, now);
        }
        Ok(())
    }

    /// Sends the 200. If the INVITE is gone meanwhile, its own event follows.
    fn answer(&mut self, key: CallKey, now: Now) {
        let Some(line) = self.calls.get_mut(&key) else { return };
        if self.endpoint.answer(key, &line.description, now.instant).is_ok() {
            line.call.answered(now.instant);
        }
        self.schedule(key);
    }

    fn on_reinvite(&mut self, key: CallKey, request: &[u8], now: Now) -> Result<(), Refused> {
        let invite = scan(request)?;
        let Some(line) = self.calls.get(&key) else {
            let text = "the call is over; nothing of it can be changed".to_owned();
            return Err(Refused::because(Code::NoSuchDialog, text));
        };
        let (mut session, codec) = (line.session.clone(), line.call.media().map(|media| media.codec));
        let secret = || self.surroundings.secret();
        let described = match offer_in(&invite, session.profile())? {
            None => session.offer(self.local, &secret)?,
            Some(offer) => {
                let (chosen, media) = choose(&offer, codec).ok_or_else(|| {
                    let text = "the codec of a call stays what it was; offer it again".to_owned();
                    Refused::because(Code::MediaNotAcceptable, text)
                })?;
                let described = session.answer(&offer, chosen, self.local, &secret)?;
                self.change_media(key, media, described.keys, now)?;
                described
            }
        };
        if self.endpoint.answer_reinvite(key, &described.text, now.instant).is_ok()
            && let Some(line) = self.calls.get_mut(&key)
        {
            line.session = session;
        }
        Ok(())
    }

    /// An ACK brought the answer to an offer of ours; false if nothing can be agreed on.
    fn on_answer(&mut self, key: CallKey, body: &[u8], now: Now) -> bool {
        let Some(line) = self.calls.get(&key) else { return true };
        let codec = line.call.media().map(|media| media.codec);
        let Ok(answer) = sdp::parse_offer(body, line.session.profile()) else { return false };
        let (Some((_, media)), Some(keys)) = (choose(&answer, codec), line.session.agreed(&answer)) else {
            return false;
        };
        self.change_media(key, media, keys, now).is_ok()
    }

    /// Moves a call's media to where it was negotiated to be, and to these keys.
    fn change_media(
        &mut self,
        key: CallKey,
        mut media: Media,
        keys: Option<Keys>,
        now: Now,
    ) -> Result<(), Refused> {
        let before = self.calls.get(&key).and_then(|line| line.call.media()).map(|media| media.remote);
        if media.remote.ip().is_unspecified() {
            // Hold as before RFC 3264 names no address: the old one is kept.
            media.remote = before.unwrap_or(media.remote);
        }
        if before != Some(media.remote) {
            self.claim(media.remote, key)?;
            if let Some(before) = before {
                self.by_media.remove(&before);
            }
        }
        if let Some(line) = self.calls.get_mut(&key) {
            line.call.change_media(media, now.instant);
            if let Some(keys) = keys {
                line.call.agree(keys);
            }
        }
        Ok(())
    }

    /// Reserves a media address: packets are told apart by nothing else, so two calls cannot share one.
    fn claim(&mut self, remote: SocketAddr, key: CallKey) -> Result<(), Refused> {
        if remote.ip().is_unspecified() {
            return Ok(());
        }
        let refuse = |text: &str| Err(Refused::because(Code::MediaNotAcceptable, text.to_owned()));
        let local = canonical(self.local);
        if remote.is_ipv4() != local.is_ipv4() {
            return refuse("the media address is of another IP version than ours; offer one of ours");
        }
        if remote == local {
            return refuse("the media address is our own; offer that of the caller");
        }
        match self.by_media.entry(remote) {
            Entry::Occupied(_) => {
                refuse("another call uses this media address; offer one port for each call")
            }
            Entry::Vacant(place) => {
                place.insert(key);
                Ok(())
            }
        }
    }

    /// Refuses a call that did not begin, or had not been answered.
    fn refuse(&mut self, key: CallKey, refused: &Refused, request: &[u8], now: Now) {
        let invite = sip::scan(request).ok();
        let call_id = invite.as_ref().and_then(|invite| invite.call_id().ok()).unwrap_or_default();
        self.metrics.refused(refused, call_id, &invite.as_ref().map(called).unwrap_or_default());
        with_headers(refused, |refusal| {
            // An INVITE that was cancelled meanwhile needs no answer.
            let _ = self.endpoint.refuse(key, refusal, now.instant);
        });
    }

    /// Lets a call handle something, and does what it asks for.
    fn step(
        &mut self,
        key: CallKey,
        now: Now,
        out: &mut Outbox,
        handle: impl FnOnce(&mut Call, &mut Context<'_, S>) -> Next,
    ) {
        let Some(line) = self.calls.get_mut(&key) else { return };
        let mut context = Context { now, out, surroundings: &self.surroundings };
        match handle(&mut line.call, &mut context) {
            Next::Stay => self.schedule(key),
            Next::Answer => self.answer(key, now),
            Next::HangUp(ending) => self.hang_up(key, ending, now, out),
        }
    }

    /// Ends an answered call by BYE.
    fn hang_up(&mut self, key: CallKey, ending: Ending, now: Now, out: &mut Outbox) {
        let reason = match ending {
            Ending::Storage => Some(reason_header(Code::StorageUnavailable, "the recording cannot go on")),
            Ending::Shutdown => Some(reason_header(Code::ServerNotInService, "the server is stopped")),
            Ending::Media => {
                Some(reason_header(Code::MediaNotAcceptable, "the ACK brought no usable answer"))
            }
            Ending::Hangup
            | Ending::Key
            | Ending::Silence
            | Ending::Limit
            | Ending::Unacknowledged
            | Ending::Cancelled => None,
        };
        // If its BYE has come meanwhile, the call ends by that.
        let _ = self.endpoint.bye(key, reason.as_deref(), now.instant);
        self.over(key, ending, now, out);
    }

    /// Forgets a call whose signalling is done with, or will end by itself.
    fn over(&mut self, key: CallKey, ending: Ending, now: Now, out: &mut Outbox) {
        let Some(mut line) = self.calls.remove(&key) else { return };
        if let Some(due) = line.due {
            self.timers.remove(&(due, key));
        }
        if let Some(media) = line.call.media()
            && self.by_media.get(&media.remote) == Some(&key)
        {
            self.by_media.remove(&media.remote);
        }
        let mut context = Context { now, out, surroundings: &self.surroundings };
        let outcome = line.call.close(ending, &mut context);
        self.metrics.ended(line.call.facts(), ending, outcome, line.call.age(now.instant));
    }

    /// Puts a call's deadline into the timers.
    fn schedule(&mut self, key: CallKey) {
        let Some(line) = self.calls.get_mut(&key) else { return };
        let due = line.call.deadline();
        if line.due == due {
            return;
        }
        if let Some(before) = line.due {
            self.timers.remove(&(before, key));
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
        line.due = due;
    }

    /// Ends every call: those that ring are refused.
    fn stop(&mut self, now: Now, out: &mut Outbox) {
        let mut keys: Vec<CallKey> = self.calls.keys().copied().collect();
        keys.sort();
        for key in keys {
            let ringing = self.calls.get(&key).is_some_and(|line| line.call.is_ringing());
            if ringing {
                let text = "the server is stopped; call another one".to_owned();
                with_headers(&Refused::because(Code::ServerNotInService, text), |refusal| {
                    // An INVITE that was cancelled meanwhile needs no answer.
                    let _ = self.endpoint.refuse(key, refusal, now.instant);
                });
                self.over(key, Ending::Shutdown, now, out);
            } else {
                self.hang_up(key, Ending::Shutdown, now, out);
            }
        }
    }
}

impl<S: Surroundings> Core for Switchboard<S> {
    type Note = Note;

    fn handle(&mut self, bytes: &[u8], from: Source<'_>, now: Now, out: &mut Outbox) {
        self.endpoint.handle(bytes, from.peer, now.instant);
        self.pump_of(from.names, now, out);
    }

    fn handle_media(&mut self, bytes: &[u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        let Some(&key) = self.by_media.get(&canonical(from)) else {
            self.metrics.stranger();
            return;
        };
        self.step(key, now, out, |call, cx| call.hear(bytes, cx));
        self.pump(now, out);
    }

    fn handle_note(&mut self, note: Note, now: Now, out: &mut Outbox) {
        match note {
            Note::ServiceChanged => self.set_service(),
            Note::Spoken(utterance) => {
                let waits = |line: &Line| line.call.is_ringing() && line.call.facts().greeting == utterance;
                let keys: Vec<CallKey> =
                    self.calls.iter().filter(|(_, line)| waits(line)).map(|(key, _)| *key).collect();
                for key in keys {
                    self.answer(key, now);
                }
            }
            Note::Stop => self.stop(now, out),
        }
        self.pump(now, out);
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        self.endpoint.handle_timeout(now.instant);
        self.pump(now, out);
        // Each call that is due is asked once; one that asks for more time in the past waits for
        // the next turn, so that no call can hold up the others.
        let due: Vec<CallKey> =
            self.timers.iter().take_while(|(due, _)| *due <= now.instant).map(|(_, key)| *key).collect();
        for key in due {
            self.step(key, now, out, Call::timeout);
        }
        self.pump(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let calls = self.timers.first().map(|(due, _)| *due);
        [calls, self.endpoint.deadline()].into_iter().flatten().min()
    }

    fn steer(bytes: &[u8], workers: usize) -> Option<usize> {
        let message = sip::scan(bytes).ok()?;
        let mut hasher = SipHasher13::new();
        hasher.write(message.call_id().ok()?.as_bytes());
        let workers = u64::try_from(workers).ok().filter(|workers| *workers > 0)?;
        usize::try_from(hasher.finish() % workers).ok()
    }
}

impl<S: Surroundings> Drop for Switchboard<S> {
    /// A worker that panics drops its switchboard: what its calls had recorded is delivered.
    fn drop(&mut self) {
        for line in self.calls.values_mut() {
            line.call.abandon(&self.surroundings);
        }
    }
}

fn scan(request: &[u8]) -> Result<Message<'_>, Refused> {
    sip::scan(request).map_err(|_| {
        let text = "the request cannot be read again".to_owned();
        Refused::because(Code::InternalError, text)
    })
}
