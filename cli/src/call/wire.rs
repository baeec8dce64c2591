//! The sockets of one test call.
//!
//! Decides how a URI is found (RFC 3263 without DNS service records), which local address a call
//! has, and where one message ends on a stream (RFC 3261 section 18.3). Refuses to know what the
//! messages say.

use std::net::{IpAddr, SocketAddr};

use rsip::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc;

use super::message::Hop;
use super::plan::Transport;

/// Messages from streams that wait to be read.
const QUEUE: usize = 64;
/// The longest message that is taken: what fits into a datagram.
const MAX_MESSAGE_BYTES: usize = 65_535;

/// Something that came.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message.
    Message(Hop, Vec<u8>),
    /// The far end closed a connection, or sent what is no SIP on it.
    Closed(Hop, String),
    /// Nobody listens on the UDP port.
    Deaf(SocketAddr),
}

/// The sockets of one call.
pub(crate) struct Wire {
    udp: UdpSocket,
    udp_local: SocketAddr,
    streams: Vec<(Hop, OwnedWriteHalf)>,
    arrivals: mpsc::Receiver<Arrival>,
    sender: mpsc::Sender<Arrival>,
    buffer: Vec<u8>,
    probe: Option<UdpSocket>,
}

impl Wire {
    /// Opens the socket for signalling at `local`.
    pub(crate) async fn open(local: IpAddr) -> std::io::Result<Self> {
        let udp = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
        let (sender, arrivals) = mpsc::channel(QUEUE);
        Ok(Self {
            udp_local: udp.local_addr()?,
            udp,
            streams: Vec::new(),
            arrivals,
            sender,
            buffer: vec![0; MAX_MESSAGE_BYTES],
            probe: None,
        })
    }

    /// Finds the way to a URI and opens what it needs; the error says what to do.
    pub(crate) async fn dial(&mut self, uri: &Uri, first: Transport) -> Result<Hop, String> {
        let transport = match uri.transport() {
            Some(rsip::Transport::Udp) => Transport::Udp,
            Some(rsip::Transport::Tcp) => Transport::Tcp,
            Some(other) => {
                return Err(format!("{uri} asks for {other}, and this client speaks UDP and TCP"));
            }
            None => first,
        };
        let remote = resolve(uri).await?;
        if let Some((hop, _)) = self.streams.iter().find(|(hop, _)| {
            transport == Transport::Tcp && hop.transport == Transport::Tcp && hop.remote == remote
        }) {
            return Ok(*hop);
        }
        match transport {
            Transport::Udp => Ok(Hop { transport, remote, local: self.udp_local }),
            Transport::Tcp => self.connect(remote).await,
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, hop: &Hop, bytes: &[u8]) -> std::io::Result<()> {
        match hop.transport {
            Transport::Udp => self.udp.send_to(bytes, hop.remote).await.map(|_| ()),
            Transport::Tcp => match self.streams.iter_mut().find(|(open, _)| open == hop) {
                Some((_, stream)) => stream.write_all(bytes).await,
                None => Err(std::io::ErrorKind::NotConnected.into()),
            },
        }
    }

    /// Asks whether anybody listens on a UDP port at all: sends a keep-alive (RFC 5626 section
    /// 4.4.1) from a connected socket, which hears of it if the port is closed.
    pub(crate) async fn probe(&mut self, remote: SocketAddr) {
        let Ok(probe) = UdpSocket::bind(SocketAddr::new(self.udp_local.ip(), 0)).await else { return };
        if probe.connect(remote).await.is_ok() && probe.send(b"\r\n\r\n").await.is_ok() {
            self.probe = Some(probe);
        }
    }

    /// Waits for whatever comes next.
    pub(crate) async fn receive(&mut self) -> Arrival {
        let mut answer = [0; 16];
        loop {
            tokio::select! {
                Ok((length, remote)) = self.udp.recv_from(&mut self.buffer) => {
                    let hop = Hop { transport: Transport::Udp, remote, local: self.udp_local };
                    return Arrival::Message(hop, self.buffer[..length].to_vec());
                }
                Some(arrival) = self.arrivals.recv() => return arrival,
                result = read_probe(self.probe.as_ref(), &mut answer) => {
                    let refused = result.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
                    let remote = self.probe.take().and_then(|probe| probe.peer_addr().ok());
                    if let Some(remote) = remote.filter(|_| refused) {
                        return Arrival::Deaf(remote);
                    }
                }
            }
        }
    }

    async fn connect(&mut self, remote: SocketAddr) -> Result<Hop, String> {
        let failed = |error: std::io::Error| {
            format!("cannot connect to {remote} by TCP: {error}; see that a SIP server listens there")
        };
        let stream = TcpStream::connect(remote).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let hop = Hop { transport: Transport::Tcp, remote, local: stream.local_addr().map_err(failed)? };
        let (reader, writer) = stream.into_split();
        self.streams.push((hop, writer));
        tokio::spawn(read_stream(reader, hop, self.sender.clone()));
        Ok(hop)
    }
}

/// The local address that leads to a URI.
pub(crate) async fn local_address(uri: &Uri) -> Result<IpAddr, String> {
    let remote = resolve(uri).await?;
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let no_way = |error: std::io::Error| format!("no way leads to {remote}: {error}");
    // Connecting a UDP socket sends nothing; it only makes the system choose the way.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(no_way)?;
    socket.connect(remote).await.map_err(no_way)?;
    Ok(socket.local_addr().map_err(no_way)?.ip())
}

async fn resolve(uri: &Uri) -> Result<SocketAddr, String> {
    let port = uri.port().map_or(5060, |port| *port.value());
    match uri.host() {
        rsip::Host::IpAddr(address) => Ok(SocketAddr::new(*address, port)),
        rsip::Host::Domain(name) => lookup_host((name.to_string(), port))
            .await
            .map_err(|error| format!("the host {name} is not known: {error}"))?
            .next()
            .ok_or_else(|| format!("the host {name} has no address")),
    }
}

async fn read_probe(probe: Option<&UdpSocket>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match probe {
        Some(probe) => probe.recv(buffer).await,
        None => std::future::pending().await,
    }
}

async fn read_stream(mut reader: OwnedReadHalf, hop: Hop, sender: mpsc::Sender<Arrival>) {
    let mut buffer = Vec::new();
    let reason = loop {
        match next_message(&mut buffer) {
            Ok(Some(message)) => {
                if sender.send(Arrival::Message(hop, message)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(reason) => break reason.to_owned(),
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break "the far end closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    // Whoever no longer listens needs no news of the end.
    let _ = sender.send(Arrival::Closed(hop, reason)).await;
}

/// Takes one whole message off the front of a stream's bytes, if it is all there.
fn next_message(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, &'static str> {
    let blank = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    buffer.drain(..blank);
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > MAX_MESSAGE_BYTES { Err("a message without end") } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&buffer[..end]);
    let length = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| {
            let name = name.trim();
            name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l")
        })
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or("a message without Content-Length")?;
    let total = end.saturating_add(4).saturating_add(length);
    if total > MAX_MESSAGE_BYTES {
        return Err("a message that is too long");
    }
    Ok((buffer.len() >= total).then(|| buffer.drain(..total).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_out_of_a_stream_by_their_length() {
        let mut buffer = b"\r\n\r\nA b c\r\nl: 2\r\n\r\nhiD e f\r\nContent-Length: 0\r\n\r\nG".to_vec();
        assert_eq!(next_message(&mut buffer).unwrap().unwrap(), b"A b c\r\nl: 2\r\n\r\nhi");
        assert_eq!(next_message(&mut buffer).unwrap().unwrap(), b"D e f\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(next_message(&mut buffer).unwrap(), None);
        assert_eq!(buffer, b"G");
    }

    #[test]
    fn a_stream_that_does_not_say_where_a_message_ends_is_given_up() {
        assert!(next_message(&mut b"A b c\r\nX: 1\r\n\r\n".to_vec()).is_err());
        assert!(next_message(&mut b"A b c\r\nContent-Length: 99999\r\n\r\n".to_vec()).is_err());
    }
}
