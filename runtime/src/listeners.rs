//! Which ports a server listens on for SIP, and how those change while it runs.
//!
//! Decides that only what differs is opened and closed, that new ports are open before old ones are
//! closed, and that if one cannot be had all stay as they were. Connections are no part of it: they go
//! on whatever becomes of the port that they came by.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use sip::Transport;
use tokio::sync::mpsc;

use crate::accept::Listening;
use crate::serve::{Addresses, ServeError};
use crate::socket;
use crate::tls::Shown;

/// Changes that wait for one worker: one change of all ports is four at most.
pub(crate) const CHANGE_CAPACITY: usize = 16;

/// A worker that has not taken up a change by then is not waited for: it does as soon as it can.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ports that there may be.
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// What a server listens on for SIP. Port 0 picks a free one.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// UDP address.
    pub udp: Option<SocketAddr>,
    /// TCP address.
    pub tcp: Option<SocketAddr>,
    /// TLS address, and what is shown to who connects.
    pub tls: Option<(SocketAddr, Arc<Shown>)>,
}

/// A change of one worker's sockets, and who waits until it is made.
pub(crate) struct Change {
    pub(crate) what: What,
    /// Dropped with the change, once it was made.
    pub(crate) _made: Sender<Infallible>,
}

/// What a worker changes.
pub(crate) enum What {
    /// The UDP socket; the one before is still heard.
    Udp(Option<std::net::UdpSocket>),
    /// The listener of this transport; its connections go on.
    Streams(Transport, Option<Listening>),
    /// No more is heard by this UDP port that was given up before.
    CloseFormer(SocketAddr),
}

/// The ports of all workers.
#[derive(Debug)]
pub(crate) struct Listeners {
    workers: Vec<mpsc::Sender<Change>>,
    any_worker: bool,
    open: Vec<Open>,
}

/// A port that is open.
#[derive(Clone, Debug)]
struct Open {
    wanted: Wanted,
    bound: SocketAddr,
}

/// A port that is asked for.
#[derive(Clone, Debug)]
struct Wanted {
    transport: Transport,
    address: SocketAddr,
    tls: Option<Arc<Shown>>,
}

/// A port that was bound, with a socket for each worker.
struct Bound {
    open: Open,
    sockets: Vec<What>,
}

impl Listen {
    fn wanted(&self) -> Vec<Wanted> {
        let address = |transport| match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls.as_ref().map(|(address, _)| *address),
        };
        let tls = |transport| {
            self.tls.as_ref().filter(|_| transport == Transport::Tls).map(|(_, shown)| Arc::clone(shown))
        };
        let wanted =
            |transport| Some(Wanted { transport, address: address(transport)?, tls: tls(transport) });
        TRANSPORTS.into_iter().filter_map(wanted).collect()
    }
}

impl Open {
    /// Whether this is the port that is wanted. One that was picked is as good as any.
    fn is(&self, wanted: &Wanted) -> bool {
        let same_tls = match (&self.wanted.tls, &wanted.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let address = wanted.address;
        let same_address = address == self.bound || address == self.wanted.address;
        self.wanted.transport == wanted.transport && same_address && same_tls
    }

    /// Whether it has to be closed before this one can be opened: TLS runs over TCP.
    fn is_in_the_way_of(&self, wanted: &Wanted) -> bool {
        let by_udp = |transport| transport == Transport::Udp;
        self.bound == wanted.address && by_udp(self.wanted.transport) == by_udp(wanted.transport)
    }
}

impl Listeners {
    /// Those of workers that have none yet.
    pub(crate) fn new(workers: Vec<mpsc::Sender<Change>>, any_worker: bool) -> Listeners {
        Listeners { workers, any_worker, open: Vec::new() }
    }

    /// Listens on these and on no others.
    ///
    /// # Errors
    /// When one of them cannot be listened on; then those before go on.
    pub(crate) fn change(&mut self, listen: &Listen) -> Result<(), ServeError> {
        let wanted = listen.wanted();
        let (kept, former): (Vec<Open>, Vec<Open>) =
            self.open.drain(..).partition(|open| wanted.iter().any(|wanted| open.is(wanted)));
        let missing: Vec<Wanted> =
            wanted.into_iter().filter(|wanted| !kept.iter().any(|open| open.is(wanted))).collect();
        self.open = kept;
        let in_the_way = |open: &Open| missing.iter().any(|missing| open.is_in_the_way_of(missing));
        let (closed, former): (Vec<Open>, Vec<Open>) = former.into_iter().partition(in_the_way);
        closed.iter().for_each(|open| self.close(open.wanted.transport));
        let bound: Result<Vec<Bound>, ServeError> =
            missing.into_iter().map(|missing| self.bind(missing)).collect();
        match bound {
            Ok(bound) => {
                let has_new =
                    |open: &&Open| bound.iter().any(|new| new.open.wanted.transport == open.wanted.transport);
                let gone: Vec<Transport> =
                    former.iter().filter(|open| !has_new(open)).map(|open| open.wanted.transport).collect();
                bound.into_iter().for_each(|bound| self.open(bound));
                gone.into_iter().for_each(|transport| self.close(transport));
                Ok(())
            }
            Err(error) => {
                self.open.extend(former);
                for open in closed {
                    // At the address that it had, also where that was picked.
                    let again = Wanted { address: open.bound, ..open.wanted };
                    match self.bind(again) {
                        Ok(bound) => self.open(bound),
                        Err(error) => tracing::error!(code = "UM1205", "{error}; nobody listens there now"),
                    }
                }
                Err(error)
            }
        }
    }

    /// Puts where it listens into `addresses`.
    pub(crate) fn write(&self, addresses: &mut Addresses) {
        let at = |transport| {
            let mut open = self.open.iter();
            open.find(|open| open.wanted.transport == transport).map(|open| open.bound)
        };
        addresses.udp = at(Transport::Udp);
        addresses.tcp = at(Transport::Tcp);
        addresses.tls = at(Transport::Tls);
    }

    fn bind(&self, wanted: Wanted) -> Result<Bound, ServeError> {
        let (address, workers) = (wanted.address, self.workers.len());
        let transport = wanted.transport.uri_parameter();
        let failed = |error| ServeError::Listen { transport, address, error };
        let mut bound = address;
        let mut sockets = Vec::with_capacity(workers);
        if wanted.transport == Transport::Udp {
            // It may be one that was given up before.
            self.tell((0..workers).map(|_| What::CloseFormer(address)));
            for socket in socket::udp(address, workers, self.any_worker).map_err(failed)? {
                bound = socket.local_addr().map_err(failed)?;
                sockets.push(What::Udp(Some(socket)));
            }
        } else {
            for listener in socket::tcp(address, workers).map_err(failed)? {
                bound = listener.local_addr().map_err(failed)?;
                let listening = Listening { listener, tls: wanted.tls.clone() };
                sockets.push(What::Streams(wanted.transport, Some(listening)));
            }
        }
        Ok(Bound { open: Open { wanted, bound }, sockets })
    }

    fn open(&mut self, bound: Bound) {
        self.tell(bound.sockets.into_iter());
        self.open.push(bound.open);
    }

    fn close(&self, transport: Transport) {
        let nothing = || match transport {
            Transport::Udp => What::Udp(None),
            Transport::Tcp | Transport::Tls => What::Streams(transport, None),
        };
        self.tell(self.workers.iter().map(|_| nothing()));
    }

    /// Tells each worker its part, and waits until all have done it.
    fn tell(&self, changes: impl Iterator<Item = What>) {
        let (made, waits) = channel();
        for (worker, what) in self.workers.iter().zip(changes) {
            // One that has ended has no sockets any more.
            let _told = worker.try_send(Change { what, _made: made.clone() });
        }
        drop(made);
        if waits.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a worker is too busy to change its ports just now");
        }
    }
}
