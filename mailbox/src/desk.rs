//! What all switchboards of a server work with: its configuration, its spool and its voice.
//!
//! Decides nothing by itself: it answers what a switchboard may ask, for the whole server. Refuses to
//! know sockets and threads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use config::Language;
use runtime::Notifier;

use crate::message::SpoolCommand;
use crate::prompt::{Sentence, Utterance};
use crate::served::Served;
use crate::speech::{Speech, Spoken};
use crate::spool_writer::{SpoolBusy, SpoolHandle, SpoolHealth};
use crate::surroundings::Surroundings;
use crate::switchboard::Note;

/// What all switchboards of a server work with.
pub(crate) struct Desk {
    current: Arc<ArcSwap<Served>>,
    spool: SpoolHandle,
    speech: Speech,
    draining: AtomicBool,
}

impl Desk {
    /// A desk of a server in service.
    pub(crate) fn new(current: Arc<ArcSwap<Served>>, spool: SpoolHandle, speech: Speech) -> Self {
        Desk { current, spool, speech, draining: AtomicBool::new(false) }
    }

    /// Serves another configuration from now on.
    pub(crate) fn serve(&self, served: Arc<Served>) {
        self.current.store(served);
        self.order_prompts();
    }

    /// Takes no new calls from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Orders what any call may need, in each language that is served.
    pub(crate) fn order_prompts(&self) {
        let served = self.current.load();
        let languages: BTreeSet<Language> = served.config.calls.values().map(|call| call.language).collect();
        for language in languages {
            for sentence in [Sentence::GenericGreeting, Sentence::StorageFailed] {
                self.speech.speak(&Utterance { language, sentence });
            }
        }
    }
}

impl Surroundings for Arc<Desk> {
    fn served(&self) -> Arc<Served> {
        self.current.load_full()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn storage(&self) -> SpoolHealth {
        self.spool.health()
    }

    fn spool(&self, command: SpoolCommand) -> Result<(), SpoolBusy> {
        self.spool.try_send(command)
    }

    fn speak(&self, utterance: &Utterance) -> Spoken {
        self.speech.speak(utterance)
    }
}

/// Tells the workers that serve at the moment, from any thread.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Option<Notifier<Note>>>);

impl Notes {
    /// Other workers serve from now on.
    pub(crate) fn reach(&self, notifier: Notifier<Note>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(notifier);
    }

    /// Tells all of them. A worker whose queue is full misses it and asks for itself: a call rings
    /// for at most 2 s, and the configuration is read at each call.
    pub(crate) fn tell(&self, note: &Note) {
        if let Some(notifier) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let _taken_by_all = notifier.all(|| note.clone());
        }
    }
}
