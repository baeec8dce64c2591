//! The shell around [`Book`]: it asks name servers, in the background.
//!
//! Decides who is asked: those of the system, or those that were named, and how many at once. Refuses to
//! know what addresses are for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{Resolver as Client, TokioResolver};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::names::{Answers, Book, Family, Heard, Question, Wanted};

/// Questions that are asked at once.
const MAX_QUESTIONS: usize = 32;
/// A name server may take this long; the next one is asked then.
const PATIENCE: Duration = Duration::from_secs(2);
/// Each is asked once more; the book asks all of them again.
const ATTEMPTS: usize = 1;

/// That a name has no such address holds for so long where nobody says how long.
const NONE_TTL: Duration = Duration::from_secs(60);
/// How often whoever waits for answers looks for them.
const GLANCE: Duration = Duration::from_millis(5);

/// Asks for names on a thread of its own, which begins with the first of them, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    thread: Option<Asking>,
}

/// The ends of what the thread reads and writes.
#[derive(Debug)]
struct Asking {
    wanted: watch::Sender<Arc<Wanted>>,
    known: watch::Receiver<Known>,
}

/// What is known of the names that are asked for.
#[derive(Clone, Debug, Default)]
struct Known {
    answers: Arc<Answers>,
    /// What that is about.
    wanted: Arc<Wanted>,
    /// Whether all of it has had an answer, or the news that there is none.
    is_complete: bool,
}

impl Resolver {
    /// One that asks `servers`, or without any those that the system names.
    pub(crate) fn new(servers: &[SocketAddr]) -> Resolver {
        Resolver { servers: servers.to_vec(), thread: None }
    }

    /// Asks for these names from now on, and for no others; says whether that is another wish.
    pub(crate) fn want(&mut self, wanted: Wanted) -> bool {
        if self.thread.is_none() && !wanted.is_empty() {
            self.thread = start(&self.servers)
                .inspect_err(|error| tracing::error!(%error, "no name of a gateway can be asked for"))
                .ok();
        }
        let Some(asking) = &self.thread else { return false };
        asking.wanted.send_if_modified(|before| {
            let is_news = **before != wanted;
            if is_news {
                *before = Arc::new(wanted);
            }
            is_news
        })
    }

    /// What is known now.
    pub(crate) fn answers(&self) -> Arc<Answers> {
        self.thread.as_ref().map(|asking| Arc::clone(&asking.known.borrow().answers)).unwrap_or_default()
    }

    /// Waits until everything that is wanted has had an answer, or the news that there is none.
    pub(crate) fn wait(&self, limit: Duration) {
        let Some(asking) = &self.thread else { return };
        let until = Instant::now() + limit;
        let is_complete = || {
            let known = asking.known.borrow();
            known.is_complete && known.wanted == *asking.wanted.borrow()
        };
        while !is_complete() && Instant::now() < until {
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until more is known than when it was last waited for.
    pub(crate) async fn news(&mut self) {
        let is_news = match &mut self.thread {
            Some(asking) => asking.known.changed().await.is_ok(),
            None => false,
        };
        if !is_news {
            std::future::pending::<()>().await;
        }
    }
}

fn start(servers: &[SocketAddr]) -> std::io::Result<Asking> {
    let (wanted, asked) = watch::channel(Arc::default());
    let (told, known) = watch::channel(Known::default());
    let servers = servers.to_vec();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || executor.block_on(work(&servers, asked, &told));
    std::thread::Builder::new().name("names".into()).spawn(work)?;
    Ok(Asking { wanted, known })
}

/// Asks until nobody wants to know any more.
async fn work(servers: &[SocketAddr], mut asked: watch::Receiver<Arc<Wanted>>, told: &watch::Sender<Known>) {
    let client = client(servers);
    if let Err(error) = &client {
        tracing::warn!(%error, "the system names no name server that can be asked");
    }
    let client = client.map_err(|error| error.to_string());
    let (mut book, mut running, mut wanted) = (Book::default(), JoinSet::new(), Arc::default());
    loop {
        let now = Instant::now();
        for question in book.ask(MAX_QUESTIONS - running.len(), now) {
            let client = client.clone();
            running.spawn(async move {
                let heard = match client {
                    Ok(client) => look_up(&client, &question).await,
                    Err(why) => Err(why),
                };
                (question, heard)
            });
        }
        let due = book.deadline().filter(|_| running.len() < MAX_QUESTIONS);
        tokio::select! {
            changed = asked.changed() => {
                if changed.is_err() {
                    return;
                }
                wanted = Arc::clone(&asked.borrow_and_update());
                book.want(&wanted, Instant::now());
                // Whoever waits for all of them waits for the new ones.
                tell(told, &book, &wanted);
            }
            Some(done) = running.join_next() => {
                if let Ok((question, heard)) = done
                    && book.hear(&question, heard, Instant::now())
                {
                    tell(told, &book, &wanted);
                }
            }
            () = until(due) => {}
        }
    }
}

fn tell(told: &watch::Sender<Known>, book: &Book, wanted: &Arc<Wanted>) {
    let (answers, wanted) = (Arc::new(book.answers()), Arc::clone(wanted));
    told.send_replace(Known { answers, wanted, is_complete: book.is_complete() });
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn client(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|server| {
            let at_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Client::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // The book knows when to ask again.
    options.cache_size = 0;
    options.timeout = PATIENCE;
    options.attempts = ATTEMPTS;
    builder.build()
}

async fn look_up(client: &TokioResolver, question: &Question) -> Heard {
    // With the dot of the root nothing is put behind the name.
    let name = format!("{}.", question.name);
    let found = match question.family {
        Family::V4 => client.ipv4_lookup(name).await,
        Family::V6 => client.ipv6_lookup(name).await,
    };
    match found {
        Ok(found) => {
            let ttl = found.valid_until().saturating_duration_since(Instant::now());
            let records = found.answers().iter();
            Ok((records.filter_map(|record| record.data.ip_addr()).collect(), ttl))
        }
        Err(error) if error.is_nx_domain() => Err("there is no such name".into()),
        // The name is there, and has none of these.
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = none.negative_ttl.map_or(NONE_TTL, |ttl| Duration::from_secs(ttl.into()));
            Ok((BTreeSet::new(), ttl))
        }
        Err(error) => Err(error.to_string()),
    }
}
