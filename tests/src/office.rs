//! An office beside the cluster, as a PBX or gateway stands beside one: in a network of its own,
//! with a route to the cluster's nodes and load balancers, and none to pods and Services.
//!
//! Decides who calls from there. Refuses to know how the network is made: that is
//! `tests/cluster/nodes`, and it goes with the cluster.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use crate::Cluster;
use crate::cluster::root;

/// The address of callers in the office.
pub const OFFICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// The office beside a running cluster.
#[derive(Clone, Copy, Debug)]
pub struct Office {
    _beside: (),
}

impl Office {
    /// The office beside the shared cluster.
    #[must_use]
    pub fn beside(_: &Cluster) -> Office {
        Office { _beside: () }
    }

    /// A command in the office's network.
    #[must_use]
    pub fn command(self, program: &str) -> Command {
        let mut command = script();
        command.args(["office", program]);
        command
    }

    /// Does something in the office: sockets that are opened meanwhile belong to its network for as
    /// long as they live.
    ///
    /// # Panics
    /// If the network cannot be entered, or `act` panics.
    pub fn within<T: Send>(self, act: impl FnOnce() -> T + Send) -> T {
        let folder = script().arg("where").output().expect("cluster where").stdout;
        let folder = String::from_utf8(folder).expect("a path");
        let first = std::fs::read_to_string(Path::new(folder.trim()).join("first.pid")).expect("the cluster");
        let network = format!("/proc/{}/root/run/netns/office", first.trim());
        let network = File::open(network).expect("the office's network");
        // A network belongs to a thread: this one enters it and ends with the act.
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(network, CloneFlags::CLONE_NEWNET).expect("the network is entered");
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn script() -> Command {
    Command::new(root().join("tests/cluster/cluster"))
}
