//! One recording while it is made.
//!
//! Decides which audio belongs to it, where, and when there is enough of it or only silence.
//! Refuses to know packets, and what follows its end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use config::CallSettings;

use crate::message::{MAX_RECORDING_TICKS, MessageId, SpoolCommand};
use crate::rtp::ticks;
use crate::surroundings::Surroundings;
use crate::timeline::Timeline;

/// The spool took no more audio.
#[derive(Debug)]
pub(crate) struct StorageFailed;

/// What became of a piece of audio.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is in the recording, or was said before it began.
    Yes,
    /// The recording is as long as it may be.
    Full,
}

/// One recording while it is made.
#[derive(Debug)]
pub(crate) struct Recording {
    id: MessageId,
    timeline: Timeline,
    began: Instant,
    max_duration: Duration,
    idle_timeout: Duration,
    last_voice: Instant,
    has_audio: bool,
}

impl Recording {
    /// A recording that begins now.
    pub(crate) fn begin(id: MessageId, settings: &CallSettings, now: Instant) -> Self {
        Recording {
            id,
            timeline: Timeline::new(now),
            began: now,
            max_duration: Duration::from_secs(settings.max_recording_duration_s.into()),
            idle_timeout: Duration::from_secs(settings.recording_idle_timeout_s.into()),
            last_voice: now,
            has_audio: false,
        }
    }

    /// When it is as long as it may be (`maxRecordingDuration`).
    pub(crate) fn ends_at(&self) -> Instant {
        self.began + self.max_duration
    }

    /// When silence has lasted long enough to end it (`recordingIdleTimeout`).
    pub(crate) fn silent_at(&self) -> Instant {
        self.last_voice + self.idle_timeout
    }

    /// Whether anything was stored.
    pub(crate) fn has_audio(&self) -> bool {
        self.has_audio
    }

    /// What follows comes from another source, with another clock.
    pub(crate) fn change_source(&mut self) {
        self.timeline.change_source();
    }

    /// Puts a piece of audio into its place.
    ///
    /// # Errors
    /// [`StorageFailed`] when it cannot be stored.
    pub(crate) fn take(
        &mut self,
        timestamp: u32,
        arrived: Instant,
        payload: Bytes,
        voice: bool,
        surroundings: &impl Surroundings,
    ) -> Result<Taken, StorageFailed> {
        if arrived < self.began && !self.has_audio {
            return Ok(Taken::Yes);
        }
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let at_ticks = self.timeline.place(timestamp, length, arrived);
        // By its ticks too, so that a sender whose clock runs too fast does not exceed it.
        if at_ticks.saturating_add(length) > ticks(self.max_duration).min(MAX_RECORDING_TICKS) {
            return Ok(Taken::Full);
        }
        let append = SpoolCommand::Append { id: self.id, at_ticks, payload };
        if !surroundings.storage().takes_audio() || surroundings.spool(append).is_err() {
            return Err(StorageFailed);
        }
        self.has_audio = true;
        if voice {
            self.last_voice = self.last_voice.max(arrived);
        }
        Ok(Taken::Yes)
    }
}
