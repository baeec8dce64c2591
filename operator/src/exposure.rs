//! Where peers find a server that runs as a pod: [`place`] (decision 25).
//!
//! Decides which address and ports callers are told, from what the pod and its Service say. Nothing
//! is ever guessed: what is not known yet is [`Awaited`], and the server is not in service until
//! then. Refuses to know what a server is told of it and how. Pure.

use std::fmt;
use std::net::IpAddr;

use config::Listeners;
use crds::Exposure;
use serde_json::Value as Json;

use crate::site::Instance;

/// The ports of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// For SIP.
    pub(crate) listeners: Listeners,
    /// For media, by worker; a router has none.
    pub(crate) media: Vec<u16>,
}

/// One port, as Services and pods name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPort {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// `UDP` or `TCP`.
    pub(crate) protocol: &'static str,
}

/// Where peers find a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    pub(crate) ports: Ports,
}

/// What must be known before callers can be told where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The pod has no address yet.
    PodAddress,
    /// The pod has no node yet.
    NodeAddress,
    /// No load balancer has given the Service an address.
    BalancerAddress,
    /// The load balancer gave a name; SDP and SIP peers need the address behind it.
    BalancerName(String),
    /// The Service has no node port of this name.
    NodePort(String),
}

/// Whether a mode needs a Service for each mailbox server.
pub(crate) const fn needs_a_service_per_pod(exposure: Exposure) -> bool {
    match exposure {
        Exposure::LoadBalancer | Exposure::NodePort => true,
        Exposure::Pod | Exposure::Host => false,
    }
}

/// Where peers find the server in `pod`, which has `own` ports, by `service` if the mode needs one.
pub(crate) fn place(
    exposure: Exposure,
    pod: &Instance,
    own: &Ports,
    service: Option<&Json>,
) -> Result<Place, Awaited> {
    // One that is about to be made says nothing yet.
    let service = service.unwrap_or(&Json::Null);
    let at = |address| Place { address, ports: own.clone() };
    let node = || pod.node_address.ok_or(Awaited::NodeAddress);
    match exposure {
        Exposure::Pod => pod.address.map(at).ok_or(Awaited::PodAddress),
        Exposure::Host => node().map(at),
        Exposure::LoadBalancer => balancer_address(service).map(at),
        Exposure::NodePort => {
            let ports = node_ports(own, service)?;
            Ok(Place { address: node()?, ports })
        }
    }
}

/// Whether callers can reach one of the servers in `pods`, which are behind one Service and have
/// `own` ports.
pub(crate) fn reachable(
    exposure: Exposure,
    pods: &[Instance],
    own: &Ports,
    service: Option<&Json>,
) -> Result<(), Awaited> {
    let service = service.unwrap_or(&Json::Null);
    match exposure {
        Exposure::Pod => Ok(()),
        Exposure::Host if pods.iter().any(|pod| pod.node_address.is_some()) => Ok(()),
        Exposure::Host => Err(Awaited::NodeAddress),
        Exposure::LoadBalancer => balancer_address(service).map(|_| ()),
        Exposure::NodePort => node_ports(own, service).map(|_| ()),
    }
}

/// The address that a load balancer has given to a Service.
fn balancer_address(service: &Json) -> Result<IpAddr, Awaited> {
    let ingress = || service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    if let Some(address) = ingress().find_map(|one| one["ip"].as_str()?.parse().ok()) {
        return Ok(address);
    }
    let name = ingress().find_map(|one| one["hostname"].as_str());
    Err(name.map_or(Awaited::BalancerAddress, |name| Awaited::BalancerName(name.into())))
}

/// The node ports of a Service, in the places of the server's own.
fn node_ports(own: &Ports, service: &Json) -> Result<Ports, Awaited> {
    let node_port = |name: &str| {
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let port = ports.find(|port| port["name"] == name).and_then(|port| port["nodePort"].as_u64());
        port.and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| Awaited::NodePort(name.into()))
    };
    let sip = |name: &str, port: Option<u16>| port.map(|_| node_port(name)).transpose();
    let Listeners { udp, tcp, tls } = own.listeners;
    Ok(Ports {
        listeners: Listeners { udp: sip(SIP_UDP, udp)?, tcp: sip(SIP_TCP, tcp)?, tls: sip(SIP_TLS, tls)? },
        media: (0..own.media.len()).map(|worker| node_port(&media_name(worker))).collect::<Result<_, _>>()?,
    })
}

const SIP_UDP: &str = "sip-udp";
const SIP_TCP: &str = "sip-tcp";
const SIP_TLS: &str = "sip-tls";

fn media_name(worker: usize) -> String {
    format!("rtp-{worker}")
}

impl Ports {
    /// Each port with its name.
    pub(crate) fn named(&self) -> Vec<NamedPort> {
        let Listeners { udp, tcp, tls } = self.listeners;
        let sip = [(SIP_UDP, udp, "UDP"), (SIP_TCP, tcp, "TCP"), (SIP_TLS, tls, "TCP")];
        let sip = sip.into_iter().filter_map(|(name, port, protocol)| {
            Some(NamedPort { name: name.into(), port: port?, protocol })
        });
        let media = self.media.iter().enumerate();
        let media =
            media.map(|(worker, port)| NamedPort { name: media_name(worker), port: *port, protocol: "UDP" });
        sip.chain(media).collect()
    }
}

impl Awaited {
    /// What to do about it.
    pub(crate) fn fix(&self, exposure: Exposure) -> String {
        match self {
            Awaited::NodeAddress if exposure == Exposure::Host => {
                "nothing, if this passes within a minute; else let Pod Security allow host ports, which its \
                 levels baseline and restricted do not, and see that there is a node whose ports are free"
                    .into()
            }
            Awaited::PodAddress | Awaited::NodeAddress | Awaited::NodePort(_) => {
                "nothing, if this passes within a minute; else look at the events of the pod and of the \
                 Service of its name"
                    .into()
            }
            Awaited::BalancerAddress => format!(
                "look at the events of the Service; a cluster without a load balancer for Services can use \
                 {:?} or {:?} instead of {exposure:?}",
                Exposure::NodePort,
                Exposure::Host
            ),
            Awaited::BalancerName(_) => {
                "configure the load balancer to give addresses, or use another exposure".into()
            }
        }
    }
}

impl fmt::Display for Awaited {
    /// As in "main-mailbox-0 waits for …".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::PodAddress => formatter.write_str("an address of its pod"),
            Awaited::NodeAddress => formatter.write_str("a node for its pod"),
            Awaited::BalancerAddress => {
                formatter.write_str("a load balancer to put an address into the status of its Service")
            }
            Awaited::BalancerName(name) => write!(
                formatter,
                "an address in the status of its Service: {name} is a name, and callers are told addresses"
            ),
            Awaited::NodePort(name) => write!(formatter, "node port {name} of its Service"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own() -> Ports {
        let listeners = Listeners { udp: Some(5062), tcp: Some(5062), tls: None };
        Ports { listeners, media: vec![5070, 5071] }
    }

    fn pod() -> Instance {
        Instance {
            name: "main-mailbox-0".into(),
            address: Some("10.244.0.7".parse().unwrap()),
            node_address: Some("198.51.100.1".parse().unwrap()),
            ready: true,
            ends: false,
            serves: None,
        }
    }

    fn at(address: &str, ports: Ports) -> Result<Place, Awaited> {
        Ok(Place { address: address.parse().unwrap(), ports })
    }

    fn node_port_service() -> Json {
        json!({ "spec": { "ports": [
            { "name": "sip-udp", "port": 5062, "nodePort": 30001 },
            { "name": "sip-tcp", "port": 5062, "nodePort": 30002 },
            { "name": "rtp-0", "port": 5070, "nodePort": 30003 },
            { "name": "rtp-1", "port": 5071, "nodePort": 30004 },
        ] } })
    }

    #[test]
    fn a_pod_is_found_at_its_own_address_and_ports() {
        assert_eq!(place(Exposure::Pod, &pod(), &own(), None), at("10.244.0.7", own()));
        let early = Instance { address: None, ..pod() };
        assert_eq!(place(Exposure::Pod, &early, &own(), None), Err(Awaited::PodAddress));
    }

    #[test]
    fn a_host_is_found_at_its_node_and_its_own_ports() {
        assert_eq!(place(Exposure::Host, &pod(), &own(), None), at("198.51.100.1", own()));
        let early = Instance { node_address: None, ..pod() };
        assert_eq!(place(Exposure::Host, &early, &own(), None), Err(Awaited::NodeAddress));
    }

    #[test]
    fn behind_a_load_balancer_the_address_is_the_one_in_the_status_of_the_service() {
        let of = |service: Option<&Json>| place(Exposure::LoadBalancer, &pod(), &own(), service);
        let status = |ingress: Json| json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        assert_eq!(of(Some(&status(json!([{ "ip": "203.0.113.7" }])))), at("203.0.113.7", own()));
        assert_eq!(of(None), Err(Awaited::BalancerAddress));
        assert_eq!(of(Some(&json!({ "status": { "loadBalancer": {} } }))), Err(Awaited::BalancerAddress));
        assert_eq!(
            of(Some(&status(json!([{ "hostname": "lb.example" }])))),
            Err(Awaited::BalancerName("lb.example".into()))
        );
        assert_eq!(of(Some(&status(json!([{ "ip": "nonsense" }])))), Err(Awaited::BalancerAddress));
    }

    #[test]
    fn node_ports_are_those_of_the_service_at_the_node_of_the_pod() {
        let of = |pod: &Instance, service: &Json| place(Exposure::NodePort, pod, &own(), Some(service));
        let listeners = Listeners { udp: Some(30001), tcp: Some(30002), tls: None };
        let outside = Ports { listeners, media: vec![30003, 30004] };
        assert_eq!(of(&pod(), &node_port_service()), at("198.51.100.1", outside));
        let mut partly = node_port_service();
        partly["spec"]["ports"][3]["nodePort"] = Json::Null;
        assert_eq!(of(&pod(), &partly), Err(Awaited::NodePort("rtp-1".into())));
        let early = Instance { node_address: None, ..pod() };
        assert_eq!(of(&early, &node_port_service()), Err(Awaited::NodeAddress));
    }

    #[test]
    fn every_port_has_a_name_of_its_own() {
        let listeners = Listeners { udp: Some(1), tcp: Some(2), tls: Some(3) };
        let named = Ports { listeners, media: vec![4, 5] }.named();
        let text = |port: NamedPort| format!("{} {} {}", port.name, port.port, port.protocol);
        assert_eq!(
            named.into_iter().map(text).collect::<Vec<_>>(),
            ["sip-udp 1 UDP", "sip-tcp 2 TCP", "sip-tls 3 TCP", "rtp-0 4 UDP", "rtp-1 5 UDP"]
        );
    }
}
