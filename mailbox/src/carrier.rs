//! One step of one message on its way from the spool to its owner.
//!
//! Decides what each stage needs to have done before the next begins. Refuses to know when it is
//! its turn, and when to try again after a problem.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use config::{Code, Recipient, Smtp};
use runtime::log::Number;
use tokio::sync::watch;

use crate::compose::{ComposeError, LOCAL_SENDER, compose};
use crate::delivery::{Counters, CurrentConfig, unix_ms};
use crate::maildir;
use crate::message::{EndedBy, MessageId, StoredFacts};
use crate::outbox::{Entry, Outbox};
use crate::smtp::{Session, SmtpError};
use crate::spool_writer::{self, Finished, SpoolHandle};
use crate::store::Object;
use crate::store_error::StoreError;
use crate::stores::Stores;
use crate::wav;

/// How often the release of a recording is tried while the spool is busy.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// How far a message has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It lies in the spool, complete.
    Recorded(Finished),
    /// It lies in the store, and in the outbox.
    Queued(Entry),
    /// It was taken.
    Sent {
        /// Its entry in the outbox.
        entry: Entry,
        /// Where it lies: a file, or the answer of the mail server. Unknown after a crash.
        place: Option<String>,
    },
}

impl Stage {
    /// The message.
    pub(crate) fn id(&self) -> MessageId {
        match self {
            Stage::Recorded(finished) => finished.id,
            Stage::Queued(entry) | Stage::Sent { entry, .. } => entry.id,
        }
    }

    /// Name of its mailbox, once that is known.
    fn mailbox(&self) -> Option<&str> {
        match self {
            Stage::Recorded(_) => None,
            Stage::Queued(entry) | Stage::Sent { entry, .. } => Some(&entry.mailbox),
        }
    }

    /// When it came into the outbox, if it has.
    pub(crate) fn queued_unix_ms(&self) -> Option<u64> {
        match self {
            Stage::Recorded(_) => None,
            Stage::Queued(entry) | Stage::Sent { entry, .. } => Some(entry.queued_unix_ms),
        }
    }
}

/// Why a message cannot go on now. It is tried again, always.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("read the spool: {0}")]
    Spool(std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("write the facts of the message: {0}")]
    Facts(#[from] serde_json::Error),
    #[error("write the outbox: {0}")]
    Outbox(std::io::Error),
    #[error("write the Maildir: {0}")]
    Maildir(std::io::Error),
    #[error("the mailbox {0} is not in the configuration")]
    NoOwner(String),
    #[error("write the mail: {0}")]
    Compose(#[from] ComposeError),
    #[error(transparent)]
    Smtp(#[from] SmtpError),
    #[error("the work was broken off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Everything that a message needs on its way.
pub(crate) struct Carrier {
    pub(crate) state: PathBuf,
    pub(crate) stores: Arc<Stores>,
    pub(crate) outbox: Outbox,
    pub(crate) config: CurrentConfig,
    pub(crate) address: IpAddr,
    pub(crate) spool: SpoolHandle,
    pub(crate) counters: Arc<Counters>,
    pub(crate) after_step: fn(&Path, &'static str),
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Carrier {
    /// Takes a message to its next stage; `None` when it is at its end.
    pub(crate) async fn advance(&self, stage: &Stage) -> Result<Option<Stage>, Problem> {
        match stage {
            Stage::Recorded(finished) => Ok(self.store(finished).await?.map(Stage::Queued)),
            Stage::Queued(entry) => self.send(entry).await,
            Stage::Sent { entry, place } => self.close(entry, place.as_deref()).await.map(|()| None),
        }
    }

    /// Says why a message waits.
    pub(crate) fn report(&self, stage: &Stage, problem: &Problem, retry_in: Duration) {
        self.counters.deferred.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            target: "umbriel::call", event = "deferred", code = Code::DeliveryDeferred.id(),
            message_id = %stage.id(), mailbox = stage.mailbox(), reason = %problem, retry_in_s = retry_in.as_secs_f32(),
            "a message could not be delivered yet and is tried again"
        );
    }

    /// Puts a recording into the store and the outbox. `None` when nothing is left to deliver.
    async fn store(&self, finished: &Finished) -> Result<Option<Entry>, Problem> {
        let id = finished.id;
        let read = {
            let finished = finished.clone();
            tokio::task::spawn_blocking(move || spool_writer::read(&finished)).await?
        };
        let Some(recording) = read.map_err(Problem::Spool)? else {
            tracing::error!(
                code = Code::SpoolDamaged.id(), message_id = %id,
                "the facts of a recording are damaged, so that nobody can say whose it is"
            );
            self.release(id).await;
            return Ok(None);
        };
        let mailbox = recording.facts.mailbox.clone();
        let store = &(self.config)().store;
        let is_closed = self.outbox.knows(id).map_err(Problem::Outbox)?
            || self.stores.has(store, (&mailbox, id, Object::Delivered)).await?
            || self.stores.has(store, (&mailbox, id, Object::Refused)).await?;
        if is_closed || recording.frames.is_empty() {
            self.release(id).await;
            return Ok(None);
        }
        let codec = recording.facts.codec;
        let frames = recording.frames;
        let rendered =
            tokio::task::spawn_blocking(move || wav::write(codec, &wav::render(codec, &frames))).await?;
        let stored = self.stores.create(store, (&mailbox, id, Object::Audio), rendered.into()).await?;
        self.step("audio stored");
        let facts = StoredFacts {
            recording: recording.facts,
            ended_by: recording.ended_by,
            samples: wav::samples_of(&stored).unwrap_or_default(),
            damaged: recording.damaged,
        };
        self.stores.create(store, (&mailbox, id, Object::Facts), json(&facts)?).await?;
        self.step("facts stored");
        let entry = Entry { id, mailbox, queued_unix_ms: unix_ms() };
        self.outbox.add(&entry).map_err(Problem::Outbox)?;
        self.step("queued");
        if facts.ended_by == EndedBy::Crash {
            self.counters.recovered.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                target: "umbriel::call", event = "recovered", code = Code::RecordingRecovered.id(), message_id = %id,
                call_id = facts.recording.call_id, mailbox = facts.recording.mailbox, seconds = facts.seconds(),
                "a recording was cut short by a crash; what was stored of it is delivered"
            );
        }
        self.release(id).await;
        self.step("released");
        Ok(Some(entry))
    }

    /// Tells the spool that it may forget a recording. If the server stops before, the next start
    /// finds that the outbox or the store knows the message, and releases it then.
    async fn release(&self, id: MessageId) {
        while self.spool.release(id).is_err() && !*self.stopped.borrow() {
            tokio::time::sleep(RELEASE_INTERVAL).await;
        }
    }

    /// Hands a message to the mail server or the Maildir.
    async fn send(&self, entry: &Entry) -> Result<Option<Stage>, Problem> {
        let config = (self.config)();
        let Some(recipient) = config.recipient(&entry.mailbox) else {
            return Err(Problem::NoOwner(entry.mailbox.clone()));
        };
        let facts = self.facts(&config.store, entry).await?;
        let audio = self.stores.read(&config.store, at(entry, Object::Audio)).await?;
        let place = match &config.delivery.smtp {
            Some(smtp) => match self.send_by_smtp(smtp, entry, recipient, facts, audio).await {
                Err(Problem::Smtp(SmtpError::Refused { reason, .. })) => {
                    self.keep_refused(entry, &reason).await?;
                    return Ok(None);
                }
                other => other?,
            },
            None => self.send_to_maildir(entry, recipient, facts, audio).await?,
        };
        Ok(Some(Stage::Sent { entry: entry.clone(), place: Some(place) }))
    }

    async fn send_by_smtp(
        &self,
        smtp: &Smtp,
        entry: &Entry,
        recipient: Recipient,
        facts: StoredFacts,
        audio: Bytes,
    ) -> Result<String, Problem> {
        let mut session = Session::open(smtp, self.address).await?;
        let from = smtp.from.clone();
        let mail =
            tokio::task::spawn_blocking(move || compose(&facts, &recipient, &from, audio.into())).await??;
        let answer = session.send(&mail).await?;
        self.step("accepted");
        // At once and on this thread: until it is noted, a crash would send the message again. If
        // the note fails here, the next stage makes it.
        let _ = self.outbox.note_sent(entry.id);
        self.step("noted");
        tokio::spawn(session.close());
        Ok(answer)
    }

    async fn send_to_maildir(
        &self,
        entry: &Entry,
        recipient: Recipient,
        facts: StoredFacts,
        audio: Bytes,
    ) -> Result<String, Problem> {
        let (root, mailbox, id) = (self.state.join("mail"), entry.mailbox.clone(), entry.id);
        let path = tokio::task::spawn_blocking(move || {
            let mail = compose(&facts, &recipient, LOCAL_SENDER, audio.into())?.formatted();
            maildir::deliver(&root, &mailbox, id, facts.recording.started_unix_ms, &mail)
                .map_err(Problem::Maildir)
        })
        .await??;
        self.step("in the maildir");
        Ok(path.display().to_string())
    }

    /// Keeps a message that the mail server refused for good.
    async fn keep_refused(&self, entry: &Entry, reason: &str) -> Result<(), Problem> {
        let kept = self.outbox.keep_refused(entry.id).map_err(Problem::Outbox)?;
        self.step("kept");
        let event = serde_json::json!({ "atUnixMs": unix_ms(), "reason": reason });
        let store = &(self.config)().store;
        self.stores.create(store, at(entry, Object::Refused), json(&event)?).await?;
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            target: "umbriel::call", event = "delivery refused", code = Code::DeliveryRefused.id(),
            message_id = %entry.id, mailbox = entry.mailbox, reason, kept = %kept.display(),
            audio = self.stores.place(store, at(entry, Object::Audio)),
            "the mail server refused a message for good; it is kept"
        );
        Ok(())
    }

    /// Records that a message was delivered, says so, and forgets it.
    async fn close(&self, entry: &Entry, place: Option<&str>) -> Result<(), Problem> {
        self.outbox.note_sent(entry.id).map_err(Problem::Outbox)?;
        self.step("sent");
        let place = place.unwrap_or("taken before a restart");
        let event = serde_json::json!({ "atUnixMs": unix_ms(), "place": place });
        let store = &(self.config)().store;
        self.stores.create(store, at(entry, Object::Delivered), json(&event)?).await?;
        self.step("delivered stored");
        let facts = self.facts(store, entry).await?;
        self.outbox.close(entry.id).map_err(Problem::Outbox)?;
        self.step("closed");
        self.counters.delivered.fetch_add(1, Ordering::Relaxed);
        let recording = &facts.recording;
        tracing::info!(
            target: "umbriel::call", event = "delivered", call_id = recording.call_id, message_id = %entry.id,
            mailbox = entry.mailbox, gateway = recording.gateway,
            from = %Number(recording.caller.as_deref().unwrap_or_default()), to = %Number(&recording.called),
            seconds = facts.seconds(), path = place,
            audio = self.stores.place(store, at(entry, Object::Audio)),
            "a voice message was delivered"
        );
        Ok(())
    }

    async fn facts(&self, store: &config::Store, entry: &Entry) -> Result<StoredFacts, Problem> {
        let bytes = self.stores.read(store, at(entry, Object::Facts)).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn step(&self, name: &'static str) {
        (self.after_step)(&self.state, name);
    }
}

/// An object of a message that lies in the store.
fn at(entry: &Entry, object: Object) -> (&str, MessageId, Object) {
    (&entry.mailbox, entry.id, object)
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, serde_json::Error> {
    Ok(serde_json::to_vec(value)?.into())
}
