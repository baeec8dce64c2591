//! What lies between an operator and the API server, and can be cut or be busy.
//!
//! Decides what becomes of bytes: connections that fall silent without an end are what a broken
//! network looks like from inside. Refuses to know what the bytes say.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Cluster;

/// Where the API server of the tests' cluster listens.
pub const API_SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1)), 6443);

/// Passes connections on to the API server.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, in the cluster's network.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that were made before this number was reached pass nothing on any more.
    era: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    /// Begins to pass connections on.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn start(cluster: &Cluster) -> Proxy {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let address = cluster.within(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = listener.local_addr().expect("an address");
            listener.set_nonblocking(true).expect("a listener that does not wait");
            std::thread::spawn(move || accept(&listener, &shared));
            address
        });
        Proxy { address, state }
    }

    /// Every connection that there is falls silent and stays open; new ones are passed on.
    pub fn silence(&self) {
        self.state.era.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while !state.closed.load(Ordering::SeqCst) {
        let Ok((near, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let Ok(far) = TcpStream::connect(API_SERVER) else { continue };
        near.set_nonblocking(false).expect("a connection that waits");
        let era = state.era.load(Ordering::SeqCst);
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            let state = Arc::clone(state);
            std::thread::spawn(move || pass(from, to, era, &state));
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, era: u64, state: &State) {
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while state.era.load(Ordering::SeqCst) != era {
            if state.closed.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Also the end of a connection is passed on, unless it is silent.
    if state.era.load(Ordering::SeqCst) == era {
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Passes connections on to a `kubectl proxy`, or answers that the API server is busy.
#[derive(Debug)]
pub struct Busy {
    /// Where it listens, in the cluster's network. It speaks plain HTTP.
    pub address: SocketAddr,
    state: Arc<BusyState>,
}

#[derive(Debug, Default)]
struct BusyState {
    /// What `Retry-After` says, seconds; 0 if requests are passed on.
    retry_after_s: AtomicU64,
    /// Connections that are passed on.
    passed: Mutex<Vec<TcpStream>>,
    /// When something was refused, except for what is about the Lease.
    refused: Mutex<Vec<Instant>>,
    closed: AtomicBool,
}

impl Busy {
    /// Begins to pass connections on to `far`.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn start(cluster: &Cluster, far: SocketAddr) -> Busy {
        let state = Arc::new(BusyState::default());
        let shared = Arc::clone(&state);
        let address = cluster.within(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = listener.local_addr().expect("an address");
            listener.set_nonblocking(true).expect("a listener that does not wait");
            std::thread::spawn(move || accept_or_refuse(&listener, far, &shared));
            address
        });
        Busy { address, state }
    }

    /// From now on every request is answered by 429 and this `Retry-After`, by new connections: those
    /// that there are end.
    pub fn refuse(&self, retry_after: Duration) {
        self.state.retry_after_s.store(retry_after.as_secs(), Ordering::SeqCst);
        for connection in self.state.passed.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// From now on requests are passed on.
    pub fn accept(&self) {
        self.state.retry_after_s.store(0, Ordering::SeqCst);
    }

    /// When something was refused, except for what is about the Lease.
    #[must_use]
    pub fn refused(&self) -> Vec<Instant> {
        self.state.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
    }
}

fn accept_or_refuse(listener: &TcpListener, far: SocketAddr, state: &Arc<BusyState>) {
    while !state.closed.load(Ordering::SeqCst) {
        let Ok((near, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        near.set_nonblocking(false).expect("a connection that waits");
        if state.retry_after_s.load(Ordering::SeqCst) > 0 {
            let state = Arc::clone(state);
            std::thread::spawn(move || refuse(near, &state));
            continue;
        }
        let Ok(far) = TcpStream::connect(far) else { continue };
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        state.passed.lock().unwrap_or_else(PoisonError::into_inner).push(near);
    }
}

/// Answers one request that it comes later.
fn refuse(mut connection: TcpStream, state: &BusyState) {
    let mut buffer = [0; 16_384];
    let Ok(length @ 1..) = connection.read(&mut buffer) else { return };
    if !String::from_utf8_lossy(&buffer[..length]).contains("/leases/") {
        state.refused.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }
    let seconds = state.retry_after_s.load(Ordering::SeqCst);
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let _ = connection.write_all(answer.as_bytes());
}
