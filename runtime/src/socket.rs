//! How sockets are bound.
//!
//! Decides that each worker has a socket of its own on the shared port (`SO_REUSEPORT`), and that a
//! port which someone else listens on is an error rather than a share of their traffic.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::spread;

/// Connections that the kernel holds for us between two accepts.
const ACCEPT_BACKLOG: i32 = 1024;

/// Receive buffer of a UDP port: 4 MiB hold about 4,000 INVITEs of 1 kB. The kernel grants what it
/// may (`net.core.rmem_max`).
const UDP_RECEIVE_BYTES: usize = 4 * 1024 * 1024;

/// A connection that says nothing for this long is probed by the kernel.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// How long a port may seem taken before we believe it. A program that is being started has a copy of
/// all our sockets between its fork and its exec, those included that we have just closed: some
/// milliseconds, more on a busy machine.
const TAKEN_PATIENCE: Duration = Duration::from_millis(500);
/// How often we look in the meantime.
const TAKEN_RETRY: Duration = Duration::from_millis(10);

/// One UDP socket per worker, all on one address; port 0 picks a free one. Where any worker may take any
/// message, chance decides which does.
pub(crate) fn udp(address: SocketAddr, workers: usize, any_worker: bool) -> io::Result<Vec<UdpSocket>> {
    let sockets = patiently(|| bind_udp(address, workers))?;
    if any_worker
        && let [first, _, ..] = &sockets[..]
        && let Err(error) = spread::by_chance(first.as_fd(), u32::try_from(workers).unwrap_or(u32::MAX))
    {
        tracing::warn!(%error, %address, "each peer's datagrams go to one worker, and are not spread");
    }
    Ok(sockets)
}

/// One TCP listener per worker, all on one address; port 0 picks a free one.
pub(crate) fn tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    patiently(|| bind_tcp(address, workers))
}

fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + TAKEN_PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::sleep(TAKEN_RETRY);
            }
            bound => return bound,
        }
    }
}

fn bind_udp(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let mut address = address;
    refuse_a_taken_port(address, Type::DGRAM)?;
    (0..workers)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_reuse_port(true)?;
            socket.set_recv_buffer_size(UDP_RECEIVE_BYTES)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let socket = UdpSocket::from(socket);
            address = socket.local_addr()?;
            Ok(socket)
        })
        .collect()
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    refuse_a_taken_port(address, Type::STREAM)?;
    (0..workers)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(ACCEPT_BACKLOG)?;
            let listener = TcpListener::from(socket);
            address = listener.local_addr()?;
            Ok(listener)
        })
        .collect()
}

/// Sends a datagram now or not at all. Past the executor's own way, which refuses until it has once
/// waited for the socket.
pub(crate) fn send(socket: &tokio::net::UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
    SockRef::from(socket).send_to(bytes, &to.into())
}

/// What every connection gets: no delay before small messages, and probes when it is silent.
pub(crate) fn prepare_connection(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))
}

/// Two processes of one user that both set `SO_REUSEPORT` would silently share a port. So we first
/// bind without it, which fails if anybody is there.
fn refuse_a_taken_port(address: SocketAddr, kind: Type) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let probe = Socket::new(Domain::for_address(address), kind, None)?;
    if kind == Type::STREAM {
        // Connections of an earlier run that wait for their last segment are no listener.
        probe.set_reuse_address(true)?;
    }
    probe.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_port_that_the_first_one_was_given() {
        let sockets = udp(([127, 0, 0, 1], 0).into(), 3, false).unwrap();
        let first = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == first));
        let listeners = tcp(([127, 0, 0, 1], 0).into(), 2).unwrap();
        assert_eq!(listeners[0].local_addr().unwrap(), listeners[1].local_addr().unwrap());
    }

    #[test]
    fn a_port_that_a_starting_program_holds_for_a_moment_is_not_taken() {
        // What a fork holds between our close and its exec: a socket that shares with nobody.
        let held = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = held.local_addr().unwrap();
        let exec = thread::spawn(move || {
            thread::sleep(TAKEN_PATIENCE / 5);
            drop(held);
        });
        assert_eq!(udp(address, 2, false).unwrap().len(), 2);
        exec.join().unwrap();
    }

    #[test]
    fn a_port_that_another_server_has_is_refused_though_both_would_share() {
        let sockets = udp(([127, 0, 0, 1], 0).into(), 1, false).unwrap();
        let taken = sockets[0].local_addr().unwrap();
        assert_eq!(udp(taken, 1, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let listeners = tcp(([127, 0, 0, 1], 0).into(), 1).unwrap();
        let taken = listeners[0].local_addr().unwrap();
        assert_eq!(tcp(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
