//! Which worker's socket a datagram falls into.
//!
//! Decides that it is left to chance, so that one single peer keeps all workers busy: the kernel alone
//! would choose by the peer's address and port. Only for servers of which any worker may take any
//! message. Beside `batch.rs` the only file with unsafe code: a socket option that takes a pointer.

#![allow(unsafe_code, reason = "no safe wrapper knows this option of a socket")]
#![allow(clippy::cast_possible_truncation, reason = "lengths of structures fit the kernel's types")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_void, sock_filter, sock_fprog, socklen_t};

/// Lets chance choose among the sockets that share the port of this one, of which there are `workers`.
///
/// # Errors
/// Where the kernel knows no such choice; it then goes on choosing by address and port.
pub(crate) fn by_chance(socket: BorrowedFd<'_>, workers: u32) -> io::Result<()> {
    let step = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    // A random number, what is left of it when divided by the number of workers, and that is the place.
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, random),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, workers),
        step(libc::BPF_RET | BPF_A, 0),
    ];
    let program = sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live until the call returns, and the length is that of the
    // structure; the kernel copies and checks them.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast::<c_void>(),
            mem::size_of::<sock_fprog>() as socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The accumulator as what is returned (`linux/bpf_common.h`).
const BPF_A: u32 = 0x10;
