//! Listeners for TCP and TLS, each in a task of its worker.
//!
//! Decides that a listener which is closed first accepts who has connected already, so that a change
//! of ports refuses nobody who was let in by the kernel. Refuses to know what becomes of a connection.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::Connections;
use crate::tls::Shown;

/// A listener that cannot accept, as when the process has no file left, tries again after this.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A bound listener, in the clear or with what it shows to who connects.
pub(crate) struct Listening {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) tls: Option<Arc<Shown>>,
}

/// A listener that accepts; dropping it leaves it open until its worker ends.
pub(crate) struct Accepting {
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Accepts connections from now on.
    pub(crate) fn start(connections: &Rc<Connections>, listening: Listening) -> io::Result<Accepting> {
        let Listening { listener, tls } = listening;
        let listener = TcpListener::from_std(listener)?;
        let accepting = Rc::clone(connections);
        let (close, mut closed) = oneshot::channel();
        let task = tokio::task::spawn_local(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = &mut closed => break,
                };
                match accepted {
                    Ok((stream, address)) => accepting.give(stream, address, tls.clone()),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                }
            }
            while let Ok(Ok((stream, address))) = timeout(Duration::ZERO, listener.accept()).await {
                accepting.give(stream, address, tls.clone());
            }
        });
        Ok(Accepting { close, task })
    }

    /// Accepts who has connected already, and closes the listener.
    pub(crate) async fn close(self) {
        drop(self.close);
        // A panic of the task was reported when it happened.
        let _ended = self.task.await;
    }

    /// Closes the listener at once.
    pub(crate) fn abort(self) {
        self.task.abort();
    }
}
