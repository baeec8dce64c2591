//! UDP ports that a server has given up while peers still use them.
//!
//! Decides that what comes by such a port is heard, and answered by it, until whatever began there is
//! over: a peer learned the port from a Contact, and sends its BYE there. Refuses to know what is said.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::net::UdpSocket;

/// Ports that are given up and still heard. One more closes the oldest: nobody moves a server five
/// times within a call.
const MAX_FORMER: usize = 4;

/// The ports that one worker has given up.
#[derive(Default)]
pub(crate) struct FormerPorts(Vec<FormerPort>);

/// One of them.
#[derive(Clone)]
pub(crate) struct FormerPort {
    pub(crate) socket: Rc<UdpSocket>,
    pub(crate) address: SocketAddr,
    until: Instant,
}

impl FormerPorts {
    /// Goes on hearing a port until then.
    pub(crate) fn keep(&mut self, socket: Rc<UdpSocket>, until: Instant) {
        let Ok(address) = socket.local_addr() else { return };
        if self.0.len() == MAX_FORMER {
            self.0.remove(0);
        }
        self.0.push(FormerPort { socket, address, until });
    }

    /// Closes a port, so that it can be opened anew.
    pub(crate) fn close(&mut self, address: SocketAddr) {
        self.0.retain(|former| former.address != address);
    }

    /// Closes those whose time is over.
    pub(crate) fn close_due(&mut self, now: Instant) {
        self.0.retain(|former| former.until > now);
    }

    /// When the next one's time is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|former| former.until).min()
    }

    /// The socket of this port.
    pub(crate) fn at(&self, port: u16) -> Option<Rc<UdpSocket>> {
        self.0.iter().find(|former| former.address.port() == port).map(|former| Rc::clone(&former.socket))
    }

    /// All of them, as they are now.
    pub(crate) fn all(&self) -> Vec<FormerPort> {
        self.0.clone()
    }
}

/// Waits until something has come by one of these; for ever if there is none.
pub(crate) async fn heard(former: &[FormerPort]) -> FormerPort {
    poll_fn(|context| {
        // An error of a socket is seen by the read that follows.
        let heard = former.iter().find(|former| former.socket.poll_recv_ready(context).is_ready());
        heard.map_or(Poll::Pending, |former| Poll::Ready(former.clone()))
    })
    .await
}
