//! An API server as far as the operator can tell: objects of a namespace, made when they are asked for
//! so that none of them is kept, and what the operator writes, as it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::TokenKey;
use config::parts::{MAILBOX_FILE, ROUTER_FILE, TOKEN_KEYS_FILE, token_keys_to_yaml};
use serde_json::{Value as Json, json};
use umbriel_operator::{Answer, Answers, Family, PartName, Question, Write};

pub(crate) const NAMESPACE: &str = "default";

/// Gateways that lead to one dial plan, at most.
const GATEWAYS_PER_DIAL_PLAN: u32 = 200;

/// One of so many of the others is an auto attendant.
const ATTENDED: u32 = 100;

/// Objects of each kind that somebody may change: the first ones.
const EDITED: u32 = 100;

pub(crate) struct ApiServer {
    mailboxes: u32,
    /// Gateways, and as many hunt groups.
    gateways: u32,
    attendants: u32,
    /// Dial plans, and as many policies.
    plans: u32,
    version: u64,
    /// The generation and the spec of what was changed, by kind and number.
    edits: BTreeMap<(String, u32), (i64, Json)>,
    /// The status of each that somebody may change.
    statuses: BTreeMap<(String, u32), Json>,
    /// The generations that are written for routers and mailbox servers.
    written: [u64; 2],
}

impl ApiServer {
    pub(crate) fn new(mailboxes: u32, others: u32) -> ApiServer {
        // Half of the others are gateways, but for their dial plans, and each has a hunt group.
        let plans = (others / 2).div_ceil(GATEWAYS_PER_DIAL_PLAN);
        let attendants = (others / ATTENDED).max(1);
        let gateways = (others - attendants) / 2 - plans;
        let (edits, statuses) = (BTreeMap::new(), BTreeMap::new());
        ApiServer { mailboxes, gateways, attendants, plans, version: 0, edits, statuses, written: [0; 2] }
    }

    pub(crate) fn spare_key(&self) -> TokenKey {
        let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into();
        TokenKey { id: "bench".into(), secret }
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        "2026-11-21T08:00:00Z".parse().unwrap()
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> u32 {
        2 + 2 * self.plans + 2 * self.gateways + self.attendants + self.mailboxes
    }

    /// One of them.
    pub(crate) fn object(&mut self, number: u32) -> Json {
        let kinds = [
            ("UMCallRouter", 1),
            ("UMService", 1),
            ("UMDialPlan", self.plans),
            ("UMMailboxPolicy", self.plans),
            ("UMIPGateway", self.gateways),
            ("UMHuntGroup", self.gateways),
            ("UMAutoAttendant", self.attendants),
            ("UMMailbox", self.mailboxes),
        ];
        let mut left = number;
        for (kind, count) in kinds {
            if left < count {
                return self.written_by_a_person(kind, left);
            }
            left -= count;
        }
        panic!("there is no object {number}");
    }

    fn name(kind: &str, number: u32) -> String {
        match kind {
            "UMCallRouter" | "UMService" => "main".into(),
            "UMDialPlan" => format!("plan-{number:06}"),
            "UMMailboxPolicy" => format!("staff-{number:06}"),
            "UMIPGateway" => format!("gateway-{number:06}"),
            "UMHuntGroup" => format!("group-{number:06}"),
            "UMAutoAttendant" => format!("reception-{number:06}"),
            _ => format!("user-{number:06}"),
        }
    }

    fn spec(&self, kind: &str, number: u32) -> Json {
        let plan = |number: u32| ApiServer::name("UMDialPlan", number % self.plans);
        match kind {
            "UMCallRouter" | "UMService" => json!({}),
            "UMDialPlan" => json!({ "numberOfDigitsInExtension": 6, "generateUMMailboxPolicy": false }),
            "UMMailboxPolicy" => json!({ "umDialPlan": plan(number) }),
            "UMIPGateway" if ApiServer::is_named(number) => json!({ "address": ApiServer::fqdn(number) }),
            "UMIPGateway" => json!({ "address": ApiServer::address(number).to_string() }),
            "UMAutoAttendant" => {
                json!({ "umDialPlan": plan(number), "pilotIdentifierList": [ApiServer::pilot(number)] })
            }
            "UMHuntGroup" => {
                json!({ "umIPGateway": ApiServer::name("UMIPGateway", number), "umDialPlan": plan(number) })
            }
            _ => json!({
                "umMailboxPolicy": ApiServer::name("UMMailboxPolicy", number % self.plans),
                "extensions": [format!("{number:06}")],
                "displayName": format!("User Number {number}"),
                "primarySmtpAddress": format!("user-{number}@contoso.example"),
            }),
        }
    }

    /// Whether a gateway is known by a name.
    const fn is_named(gateway: u32) -> bool {
        gateway % 2 == 1
    }

    fn fqdn(gateway: u32) -> String {
        format!("{}.contoso.example", ApiServer::name("UMIPGateway", gateway))
    }

    fn address(gateway: u32) -> IpAddr {
        let [_, high, middle, low] = gateway.to_be_bytes();
        IpAddr::from([10, high, middle, low])
    }

    /// What is called to reach an auto attendant; nobody has it as an extension.
    fn pilot(attendant: u32) -> String {
        format!("7{attendant:05}")
    }

    /// What the names of gateways lead to; those of `moved` lead elsewhere than in the beginning.
    pub(crate) fn answers(&self, moved: Range<u32>) -> Answers {
        let named = (0..self.gateways).filter(|gateway| ApiServer::is_named(*gateway));
        let answer = |gateway: u32| {
            let elsewhere = IpAddr::from([172, 16, 0, u8::try_from(gateway % 250).unwrap()]);
            let address = if moved.contains(&gateway) { elsewhere } else { ApiServer::address(gateway) };
            let question = Question { name: ApiServer::fqdn(gateway), family: Family::V4 };
            (question, Answer { addresses: BTreeSet::from([address]), trouble: None })
        };
        named.map(answer).collect()
    }

    /// What every object has.
    fn metadata(&mut self, name: &str, uid: &str, generation: i64) -> Json {
        self.version += 1;
        json!({
            "name": name, "namespace": NAMESPACE, "uid": uid, "generation": generation,
            "resourceVersion": self.version.to_string(), "creationTimestamp": "2026-11-21T08:00:00Z",
        })
    }

    fn written_by_a_person(&mut self, kind: &str, number: u32) -> Json {
        let edited = self.edits.get(&(kind.to_owned(), number)).cloned();
        let (generation, spec) = edited.unwrap_or_else(|| (1, self.spec(kind, number)));
        let uid = format!("{kind}-8d3c-4f5e-9a1b-{number:012}");
        let status = self.statuses.get(&(kind.to_owned(), number)).cloned();
        let metadata = self.metadata(&ApiServer::name(kind, number), &uid, generation);
        json!({
            "apiVersion": "umbriel.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
            "status": status,
        })
    }

    /// An object as it is after somebody changed its spec.
    pub(crate) fn edit(&mut self, kind: &str, number: u32, change: impl Fn(&mut Json)) -> Json {
        let number = number % if kind == "UMMailbox" { self.mailboxes } else { self.plans };
        let key = (kind.to_owned(), number);
        let (generation, mut spec) =
            self.edits.get(&key).cloned().unwrap_or_else(|| (1, self.spec(kind, number)));
        change(&mut spec);
        self.edits.insert(key, (generation + 1, spec));
        self.written_by_a_person(kind, number)
    }

    /// One of the mailboxes in the dial plan that a gateway leads to; few of them, in turn.
    pub(crate) fn in_plan_of(&self, gateway: u32, number: u32) -> u32 {
        gateway % self.plans + number * self.plans % EDITED
    }

    /// What comes back when this is written.
    pub(crate) fn carry_out(&mut self, write: Write) -> Json {
        match write {
            Write::TokenKeys(_, keys) => {
                let text = token_keys_to_yaml(&keys.keys).unwrap();
                let metadata = self.owned("umbriel-token", &keys.owners);
                let mut secret = json!({
                    "kind": "Secret", "metadata": metadata, "data": { TOKEN_KEYS_FILE: STANDARD.encode(text) },
                });
                secret["metadata"]["annotations"] = json!({
                    "umbriel.dev/rotation": keys.phase.name(),
                    "umbriel.dev/rotation-since": keys.since.to_string(),
                });
                secret
            }
            Write::Part(named, write) => {
                let name = match named.name {
                    PartName::Site => "umbriel-site".into(),
                    PartName::Database(number) => format!("umbriel-database-{number:02}"),
                };
                let metadata = self.owned(&name, &write.owners);
                let bytes = STANDARD.encode(&write.part.bytes);
                json!({ "kind": "ConfigMap", "metadata": metadata, "binaryData": { named.name.file(): bytes } })
            }
            Write::Router(_, index) => {
                self.written[0] = index.generation;
                let metadata = self.owned("main-router", &BTreeSet::new());
                json!({ "kind": "ConfigMap", "metadata": metadata, "data": { ROUTER_FILE: index.to_yaml().unwrap() } })
            }
            Write::Mailbox(_, index) => {
                self.written[1] = index.generation;
                let metadata = self.owned("main-mailbox", &BTreeSet::new());
                json!({ "kind": "ConfigMap", "metadata": metadata, "data": { MAILBOX_FILE: index.to_yaml().unwrap() } })
            }
            Write::Workload(workload) => {
                let mut object = workload.manifest;
                self.version += 1;
                object["metadata"]["uid"] = json!(format!("workload-{}", self.version));
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                object
            }
            Write::Status(object, status) => {
                let digits = object.key.name.rsplit('-').next().and_then(|digits| digits.parse().ok());
                let number = digits.unwrap_or_default();
                let key = (object.kind.clone(), number);
                self.statuses.insert(key.clone(), serde_json::to_value(status).unwrap());
                let echo = self.written_by_a_person(&object.kind, number);
                // What nobody is going to change need not be known again.
                if number >= EDITED {
                    self.statuses.remove(&key);
                }
                echo
            }
            Write::Remove(_) | Write::Forget(_) | Write::Default(_) => {
                panic!("nothing goes, nothing is made: {write:?}")
            }
        }
    }

    fn owned(&mut self, name: &str, owners: &BTreeSet<String>) -> Json {
        let owners: Vec<Json> =
            owners.iter().map(|uid| json!({ "kind": "UMService", "name": "main", "uid": uid })).collect();
        let mut metadata = self.metadata(name, &format!("uid-of-{name}"), 1);
        metadata["ownerReferences"] = owners.into();
        metadata
    }

    /// The pods of both servers, which take calls.
    pub(crate) fn pods(&mut self) -> Vec<Json> {
        let ready = ["Ready", "ContainersReady"].map(|type_| json!({ "type": type_, "status": "True" }));
        let pod = |(place, (component, name)): (u8, (&str, &str))| {
            let metadata = self.metadata(name, &format!("uid-of-{name}"), 1);
            let mut pod = json!({
                "kind": "Pod", "metadata": metadata,
                "status": {
                    "phase": "Running", "podIP": format!("10.244.0.{place}"), "hostIP": "198.51.100.1",
                    "conditions": ready,
                },
            });
            pod["metadata"]["labels"] = json!({
                "app.kubernetes.io/instance": "main", "app.kubernetes.io/component": component,
            });
            pod
        };
        (1..).zip([("router", "main-router-1"), ("mailbox", "main-mailbox-0")]).map(pod).collect()
    }

    /// The generation that is written for a pod.
    pub(crate) fn written(&self, pod: &Json) -> u64 {
        let is_router = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "router";
        self.written[usize::from(!is_router)]
    }
}
