//! Many datagrams with one system call.
//!
//! Decides how datagrams are laid out for `recvmmsg` and `sendmmsg`, and that a run of equally long
//! messages to one peer goes down the network stack as one (`UDP_SEGMENT`), for as long as the way
//! out can do that. Refuses to know what is in them. It has unsafe code, as has
//! `spread.rs` beside it and no other file: the kernel is handed pointers, and each of them is made from
//! a live slice just before the call.

#![allow(unsafe_code, reason = "recvmmsg and sendmmsg take pointers, and no safe wrapper reuses its memory")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths and families of structures fit the kernel's types"
)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_void, in6_addr, iovec, mmsghdr, msghdr, sa_family_t, sockaddr_in, sockaddr_in6, socklen_t};

/// Datagrams of one call.
pub const BATCH: usize = 64;

/// The largest datagram (RFC 768).
const DATAGRAM_BYTES: usize = 65_536;

/// From one datagram's place to the next: 31 cache lines more than a datagram, so that the first lines
/// of all places do not compete for one set of the processor's cache.
const STRIDE_BYTES: usize = DATAGRAM_BYTES + 31 * 64;

/// Messages and bytes of one run: the kernel's `UDP_MAX_SEGMENTS`, and what an IPv4 packet holds.
const RUN_MESSAGES: usize = 64;
const RUN_BYTES: usize = 65_000;

/// A message that is longer than this may not fit the path in one packet; it is sent by itself, and
/// the kernel fragments it.
const RUN_MESSAGE_BYTES: usize = 1_200;

/// Room for one control message that holds the length of a segment.
const CONTROL_BYTES: usize = 32;

/// Datagrams as they came.
pub struct Inbound {
    bytes: Box<[u8]>,
    names: Box<[Name]>,
    headers: Box<[mmsghdr]>,
    count: usize,
}

// Its pointers are made anew, from its own memory, before each use.
unsafe impl Send for Inbound {}

impl Default for Inbound {
    fn default() -> Self {
        Inbound::new()
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Inbound({} datagrams)", self.count)
    }
}

impl Inbound {
    /// Room for [`BATCH`] datagrams. The pages of it that no datagram needs cost nothing.
    #[must_use]
    pub fn new() -> Self {
        Inbound {
            bytes: vec![0; BATCH * STRIDE_BYTES].into_boxed_slice(),
            names: vec![NO_NAME; BATCH].into_boxed_slice(),
            headers: (0..BATCH).map(|_| no_header()).collect(),
            count: 0,
        }
    }

    /// Takes what has come, up to [`BATCH`] datagrams, and says how many there are. Those before are
    /// forgotten.
    ///
    /// # Errors
    /// That of the socket: `WouldBlock` if nothing has come and it does not block.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        let mut vectors: [iovec; BATCH] = [NO_VECTOR; BATCH];
        let places = self.bytes.chunks_exact_mut(STRIDE_BYTES);
        let each = self.headers.iter_mut().zip(&mut vectors).zip(places).zip(&mut self.names);
        for (((header, vector), place), name) in each {
            *vector = iovec { iov_base: place.as_mut_ptr().cast(), iov_len: DATAGRAM_BYTES };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut name.0).cast();
            header.msg_hdr.msg_namelen = NAME_BYTES;
        }
        let flags = libc::MSG_WAITFORONE;
        // SAFETY: each header points to a vector, a place and a name of its own, all of which live and
        // are written by nobody else until the call returns; the length is that of `headers`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as _,
                flags as _,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// One of those that came last: its bytes, and whom it came from.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<(&[u8], SocketAddr)> {
        let header = self.headers[..self.count].get(number)?;
        let start = number * STRIDE_BYTES;
        let length = usize::try_from(header.msg_len).unwrap_or(0).min(DATAGRAM_BYTES);
        Some((&self.bytes[start..start + length], self.names[number].address()?))
    }
}

/// What became of messages that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The socket took them.
    pub taken: usize,
    /// The socket did not take them, as when its buffer is full.
    pub refused: usize,
}

/// Sends many messages from one buffer.
pub struct Outbound {
    headers: Box<[mmsghdr]>,
    vectors: Box<[iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    /// How many messages each header stands for.
    runs: [usize; BATCH],
    /// Whether the way out is believed to cut runs into messages.
    cuts_runs: bool,
}

// Its pointers are made anew, from its own memory and what it is handed, before each use.
unsafe impl Send for Outbound {}

/// Memory for one control message, aligned as its header asks.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

impl Default for Outbound {
    fn default() -> Self {
        Outbound::new()
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Outbound(cuts_runs: {})", self.cuts_runs)
    }
}

impl Outbound {
    /// One that tries runs.
    #[must_use]
    pub fn new() -> Self {
        Outbound {
            headers: (0..BATCH).map(|_| no_header()).collect(),
            vectors: vec![NO_VECTOR; BATCH].into_boxed_slice(),
            names: vec![NO_NAME; BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH].into_boxed_slice(),
            runs: [0; BATCH],
            cuts_runs: true,
        }
    }

    /// One that sends each message by itself.
    #[must_use]
    pub fn one_by_one() -> Self {
        Outbound { cuts_runs: false, ..Outbound::new() }
    }

    /// Sends messages, each a range of `buffer`, in order, now or not at all.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        buffer: &[u8],
        messages: impl Iterator<Item = (SocketAddr, Range<usize>)>,
    ) -> Sent {
        let mut messages = messages.filter(|(_, range)| buffer.get(range.clone()).is_some()).peekable();
        let mut sent = Sent::default();
        while messages.peek().is_some() {
            let mut count = 0;
            while count < BATCH
                && let Some((address, range)) = messages.next()
            {
                let (mut end, mut run) = (range.end, 1);
                while let Some((_, next)) = messages.next_if(|(to, next)| {
                    self.cuts_runs
                        && *to == address
                        && next.start == end
                        && next.len() == range.len()
                        && range.len() <= RUN_MESSAGE_BYTES
                        && run < RUN_MESSAGES
                        && next.end - range.start <= RUN_BYTES
                }) {
                    (end, run) = (next.end, run + 1);
                }
                self.prepare(count, address, &buffer[range.start..end], range.len(), run);
                count += 1;
            }
            self.flush(socket, count, &mut sent);
        }
        sent
    }

    /// Fills one header with a run of messages of one length.
    fn prepare(&mut self, at: usize, to: SocketAddr, bytes: &[u8], length: usize, run: usize) {
        self.names[at] = Name::of(to);
        self.vectors[at] = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        self.runs[at] = run;
        let header = &mut self.headers[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at].0).cast();
        header.msg_namelen = self.names[at].bytes();
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
        if run > 1 {
            let control: *mut c_void = self.controls[at].0.as_mut_ptr().cast();
            let segment = u16::try_from(length).unwrap_or(u16::MAX);
            // SAFETY: CMSG_SPACE of two bytes is 24, which the control's 32 aligned bytes hold.
            unsafe {
                header.msg_control = control;
                header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as u32) as _;
                let first = libc::CMSG_FIRSTHDR(header);
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
            }
        }
    }

    /// Hands the first `count` headers to the kernel. One that is refused is passed over; a run that
    /// is refused for being one is sent message by message, as are all from then on.
    fn flush(&mut self, socket: BorrowedFd<'_>, count: usize, sent: &mut Sent) {
        let mut at = 0;
        while at < count {
            let rest = &mut self.headers[at..count];
            // SAFETY: the headers were prepared from a buffer that outlives this call, and from memory
            // of `self`; the length is that of `rest`.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as _,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if let Ok(done @ 1..) = usize::try_from(done) {
                sent.taken += self.runs[at..at + done].iter().sum::<usize>();
                at += done;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // What the kernel says of a device that cannot cut, and of a path that is too narrow.
            let cannot_cut = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
            if self.runs[at] > 1 && error.raw_os_error().is_some_and(|code| cannot_cut.contains(&code)) {
                self.cuts_runs = false;
                self.send_singly(socket, at, sent);
            } else {
                sent.refused += self.runs[at];
            }
            at += 1;
        }
    }

    /// Sends the messages of one run by themselves.
    fn send_singly(&self, socket: BorrowedFd<'_>, at: usize, sent: &mut Sent) {
        let (vector, name) = (self.vectors[at], &self.names[at]);
        let length = vector.iov_len / self.runs[at];
        for number in 0..self.runs[at] {
            // SAFETY: the run is that many messages of one length, within the buffer that it was made of.
            let done = unsafe {
                let message = vector.iov_base.cast::<u8>().add(number * length).cast::<c_void>();
                libc::sendto(
                    socket.as_raw_fd(),
                    message,
                    length,
                    libc::MSG_DONTWAIT,
                    (&raw const name.0).cast(),
                    name.bytes(),
                )
            };
            if done >= 0 {
                sent.taken += 1;
            } else {
                sent.refused += 1;
            }
        }
    }
}

/// An address as the kernel writes it, of either family. Both begin with family and port; where IPv6
/// has its flow, IPv4 has the address.
#[derive(Clone, Copy)]
struct Name(sockaddr_in6);

const NAME_BYTES: socklen_t = mem::size_of::<sockaddr_in6>() as socklen_t;

const NO_NAME: Name = Name(sockaddr_in6 {
    sin6_family: libc::AF_UNSPEC as sa_family_t,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
});

impl Name {
    fn of(address: SocketAddr) -> Name {
        let sin6_port = address.port().to_be();
        match address {
            SocketAddr::V4(v4) => Name(sockaddr_in6 {
                sin6_family: libc::AF_INET as sa_family_t,
                sin6_port,
                sin6_flowinfo: u32::from_ne_bytes(v4.ip().octets()),
                ..NO_NAME.0
            }),
            SocketAddr::V6(v6) => Name(sockaddr_in6 {
                sin6_family: libc::AF_INET6 as sa_family_t,
                sin6_port,
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        let Name(name) = self;
        let port = u16::from_be(name.sin6_port);
        match i32::from(name.sin6_family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
                Some(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// How many bytes of it are meant.
    fn bytes(&self) -> socklen_t {
        if i32::from(self.0.sin6_family) == libc::AF_INET {
            mem::size_of::<sockaddr_in>() as socklen_t
        } else {
            NAME_BYTES
        }
    }
}

const NO_VECTOR: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn no_header() -> mmsghdr {
    // SAFETY: all fields are integers and pointers, for which zero is a value.
    let msg_hdr: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    mmsghdr { msg_hdr, msg_len: 0 }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    fn pair(ip: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind((ip, 0)).unwrap();
        let (one, other) = (bind(), bind());
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (one, other)
    }

    /// Sends texts in one go and gives what arrives, with where it came from.
    fn carried(outbound: &mut Outbound, ip: &str, texts: &[String]) -> Vec<(String, SocketAddr)> {
        let (from, to) = pair(ip);
        let (mut buffer, mut ranges) = (Vec::new(), Vec::new());
        for text in texts {
            ranges.push((to.local_addr().unwrap(), buffer.len()..buffer.len() + text.len()));
            buffer.extend_from_slice(text.as_bytes());
        }
        let sent = outbound.send(from.as_fd(), &buffer, ranges.into_iter());
        assert_eq!(sent, Sent { taken: texts.len(), refused: 0 });
        let (mut inbound, mut found) = (Inbound::new(), Vec::new());
        while found.len() < texts.len() {
            for number in 0..inbound.receive(to.as_fd()).unwrap() {
                let (bytes, address) = inbound.get(number).unwrap();
                assert_eq!(address, from.local_addr().unwrap());
                found.push((String::from_utf8(bytes.to_vec()).unwrap(), address));
            }
        }
        found
    }

    #[test]
    fn messages_arrive_whole_and_in_order_with_runs_and_without_them() {
        // Runs, lone ones, one that is too long for a run, and more than fit one call.
        let lengths = [300, 300, 300, 200, 2000, 2000, 7].into_iter().chain([40; 3 * BATCH]);
        let text = |(number, length): (usize, usize)| format!("{number:0length$}");
        let texts: Vec<String> = lengths.enumerate().map(text).collect();
        for ip in ["127.0.0.1", "::1"] {
            for mut outbound in [Outbound::new(), Outbound::one_by_one()] {
                let found = carried(&mut outbound, ip, &texts);
                assert_eq!(found.into_iter().map(|(text, _)| text).collect::<Vec<_>>(), texts);
            }
        }
    }

    #[test]
    fn the_longest_datagram_arrives_and_one_byte_more_is_refused() {
        let longest = "x".repeat(65_507);
        assert_eq!(carried(&mut Outbound::new(), "127.0.0.1", std::slice::from_ref(&longest))[0].0, longest);
        let (from, to) = pair("127.0.0.1");
        let buffer = [b'x'; 65_508];
        let one = std::iter::once((to.local_addr().unwrap(), 0..buffer.len()));
        let sent = Outbound::new().send(from.as_fd(), &buffer, one);
        assert_eq!(sent, Sent { taken: 0, refused: 1 });
    }

    #[test]
    fn a_run_that_cannot_be_cut_is_sent_message_by_message() {
        let (from, to) = pair("127.0.0.1");
        let mut outbound = Outbound::new();
        let buffer = *b"onetwo";
        outbound.prepare(0, to.local_addr().unwrap(), &buffer, 3, 2);
        outbound.send_singly(from.as_fd(), 0, &mut Sent::default());
        let mut inbound = Inbound::new();
        assert_eq!(inbound.receive(to.as_fd()).unwrap(), 2);
        assert_eq!([0, 1].map(|number| inbound.get(number).unwrap().0), [b"one", b"two"]);
    }

    #[test]
    fn nothing_has_come_is_said_and_forgets_what_came_before() {
        let (from, to) = pair("127.0.0.1");
        to.set_nonblocking(true).unwrap();
        let _sent = from.send_to(b"one", to.local_addr().unwrap()).unwrap();
        let mut inbound = Inbound::new();
        assert_eq!(inbound.receive(to.as_fd()).unwrap(), 1);
        assert_eq!(inbound.receive(to.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbound.get(0), None);
    }
}
