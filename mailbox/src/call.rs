//! One call, from the first ring to its last word.
//!
//! Decides what the caller hears, what is recorded, and when and why the call ends. Refuses to know
//! SIP (the switchboard answers and hangs up for it), sockets and files: media and spool commands
//! are handed out.
//!
//! ```text
//!              greeting ready              last packet         last packet
//!              or 2 s              ACK     of the greeting     of the beep
//!   Ringing ────────────▶ Answered ───▶ Greeting ─────▶ Beep ─────▶ Recording ──▶ Over
//!                                                                       │          ▲
//!                                                 the spool fails       ▼          │
//!                                                                    Apology ──────┘
//! ```
//!
//! Where addresses are translated between caller and server, the first packet must be the caller's: it
//! opens the way, and one of ours would arrive from an address that the caller was never told, and take
//! the way that his would have needed. There the greeting waits for the caller to be heard.
//!
//! Any state ends in `Over` by a hang-up of either side or by `maxCallDuration`. While a caller is
//! recorded nothing is sent: no comfort noise, no keep-alive.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::{Now, Outbox};
use sip::sdp::Profile;

use crate::call_facts::CallFacts;
use crate::dtmf::Key;
use crate::level::Meter;
use crate::message::{Codec, EndedBy, SpoolCommand};
use crate::player::Player;
use crate::prompt::{Sentence, Utterance};
use crate::receiver::{Heard, PacketCounts, Receiver};
use crate::recording::{Recording, StorageFailed, Taken};
use crate::rtp::Stream;
use crate::speech::Spoken;
use crate::srtp::{Keys, Srtp};
use crate::surroundings::Surroundings;
use crate::tone::beep;

/// How long a call rings until its greeting is rendered; then the generic one is played.
pub(crate) const MAX_RINGING: Duration = Duration::from_secs(2);

/// Where media goes to and comes from, and what it is, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    /// The one address that media is sent to and taken from.
    pub(crate) remote: SocketAddr,
    /// The one codec of the call.
    pub(crate) codec: Codec,
    /// Payload type of the audio.
    pub(crate) audio_number: u8,
    /// Payload type of telephone events, if negotiated.
    pub(crate) event_number: Option<u8>,
    /// Whether the far end takes media: false while it holds the call.
    pub(crate) listens: bool,
}

/// Who may send media first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstWord {
    /// Anybody: the address that callers are told is our own.
    Anybodys,
    /// The caller, because addresses are translated between us.
    Callers,
}

/// What the switchboard has to do for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Stay,
    /// Answer it.
    Answer,
    /// Hang up.
    HangUp(Ending),
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The caller hung up.
    Hangup,
    /// The caller pressed `#`.
    Key,
    /// Nothing was heard for `recordingIdleTimeout`.
    Silence,
    /// `maxRecordingDuration` or `maxCallDuration` was reached.
    Limit,
    /// The server is stopped.
    Shutdown,
    /// The recording cannot be stored any further.
    Storage,
    /// No media could be agreed on in the ACK.
    Media,
    /// The answer was never acknowledged.
    Unacknowledged,
    /// The caller gave up before the answer.
    Cancelled,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether there is a message.
    pub(crate) recorded: bool,
    /// What happened to the packets of the caller.
    pub(crate) packets: PacketCounts,
}

/// What a call works with while it handles one event.
pub(crate) struct Context<'a, S> {
    /// The time.
    pub(crate) now: Now,
    /// Where packets go.
    pub(crate) out: &'a mut Outbox,
    /// Where audio goes and prompts come from.
    pub(crate) surroundings: &'a S,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    facts: CallFacts,
    state: State,
    media: Option<Media>,
    stream: Stream,
    receiver: Receiver,
    meter: Meter,
    /// Where audio is encrypted.
    srtp: Option<Srtp>,
    first_word: FirstWord,
    heard: bool,
    began: Instant,
    /// When `maxCallDuration` is reached; known once the call is answered.
    ends_at: Option<Instant>,
    recorded: bool,
    packet: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Ringing {
        until: Instant,
    },
    Answered,
    /// It is acknowledged, and the first word is the caller's.
    Awaiting,
    Greeting(Player),
    Beep(Player),
    Recording(Recording),
    Apology(Player),
    Over,
}

impl State {
    fn player(&mut self) -> Option<&mut Player> {
        match self {
            State::Greeting(player) | State::Beep(player) | State::Apology(player) => Some(player),
            State::Ringing { .. } | State::Answered | State::Awaiting | State::Recording(_) | State::Over => {
                None
            }
        }
    }
}

impl Call {
    /// A call that rings. Without `media` our answer will make the offer.
    pub(crate) fn ringing(
        facts: CallFacts,
        (media, profile): (Option<Media>, Profile),
        stream: Stream,
        first_word: FirstWord,
        now: Instant,
    ) -> Self {
        let receiver = Receiver::new(
            media.map_or(0, |media| media.audio_number),
            media.and_then(|media| media.event_number),
        );
        Call {
            facts,
            state: State::Ringing { until: now + MAX_RINGING },
            media,
            stream,
            receiver,
            meter: Meter::default(),
            srtp: (profile == Profile::Savp).then(Srtp::default),
            first_word,
            heard: false,
            began: now,
            ends_at: None,
            recorded: false,
            packet: Vec::new(),
        }
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// What was negotiated.
    pub(crate) fn media(&self) -> Option<Media> {
        self.media
    }

    /// Whether it waits for its answer.
    pub(crate) fn is_ringing(&self) -> bool {
        matches!(self.state, State::Ringing { .. })
    }

    /// How long it has lasted.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// The 200 is sent.
    pub(crate) fn answered(&mut self, now: Instant) {
        if self.is_ringing() {
            self.state = State::Answered;
            self.ends_at =
                Some(now + Duration::from_secs(u64::from(self.facts.settings.max_call_duration_s)));
        }
    }

    /// The ACK came: the caller hears the greeting, if the first word is not his.
    pub(crate) fn acknowledged<S: Surroundings>(&mut self, cx: &mut Context<'_, S>) -> Next {
        if !matches!(self.state, State::Answered) {
            return Next::Stay;
        }
        if self.first_word == FirstWord::Callers && !self.heard {
            self.state = State::Awaiting;
            return Next::Stay;
        }
        self.greet(cx)
    }

    /// The caller hears the greeting, or at least the beep.
    fn greet<S: Surroundings>(&mut self, cx: &mut Context<'_, S>) -> Next {
        let Some(media) = self.media else { return Next::Stay };
        let language = self.facts.greeting.language;
        let generic = Utterance { language, sentence: Sentence::GenericGreeting };
        let greeting = [&self.facts.greeting, &generic]
            .into_iter()
            .find_map(|utterance| spoken(cx.surroundings.speak(utterance), media.codec));
        let due = cx.now.instant;
        self.state = match greeting {
            Some(audio) => State::Greeting(Player::start(audio, due)),
            None => State::Beep(Player::start(beep(media.codec), due)),
        };
        self.timeout(cx)
    }

    /// Media was negotiated anew. The codec never changes: a recording has one.
    pub(crate) fn change_media(&mut self, media: Media, now: Instant) {
        let resumes = media.listens && self.media.is_some_and(|before| !before.listens);
        if resumes && let Some(player) = self.state.player() {
            player.resume(now);
        }
        self.receiver.renumber(media.audio_number, media.event_number);
        self.media = Some(media);
    }

    /// Keys were agreed on.
    pub(crate) fn agree(&mut self, keys: Keys) {
        if let Some(srtp) = &mut self.srtp {
            srtp.agree(keys);
        }
    }

    /// A packet came from the negotiated address.
    pub(crate) fn hear<S: Surroundings>(&mut self, bytes: &[u8], cx: &mut Context<'_, S>) -> Next {
        if matches!(self.state, State::Over | State::Ringing { .. }) {
            return Next::Stay;
        }
        let opened = match &mut self.srtp {
            None => None,
            Some(srtp) => match srtp.open(bytes) {
                Some(opened) => Some(opened),
                None => {
                    self.receiver.reject();
                    return Next::Stay;
                }
            },
        };
        self.heard = true;
        self.receiver.push(opened.as_deref().unwrap_or(bytes), cx.now.instant);
        if matches!(self.state, State::Awaiting) {
            return self.greet(cx);
        }
        self.listen(cx)
    }

    /// Moves on what is due.
    pub(crate) fn timeout<S: Surroundings>(&mut self, cx: &mut Context<'_, S>) -> Next {
        let now = cx.now.instant;
        if self.ends_at.is_some_and(|at| at <= now) {
            return Next::HangUp(Ending::Limit);
        }
        self.receiver.release(now);
        let next = self.listen(cx);
        if next != Next::Stay {
            return next;
        }
        match &self.state {
            State::Ringing { until } if *until <= now => Next::Answer,
            State::Recording(recording) if recording.ends_at() <= now => Next::HangUp(Ending::Limit),
            State::Recording(recording) if recording.silent_at() <= now => Next::HangUp(Ending::Silence),
            State::Greeting(_) | State::Beep(_) | State::Apology(_) => self.play(cx),
            State::Ringing { .. } | State::Answered | State::Awaiting | State::Recording(_) | State::Over => {
                Next::Stay
            }
        }
    }

    /// When [`Call::timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let listens = self.media.is_some_and(|media| media.listens);
        let step = match &self.state {
            State::Ringing { until } => Some(*until),
            State::Greeting(player) | State::Beep(player) | State::Apology(player) => {
                listens.then(|| player.due())
            }
            State::Recording(recording) => Some(recording.ends_at().min(recording.silent_at())),
            State::Answered | State::Awaiting => None,
            State::Over => return None,
        };
        [step, self.ends_at, self.receiver.deadline()].into_iter().flatten().min()
    }

    /// The call is over: what was recorded becomes a message.
    pub(crate) fn close<S: Surroundings>(&mut self, ending: Ending, cx: &mut Context<'_, S>) -> Outcome {
        if ending != Ending::Key {
            // What follows a `#` is not part of the message; all else that has come is.
            self.receiver.flush();
            let _ends_anyway = self.listen(cx);
        }
        if let State::Recording(recording) = std::mem::replace(&mut self.state, State::Over) {
            self.finish(&recording, ended_by(ending), cx.surroundings);
        }
        Outcome { recorded: self.recorded, packets: self.receiver.counts() }
    }

    /// The worker fails: the spool is told, without touching anything else of the call.
    pub(crate) fn abandon<S: Surroundings>(&mut self, surroundings: &S) {
        if let State::Recording(recording) = std::mem::replace(&mut self.state, State::Over) {
            self.finish(&recording, EndedBy::Crash, surroundings);
        }
    }

    /// Sends what is due, and goes on to what follows the last packet.
    fn play<S: Surroundings>(&mut self, cx: &mut Context<'_, S>) -> Next {
        loop {
            let Some(media) = self.media.filter(|media| media.listens) else { return Next::Stay };
            let done = self.state.player().is_none_or(|player| {
                let now = cx.now.instant;
                self.packet.clear();
                while player.next(media.codec, media.audio_number, &mut self.stream, now, &mut self.packet) {
                    match &mut self.srtp {
                        None => cx.out.media(media.remote, &self.packet),
                        Some(srtp) => {
                            srtp.seal(&self.packet)
                                .iter()
                                .for_each(|sealed| cx.out.media(media.remote, sealed));
                        }
                    }
                    self.packet.clear();
                }
                player.is_done()
            });
            if !done {
                return Next::Stay;
            }
            match &self.state {
                State::Greeting(player) => self.state = State::Beep(player.then(beep(media.codec))),
                State::Beep(_) => return self.record(media.codec, cx),
                State::Apology(_) => return Next::HangUp(Ending::Storage),
                State::Ringing { .. }
                | State::Answered
                | State::Awaiting
                | State::Recording(_)
                | State::Over => {
                    return Next::Stay;
                }
            }
        }
    }

    /// The last packet of the beep is sent: the recording begins.
    fn record<S: Surroundings>(&mut self, codec: Codec, cx: &mut Context<'_, S>) -> Next {
        let facts = self.facts.recording(codec, cx.now.unix_ms);
        if cx.surroundings.spool(SpoolCommand::Begin(facts)).is_err() {
            return self.apologise(codec, cx);
        }
        let (id, settings) = (self.facts.id, &self.facts.settings);
        self.state = State::Recording(Recording::begin(id, settings, cx.now.instant));
        Next::Stay
    }

    /// Takes what was heard. Before the recording it only teaches the meter what the line is like.
    fn listen<S: Surroundings>(&mut self, cx: &mut Context<'_, S>) -> Next {
        let Some(codec) = self.media.map(|media| media.codec) else { return Next::Stay };
        while let Some(heard) = self.receiver.poll() {
            let recording = match &mut self.state {
                State::Recording(recording) => Some(recording),
                State::Ringing { .. }
                | State::Answered
                | State::Awaiting
                | State::Greeting(_)
                | State::Beep(_)
                | State::Apology(_)
                | State::Over => None,
            };
            match (heard, recording) {
                (Heard::Audio { payload, .. }, None) => {
                    self.meter.hears_voice(codec, &payload);
                }
                (Heard::Audio { timestamp, arrived, payload }, Some(recording)) => {
                    let voice = self.meter.hears_voice(codec, &payload);
                    match recording.take(timestamp, arrived, payload, voice, cx.surroundings) {
                        Ok(Taken::Yes) => {}
                        Ok(Taken::Full) => return Next::HangUp(Ending::Limit),
                        Err(StorageFailed) => {
                            self.stop_recording(cx.surroundings);
                            return self.apologise(codec, cx);
                        }
                    }
                }
                (Heard::NewSource, Some(recording)) => recording.change_source(),
                (Heard::Key(Key::Pound), Some(_)) => return Next::HangUp(Ending::Key),
                (Heard::Key(Key::Digit(_) | Key::Star | Key::Letter(_) | Key::Pound), _)
                | (Heard::NewSource, None) => {}
            }
        }
        Next::Stay
    }

    /// The spool takes no more: what it has becomes the message.
    fn stop_recording<S: Surroundings>(&mut self, surroundings: &S) {
        if let State::Recording(recording) = std::mem::replace(&mut self.state, State::Answered) {
            self.finish(&recording, EndedBy::Storage, surroundings);
        }
    }

    /// Tells the caller that the recording cannot go on, if that can be said.
    fn apologise<S: Surroundings>(&mut self, codec: Codec, cx: &mut Context<'_, S>) -> Next {
        let language = self.facts.greeting.language;
        let sentence = Utterance { language, sentence: Sentence::StorageFailed };
        let Some(audio) = spoken(cx.surroundings.speak(&sentence), codec) else {
            self.state = State::Answered;
            return Next::HangUp(Ending::Storage);
        };
        self.state = State::Apology(Player::start(audio, cx.now.instant));
        self.play(cx)
    }

    fn finish<S: Surroundings>(&mut self, recording: &Recording, ended_by: EndedBy, surroundings: &S) {
        let id = self.facts.id;
        // A recording without a single packet is no message.
        self.recorded = recording.has_audio();
        let command =
            if self.recorded { SpoolCommand::Finish { id, ended_by } } else { SpoolCommand::Discard { id } };
        if surroundings.spool(command).is_err() {
            tracing::error!(
                code = config::Code::SpoolUnwritable.id(),
                call_id = self.facts.call_id,
                "the end of a recording was not taken by the spool; it is delivered after the next start"
            );
        }
    }
}

fn spoken(spoken: Spoken, codec: Codec) -> Option<Bytes> {
    match spoken {
        Spoken::Ready(prompt) => Some(prompt.encoded(codec)),
        Spoken::Coming | Spoken::Unavailable => None,
    }
}

/// What the message says about its end. A call that ended before its recording has none.
const fn ended_by(ending: Ending) -> EndedBy {
    match ending {
        Ending::Hangup | Ending::Cancelled | Ending::Media | Ending::Unacknowledged => EndedBy::Hangup,
        Ending::Key => EndedBy::Key,
        Ending::Silence => EndedBy::Silence,
        Ending::Limit => EndedBy::Limit,
        Ending::Shutdown => EndedBy::Shutdown,
        Ending::Storage => EndedBy::Storage,
    }
}
