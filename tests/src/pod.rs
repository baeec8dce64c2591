//! What a pod of the cluster can reach: its network, entered by a test.
//!
//! Decides what is told of an attempt. Refuses to know what should be reached.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};

use crate::cluster::{Cluster, Namespace};

/// An answer to a connection takes milliseconds here; a packet that is dropped is sent again after a
/// second, and dropped again.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What comes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Somebody took it.
    Listener,
    /// It arrived, and nobody listens there.
    Nobody,
    /// It never arrived.
    Nothing,
}

/// A pod that does nothing, in whose network a test may do something.
#[derive(Debug)]
pub struct Bystander {
    network: File,
    /// Its address.
    pub address: IpAddr,
}

impl Bystander {
    /// Starts pods by these names, each with labels as YAML writes them between braces, and waits until
    /// they run.
    ///
    /// # Panics
    /// If they do not.
    #[must_use]
    pub fn start<const N: usize>(
        cluster: &Cluster,
        namespace: &Namespace<'_>,
        pods: [(&str, &str); N],
    ) -> [Bystander; N] {
        let manifest = |(name, labels): &(&str, &str)| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec:\n  \
                 terminationGracePeriodSeconds: 0\n  containers:\n    \
                 - {{name: pause, image: localhost/pause:1, imagePullPolicy: Never}}\n"
            )
        };
        namespace.apply(&pods.iter().map(manifest).collect::<Vec<_>>().join("---\n"));
        pods.map(|(name, _)| {
            let pod = format!("pod/{name}");
            let _runs = namespace.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
            let address = namespace.kubectl(&["get", &pod, "--output=jsonpath={.status.podIP}"]);
            Bystander::in_place_of(cluster, address.parse().expect("an address"))
        })
    }

    /// Whoever does something in the network of the pod that has this address.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn in_place_of(cluster: &Cluster, address: IpAddr) -> Bystander {
        let first = std::fs::read_to_string(cluster.folder().join("first.pid")).expect("the cluster is up");
        let networks = format!("/proc/{}/root/run/netns", first.trim());
        let networks = std::fs::read_dir(networks).expect("the networks of pods");
        let has_address = |network: &File| {
            let addresses = inside(network, || getifaddrs().expect("addresses").collect::<Vec<_>>());
            addresses.iter().any(|one| {
                let found = one.address.as_ref().and_then(|found| found.as_sockaddr_in());
                found.is_some_and(|found| IpAddr::from(found.ip()) == address)
            })
        };
        // One that is about to go may be gone before it is looked at.
        let mut networks = networks.flatten().filter_map(|entry| File::open(entry.path()).ok());
        let network = networks.find(has_address).expect("a pod with this address");
        Bystander { network, address }
    }

    /// Does something in the network of the pod.
    ///
    /// # Panics
    /// If it cannot be entered, or `act` panics.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(&self.network, act)
    }

    /// What comes of a connection to this place.
    ///
    /// # Panics
    /// If there is no route to it.
    #[must_use]
    pub fn reach(&self, address: IpAddr, port: u16) -> Reached {
        match self.within(|| TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)) {
            Ok(_) => Reached::Listener,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Reached::Nobody,
            Err(error) if error.kind() == ErrorKind::TimedOut => Reached::Nothing,
            Err(error) => panic!("{address} port {port} from {}: {error}", self.address),
        }
    }
}

/// Does something in a network. A network belongs to a thread: this one enters it and ends with the act.
fn inside<T: Send>(network: &File, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("the network is entered");
            act()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
