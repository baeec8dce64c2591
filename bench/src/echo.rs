//! The bare echo: what the machine can do, without any SIP.
//!
//! Decides nothing. What begins like an INVITE is answered with its own beginning, as long as a
//! redirect; everything else, which is an ACK, is dropped. One thread; datagrams in batches, streams
//! by plain reads and writes, and lengths that are known beforehand instead of being read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use runtime::batch::{Inbound, Outbound};

use crate::drive::widen;

/// Lengths of the messages.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) reply: usize,
    pub(crate) invite: usize,
    pub(crate) ack: usize,
}

/// The event of the listener.
const LISTENER: u64 = u64::MAX;

/// Answers datagrams until it is ended.
pub(crate) fn datagrams(socket: &UdpSocket, lengths: Lengths) -> io::Result<()> {
    widen(socket)?;
    let (mut inbound, mut outbound) = (Inbound::new(), Outbound::one_by_one());
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    loop {
        let came = inbound.receive(socket.as_fd())?;
        bytes.clear();
        messages.clear();
        for (request, from) in (0..came).filter_map(|number| inbound.get(number)) {
            if request.starts_with(b"I") {
                let start = bytes.len();
                bytes.extend_from_slice(&request[..lengths.reply.min(request.len())]);
                messages.push((from, start..bytes.len()));
            }
        }
        let _sent = outbound.send(socket.as_fd(), &bytes, messages.drain(..));
    }
}

/// Answers on streams until it is ended.
pub(crate) fn streams(listener: &TcpListener, lengths: Lengths) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut streams: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    let mut events = vec![EpollEvent::empty(); 64];
    let (mut buffer, mut answer) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, streams.len() as u64))?;
                streams.push(Some((stream, Vec::new())));
                continue;
            }
            let place = &mut streams[usize::try_from(event.data()).unwrap_or(0)];
            let Some((stream, waiting)) = place else { continue };
            match stream.read(&mut buffer) {
                Ok(0) => *place = None,
                Ok(length) => {
                    waiting.extend_from_slice(&buffer[..length]);
                    echo(waiting, lengths, &mut answer);
                    if write(stream, &answer).is_err() {
                        *place = None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                Err(_) => *place = None,
            }
        }
    }
}

/// Takes whole messages and leaves the rest.
fn echo(waiting: &mut Vec<u8>, lengths: Lengths, answer: &mut Vec<u8>) {
    answer.clear();
    let mut at = 0;
    while let Some(first) = waiting.get(at) {
        let length = if *first == b'I' { lengths.invite } else { lengths.ack };
        let Some(message) = waiting.get(at..at + length) else { break };
        if *first == b'I' {
            answer.extend_from_slice(&message[..lengths.reply.min(length)]);
        }
        at += length;
    }
    waiting.drain(..at);
}

fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            // The generator reads all the time.
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
