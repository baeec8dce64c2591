//! What all switchboards of a server work with: its configuration, its spool and its voice.
//!
//! Decides nothing by itself: it answers what a switchboard may ask, for the whole server. Refuses to
//! know sockets and threads.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use config::Language;
use runtime::Notifier;
use sip::sdp::MAX_KEY_BYTES;

use crate::message::SpoolCommand;
use crate::prompt::{Sentence, Utterance};
use crate::served::Served;
use crate::speech::{Speech, Spoken};
use crate::spool_writer::{SpoolBusy, SpoolHandle, SpoolHealth};
use crate::surroundings::Surroundings;
use crate::switchboard::Note;

/// What all switchboards of a server work with.
pub(crate) struct Desk {
    /// Where several servers read one configuration, which of them this one is.
    name: Option<String>,
    current: Arc<ArcSwap<Served>>,
    spool: SpoolHandle,
    speech: Speech,
    secret: fn() -> Option<[u8; MAX_KEY_BYTES]>,
    draining: AtomicBool,
    /// The last configuration whose prompts were all rendered, or had turned out not to be possible.
    prompted: Mutex<Option<Arc<Served>>>,
}

impl Desk {
    /// A desk of a server in service.
    pub(crate) fn new(
        name: Option<String>,
        current: Arc<ArcSwap<Served>>,
        spool: SpoolHandle,
        speech: Speech,
        secret: fn() -> Option<[u8; MAX_KEY_BYTES]>,
    ) -> Self {
        let draining = AtomicBool::new(false);
        let desk = Desk { name, current, spool, speech, secret, draining, prompted: Mutex::default() };
        desk.order_prompts(&desk.current.load());
        desk
    }

    /// Serves another configuration from now on.
    pub(crate) fn serve(&self, served: Arc<Served>) {
        self.order_prompts(&served);
        self.current.store(served);
    }

    /// Whether nobody knows this peer, by its address or by a name that it has proved.
    pub(crate) fn is_stranger(&self, address: IpAddr, names: &[String]) -> bool {
        self.current.load().table.is_stranger(address, names)
    }

    /// Whether what any call falls back on can be heard, or is known not to be. Once that holds it
    /// holds for this configuration: a prompt that failed and is tried again changes nothing.
    pub(crate) fn has_prompts(&self) -> bool {
        let served = self.current.load_full();
        let mut prompted = self.prompted.lock().unwrap_or_else(PoisonError::into_inner);
        if prompted.as_ref().is_some_and(|prompted| Arc::ptr_eq(prompted, &served)) {
            return true;
        }
        let settled = !fallbacks(&served).any(|utterance| self.speech.is_coming(&utterance));
        if settled {
            *prompted = Some(served);
        }
        settled
    }

    /// Takes no new calls from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    fn order_prompts(&self, served: &Served) {
        for utterance in fallbacks(served) {
            self.speech.speak(&utterance);
        }
    }
}

/// What any call may need, in each language that is served.
fn fallbacks(served: &Served) -> impl Iterator<Item = Utterance> {
    let languages: BTreeSet<Language> = served.config.calls.values().map(|call| call.language).collect();
    languages.into_iter().flat_map(|language| {
        [Sentence::GenericGreeting, Sentence::StorageFailed].map(|sentence| Utterance { language, sentence })
    })
}

impl Surroundings for Arc<Desk> {
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.current.load().config.server.name.clone())
    }

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

    fn secret(&self) -> Option<[u8; MAX_KEY_BYTES]> {
        (self.secret)()
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
