//! The API server, asked without the time that it takes to start `kubectl`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Cluster;

/// A `kubectl proxy` of the test's own.
#[derive(Debug)]
pub struct Api {
    child: Child,
    /// Where it listens, in the cluster's network.
    pub address: SocketAddr,
}

impl Api {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start(cluster: &Cluster) -> Api {
        let folder = cluster.folder();
        let programs = std::fs::read_to_string(folder.join("programs")).expect("the programs' folder");
        let mut command = Command::new(format!("{}/kubectl", programs.trim()));
        command.args(["proxy", "--port=0"]).env("KUBECONFIG", folder.join("keys/admin.kubeconfig"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = cluster.within(|| command.spawn().expect("kubectl proxy starts"));
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        said.read_line(&mut line).expect("what it says first");
        let address = line.trim().rsplit(' ').next().and_then(|address| address.parse().ok());
        Api { child, address: address.expect("its address") }
    }

    /// Sends one request, from within the cluster's network; gives the status of the answer.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> u16 {
        let body = body.to_string();
        let mut connection = TcpStream::connect(self.address).expect("kubectl proxy listens");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the answer");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

impl Api {
    /// Makes the mailbox `user-NUMBER` with the extension 300 + NUMBER.
    ///
    /// # Panics
    /// If it is refused.
    pub fn make_mailbox(&self, namespace: &str, number: usize) {
        let name = format!("user-{number}");
        let object = json!({
            "apiVersion": "umbriel.dev/v1alpha1", "kind": "UMMailbox", "metadata": { "name": name },
            "spec": {
                "umMailboxPolicy": "staff", "extensions": [(300 + number).to_string()],
                "primarySmtpAddress": format!("{name}@contoso.example"),
            },
        });
        let path = format!("/apis/umbriel.dev/v1alpha1/namespaces/{namespace}/ummailboxes");
        assert_eq!(self.send("POST", &path, "application/json", &object), 201);
    }

    /// Edits the office's dial plan: 300 + NUMBER becomes an access number, and those from FIRST on stay as far
    /// as a dial plan has room: it has at most 32.
    ///
    /// # Panics
    /// If it is refused.
    pub fn add_access_number(&self, namespace: &str, first: usize, number: usize) {
        let numbers = first.max(number.saturating_sub(31))..=number;
        let numbers: Vec<_> = numbers.map(|number| (300 + number).to_string()).collect();
        let patch = json!({ "spec": { "accessTelephoneNumbers": numbers } });
        let path = format!("/apis/umbriel.dev/v1alpha1/namespaces/{namespace}/umdialplans/contoso");
        assert_eq!(self.send("PATCH", &path, "application/merge-patch+json", &patch), 200);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
