//! Callers outside of the cluster: they have a route to nodes and load balancers, not to pods.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use umbriel_tests::Cluster;
use umbriel_tests::office::Office;

#[test]
fn an_office_has_a_route_to_nodes_and_none_to_pods_and_services() {
    let Some(cluster) = Cluster::shared("an_office_has_a_route_to_nodes_and_none_to_pods_and_services")
    else {
        return;
    };
    let connect = |address: &str| {
        let address: SocketAddr = address.parse().expect("an address");
        let connected = Office::beside(cluster)
            .within(move || TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        connected.map(|_| ()).map_err(|error| error.kind())
    };
    // The kubelets of both nodes, a pod, and the Service before the API server.
    assert_eq!(connect("198.51.100.1:10251"), Ok(()));
    assert_eq!(connect("198.51.100.2:10252"), Ok(()));
    assert_eq!(connect("10.244.0.2:5060"), Err(ErrorKind::NetworkUnreachable));
    assert_eq!(connect("10.96.0.1:443"), Err(ErrorKind::NetworkUnreachable));
}
