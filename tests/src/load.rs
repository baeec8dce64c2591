//! Calls at a steady rate: sipp asks a router where each of them goes.
//!
//! Decides that a call which is not redirected is one too many.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::operator::BRIDGE;
use crate::phone::{Phone, Transport};
use crate::wire::{Invite, Wire};
use crate::{Cluster, wait_until};

/// Calls that are under way.
#[derive(Debug)]
pub struct Load {
    child: Child,
    room: TempDir,
}

impl Load {
    /// Begins to call `called` through `router`, `rate` times a second, `calls` times in all. To be
    /// called in the network that the calls come from.
    ///
    /// # Panics
    /// If sipp cannot be started.
    #[must_use]
    pub fn start(from: IpAddr, router: SocketAddr, called: &str, rate: u32, calls: u32) -> Load {
        let room = tempfile::Builder::new().prefix("umbriel-load-").tempdir().expect("a folder");
        std::fs::write(room.path().join("scenario.xml"), include_str!("redirected.xml"))
            .expect("the scenario");
        let child = Command::new("sipp")
            .current_dir(room.path())
            .args([&router.to_string(), "-sf", "scenario.xml", "-s", called, "-i", &from.to_string()])
            .args(["-r", &rate.to_string(), "-m", &calls.to_string(), "-l", "10000", "-nostdin"])
            .args(["-t", "u1", "-trace_err", "-error_file", "errors.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp starts");
        Load { child, room }
    }

    /// Waits until the last call is over.
    ///
    /// # Panics
    /// With what sipp says, if a call was not redirected.
    pub fn finish(mut self, limit: Duration) {
        let status = wait_until("sipp is done", limit, || self.child.try_wait().expect("sipp is ours"));
        let errors = std::fs::read_to_string(self.room.path().join("errors.log")).unwrap_or_default();
        assert!(status.success(), "sipp ended with {status}\n{errors}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls for alice, one after the other, until they are asked to end.
#[derive(Debug)]
pub struct Kept {
    count: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Duration>>,
}

impl Kept {
    /// Asks `router` about twenty times a second where a call goes: it is redirected.
    #[must_use]
    pub fn redirected(cluster: &Cluster, router: IpAddr) -> Kept {
        let router = SocketAddr::new(router, 5060);
        let mut wire = None;
        Kept::start(cluster, move |number| {
            let wire = wire.get_or_insert_with(|| Wire::new(BRIDGE, router));
            let begun = Instant::now();
            let call_id = format!("kept-{number}-{}", router.ip());
            let answer = wire.invite(&Invite { called: "101", diverting: None, call_id: &call_id });
            assert!(answer.starts_with("SIP/2.0 302 "), "{answer}");
            let took = begun.elapsed();
            std::thread::sleep(Duration::from_millis(50));
            took
        })
    }

    /// Calls through `router` about twice a second, and speaks: a mailbox server answers. `seed` tells
    /// these calls from others.
    #[must_use]
    pub fn answered(cluster: &Cluster, router: IpAddr, seed: u64) -> Kept {
        let router = SocketAddr::new(router, 5060);
        Kept::start(cluster, move |number| {
            let begun = Instant::now();
            let mut phone = Phone::dial(BRIDGE, router, Transport::Udp, "101", seed + number as u64);
            let took = begun.elapsed();
            phone.speak(Duration::from_millis(400));
            phone.hang_up();
            took
        })
    }

    fn start(cluster: &Cluster, mut call: impl FnMut(usize) -> Duration + Send + 'static) -> Kept {
        let (count, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (Arc::clone(&count), Arc::clone(&over));
        let keep = move || {
            let mut longest = Duration::ZERO;
            while !ended.load(Ordering::SeqCst) {
                longest = longest.max(call(counted.load(Ordering::SeqCst)));
                counted.fetch_add(1, Ordering::SeqCst);
            }
            longest
        };
        Kept { count, over, thread: Some(cluster.within(|| std::thread::spawn(keep))) }
    }

    /// How many calls went well until now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until so many `more` calls have gone well.
    ///
    /// # Panics
    /// If they do not within half a minute; why, stands before it.
    pub fn expect(&self, more: usize) {
        let before = self.count();
        wait_until(&format!("{more} more calls go well"), Duration::from_secs(30), || {
            (self.count() >= before + more).then_some(())
        });
    }

    /// Ends the calls; gives their number and the longest time that one of them took to be answered.
    ///
    /// # Panics
    /// If one of them went wrong, as it did.
    #[must_use]
    pub fn finish(mut self) -> (usize, Duration) {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        let longest = ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (self.count(), longest.unwrap_or_default())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Also where the test fails.
        self.over.store(true, Ordering::SeqCst);
    }
}
