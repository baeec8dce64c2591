//! One SIP endpoint that takes calls (RFC 3261's user agent server, and client of its own BYE).
//!
//! Decides every answer that needs no opinion: retransmissions, OPTIONS, CANCEL, BYE, ACK, and the
//! refusal of what is broken, unknown or too much. Refuses to know sockets, clocks, media, numbers
//! and who may call: bytes, peer and `now` come in; messages, events and one deadline go out.

mod event;
mod settings;

use std::{collections::VecDeque, time::Instant};

pub use event::{CallKey, Ended, Event, Refusal, Transmit, WrongState};
pub use settings::{Counters, EndpointSettings, Service, no_reason};

use crate::Peer;

/// All calls of one worker. Drain [`Endpoint::poll_transmit`] and [`Endpoint::poll_event`] after each
/// call of a method that takes `now`.
#[derive(Debug)]
pub struct Endpoint {
    settings: EndpointSettings,
    service: Service,
    counters: Counters,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// An endpoint without calls.
    #[must_use]
    pub fn new(settings: EndpointSettings) -> Endpoint {
        Endpoint {
            settings,
            service: Service::Active,
            counters: Counters::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Changes what answers OPTIONS. Calls are not touched.
    pub fn set_service(&mut self, service: Service) {
        self.service = service;
    }

    /// Takes one datagram, or one framed message, that `peer` sent.
    pub fn handle(&mut self, _bytes: &[u8], _peer: Peer, _now: Instant) {
        self.counters.noise += 1;
    }

    /// Moves on what is due by `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next instant at which [`Endpoint::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
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
    pub fn ring(&mut self, _call: CallKey, _now: Instant) {}

    /// Sends `200 OK` with `sdp`, and repeats it until it is acknowledged.
    ///
    /// # Errors
    /// [`WrongState`] unless the call waits for its answer.
    pub fn answer(&mut self, _call: CallKey, _sdp: &str, _now: Instant) -> Result<(), WrongState> {
        Err(WrongState)
    }

    /// Refuses the call, which is gone then: no event follows.
    ///
    /// # Errors
    /// [`WrongState`] unless the call waits for its answer.
    pub fn refuse(&mut self, _call: CallKey, _refusal: Refusal<'_>, _now: Instant) -> Result<(), WrongState> {
        Err(WrongState)
    }

    /// Sends `200 OK` with `sdp` to a re-INVITE, and repeats it until it is acknowledged.
    ///
    /// # Errors
    /// [`WrongState`] unless a re-INVITE waits.
    pub fn answer_reinvite(&mut self, _call: CallKey, _sdp: &str, _now: Instant) -> Result<(), WrongState> {
        Err(WrongState)
    }

    /// Refuses a re-INVITE. The call goes on as it was.
    ///
    /// # Errors
    /// [`WrongState`] unless a re-INVITE waits.
    pub fn refuse_reinvite(
        &mut self,
        _call: CallKey,
        _refusal: Refusal<'_>,
        _now: Instant,
    ) -> Result<(), WrongState> {
        Err(WrongState)
    }

    /// Ends an answered call by BYE: at once, or as soon as the 200 is acknowledged (RFC 3261
    /// section 15). [`Event::Ended`] follows, or [`Event::Hangup`] if the far end's BYE comes first.
    /// `reason` is the value of a `Reason` header (RFC 3326).
    ///
    /// # Errors
    /// [`WrongState`] unless the call is answered and not ending.
    pub fn bye(&mut self, _call: CallKey, _reason: Option<&str>, _now: Instant) -> Result<(), WrongState> {
        Err(WrongState)
    }

    /// How many calls there are, ringing and ending ones included.
    #[must_use]
    pub fn calls(&self) -> usize {
        0
    }

    /// Whether nothing is left to do: no call, and no transaction that waits for a copy.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
