//! What a PodMonitor of the Prometheus operator leads to: whoever collects metrics by it.
//!
//! Decides which pods it means, and where each of them has its metrics, as the Prometheus operator reads
//! it. Refuses to know what the metrics say.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;

/// The labels of a pod that is monitored, and what it answers: head and body.
pub type Answer = (BTreeMap<String, String>, String, String);

/// Asks every running pod that PodMonitor `name` in `namespace` means, as far as it has the port that is
/// named. To be called in the cluster's network.
///
/// # Panics
/// If there is no such PodMonitor, or it says something that this cannot read.
#[must_use]
pub fn ask_all(cluster: &Cluster, namespace: &str, name: &str) -> Vec<Answer> {
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&cluster.kubectl(&[arguments, &["--output=json"]].concat())).expect("JSON")
    };
    let spec = json(&["get", "podmonitor", name, "--namespace", namespace])["spec"].clone();
    let labels = spec["selector"]["matchLabels"].as_object().expect("labels").iter();
    let labels: Vec<_> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().expect("text"))).collect();
    let pods = json(&[
        "get",
        "pods",
        "--all-namespaces",
        "--field-selector=status.phase=Running",
        "--selector",
        &labels.join(","),
    ]);
    let others = &spec["namespaceSelector"];
    let is_meant = |pod: &Value| {
        let of = pod["metadata"]["namespace"].as_str().expect("a namespace");
        let named =
            || others["matchNames"].as_array().is_some_and(|names| names.iter().any(|name| name == of));
        others["any"] == true || named() || (others["matchNames"].is_null() && of == namespace)
    };
    let mut answers = Vec::new();
    for pod in pods["items"].as_array().expect("a list").iter().filter(|pod| is_meant(pod)) {
        for endpoint in spec["podMetricsEndpoints"].as_array().expect("endpoints") {
            let Some(place) = place(pod, &endpoint["port"]) else { continue };
            let path = endpoint["path"].as_str().unwrap_or("/metrics");
            let labels = serde_json::from_value(pod["metadata"]["labels"].clone()).expect("labels");
            let (head, body) = get(place, path);
            answers.push((labels, head, body));
        }
    }
    answers
}

/// Where a pod has the port that is called so.
fn place(pod: &Value, port: &Value) -> Option<SocketAddr> {
    let address: IpAddr = pod["status"]["podIP"].as_str()?.parse().ok()?;
    let containers = pod["spec"]["containers"].as_array()?.iter();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = ports.find(|found| found["name"] == *port)?["containerPort"].as_u64()?;
    Some(SocketAddr::new(address, u16::try_from(number).ok()?))
}

fn get(place: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect_timeout(&place, Duration::from_secs(5)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}
