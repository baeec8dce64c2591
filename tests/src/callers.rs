//! Callers that are not ours: Debian's sipp, baresip and linphone.
//!
//! Decides what one call of each looks like: where it goes, what is said from the answer on, and how long after
//! the answer it is hung up. Starting such a program takes as long as the machine is busy, so no time of a call
//! begins with it.

mod baresip;
mod linphone;
mod sipp;

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

pub use baresip::Baresip;
pub use linphone::{LINPHONE, Linphone};
pub use sipp::{Running, Sipp};

use crate::site::Site;
use crate::wait_until;

/// How long a call may take until it is answered or refused.
const ANSWERED: Duration = Duration::from_secs(60);
/// How long a telephone may take to hang up and to end.
const ENDED: Duration = Duration::from_secs(30);

/// Whom a telephone calls, as who, and where from.
#[derive(Clone, Copy, Debug)]
pub struct Dialled<'a> {
    /// Where the call goes first.
    pub to: SocketAddr,
    /// The extension that is called.
    pub called: &'a str,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'a str,
    /// The number that calls.
    pub caller: &'a str,
    /// The address that it calls from.
    pub from: IpAddr,
}

impl<'a> Dialled<'a> {
    /// A call by 200 from gateway `pbx`, over UDP, to the router of `site`.
    #[must_use]
    pub fn to(site: &dyn Site, called: &'a str) -> Dialled<'a> {
        Dialled { to: site.router(), called, transport: "udp", caller: "200", from: site.caller() }
    }

    /// The host of its own address, as URIs have it.
    fn host(&self) -> String {
        match self.from {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }
}

/// A signalling port that no other caller of this process has: left to itself, sipp binds to the first
/// port that it can, and of two callers that begin at once one then cannot listen on it.
fn signalling_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    28_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000
}

/// Waits until a program that was asked to end has ended. One that does not is ended, and its call with it.
fn end_of(child: &mut Child) -> ExitStatus {
    wait_until("the telephone ends", ENDED, || child.try_wait().ok().flatten())
}
