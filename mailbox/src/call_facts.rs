//! What is known of a call before anything is said in it.
//!
//! Decides what of that a recording keeps. Refuses to know what happens in the call.

use config::CallSettings;
use config::token::DivertReason;

use crate::caller::Caller;
use crate::message::{Codec, MessageId, RecordingFacts};
use crate::prompt::Utterance;

/// What is known of a call when it is admitted.
#[derive(Clone, Debug)]
pub(crate) struct CallFacts {
    /// Identity of the message that may come of it.
    pub(crate) id: MessageId,
    /// The SIP Call-ID.
    pub(crate) call_id: String,
    /// Name of the mailbox.
    pub(crate) mailbox: String,
    /// The extension that found it.
    pub(crate) extension: String,
    /// Why its owner diverted the call, if that is how it came.
    pub(crate) diverted: Option<DivertReason>,
    /// Name of the gateway.
    pub(crate) gateway: String,
    /// Who calls.
    pub(crate) caller: Caller,
    /// The greeting of this mailbox.
    pub(crate) greeting: Utterance,
    /// How calls of the dial plan are conducted.
    pub(crate) settings: CallSettings,
}

impl CallFacts {
    /// What is known of its recording when that begins.
    pub(crate) fn recording(&self, codec: Codec, started_unix_ms: u64) -> RecordingFacts {
        RecordingFacts {
            id: self.id,
            mailbox: self.mailbox.clone(),
            caller: self.caller.number.clone(),
            caller_name: self.caller.name.clone(),
            caller_address: self.caller.address.clone(),
            called: self.extension.clone(),
            diverted: self.diverted,
            call_id: self.call_id.clone(),
            gateway: self.gateway.clone(),
            codec,
            started_unix_ms,
        }
    }
}
