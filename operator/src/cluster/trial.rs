//! [`Trial`]: the objects of a trial, brought to a cluster and taken away again.
//!
//! Decides how long it is waited for what, and what whoever waits is told to look at. Refuses to
//! know calls: whoever has a trial places one.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value as Json;

use super::objects::Source;
use super::watch;
use crate::trial::{EXTENSION, Found, KINDS, NAME, Waiting, objects, waiting};
use crds::Kind;

/// An operator looks at an object at once; one that starts takes some seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// How often the objects are looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// A request to the API server may take this long.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// `404 Not Found`.
const NOT_FOUND: u16 = 404;

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It runs outside of a cluster, or without the right to talk to it.
    #[error("find the cluster: {0}")]
    Find(Box<dyn std::error::Error + Send + Sync>),
    /// The API server refuses something.
    #[error(
        "{what}: {error}; look whether the definitions of our kinds and the rights are those of this version"
    )]
    Refused {
        /// What it was asked.
        what: String,
        /// What it said.
        error: Box<kube::Error>,
    },
    /// The API server is silent.
    #[error("{0}: the API server does not answer")]
    Silent(String),
    /// Nobody looks at the objects.
    #[error(
        "no operator has looked at {0} within {s} s; see whether one runs, and what it logs:\n  \
         kubectl get pods --all-namespaces --selector app.kubernetes.io/component=operator",
        s = SEEN_WITHIN.as_secs()
    )]
    Unseen(String),
    /// The objects are not served in time.
    #[error(
        "{object} is not served after {s} s: {reason}\nsee what holds its servers up:\n  \
         kubectl --namespace {namespace} get um,pods,persistentvolumeclaims,events",
        s = after.as_secs()
    )]
    NotServed {
        /// Which of them.
        object: String,
        /// Why.
        reason: String,
        /// How long it was waited for.
        after: Duration,
        /// Where.
        namespace: String,
    },
    /// The call router takes calls by TLS alone, which the caller does not speak.
    #[error("UMCallRouter {0} takes calls by TLS alone; set its umStartupMode to Dual to have it tried")]
    TlsAlone(String),
}

/// Where the call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The number.
    pub extension: &'static str,
    /// The Service of the call router.
    pub router: SocketAddr,
    /// Whether it is UDP; TCP otherwise.
    pub udp: bool,
}

/// Objects of a trial in a namespace.
pub struct Trial {
    client: Client,
    namespace: String,
    found: Found,
}

impl Trial {
    /// Looks at what the namespace has, and takes away what an earlier trial may have left.
    ///
    /// # Errors
    /// [`TrialError`], if the cluster is not found or does not let us.
    pub async fn begin(namespace: &str) -> Result<Trial, TrialError> {
        let client = Client::try_default().await.map_err(|error| TrialError::Find(Box::new(error)))?;
        let mut trial = Trial { client, namespace: namespace.to_owned(), found: Found::default() };
        trial.clear().await?;
        let routers = trial.list(Kind::UMCallRouter).await?;
        let services = trial.list(Kind::UMService).await?;
        trial.found = Found {
            router: routers.first().and_then(|router| router.metadata.name.clone()),
            service: services.first().and_then(|service| service.metadata.name.clone()),
            mail_from: services
                .first()
                .and_then(|service| service.data["spec"]["smtp"]["from"].as_str())
                .map(str::to_owned),
        };
        Ok(trial)
    }

    /// Makes the objects of a trial whose calls come from `address`, and says which.
    ///
    /// # Errors
    /// [`TrialError::Refused`] or [`TrialError::Silent`].
    pub async fn make(&self, address: IpAddr) -> Result<String, TrialError> {
        let made = objects(&self.found, address);
        let params = PatchParams::apply(NAME).force();
        for (kind, object) in &made {
            let apply = Patch::Apply(object);
            self.request(&format!("make {kind} {NAME}"), self.api(*kind).patch(NAME, &params, &apply))
                .await?;
        }
        let kinds = made.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>().join(", ");
        Ok(format!("{kinds} {NAME} in namespace {}", self.namespace))
    }

    /// Waits until all of them are served; `tell` hears what it is waited for.
    ///
    /// # Errors
    /// [`TrialError::Unseen`] or [`TrialError::NotServed`], and what a request may end with.
    pub async fn served(&self, patience: Duration, tell: impl Fn(&str)) -> Result<Destination, TrialError> {
        let begun = Instant::now();
        let mut told = String::new();
        while let Some((object, waiting)) = self.next_to_wait_for().await? {
            let waits = match waiting {
                Waiting::Unseen if begun.elapsed() >= SEEN_WITHIN => return Err(TrialError::Unseen(object)),
                Waiting::Unseen => format!("{object}: no operator has looked at it yet"),
                Waiting::Told(reason) if begun.elapsed() >= patience => {
                    let namespace = self.namespace.clone();
                    return Err(TrialError::NotServed { object, reason, after: patience, namespace });
                }
                Waiting::Told(reason) => format!("{object}: {reason}"),
            };
            if waits != told {
                tell(&waits);
                told = waits;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.destination().await
    }

    /// Takes away everything that a trial makes; what is gone already is no error.
    ///
    /// # Errors
    /// [`TrialError::Refused`] or [`TrialError::Silent`].
    pub async fn clear(&self) -> Result<(), TrialError> {
        for kind in KINDS {
            self.delete(&self.api(kind), NAME, &kind.to_string()).await?;
        }
        // The volume of a mailbox server stays when the server goes, because people's messages are on
        // it. On this one is our own.
        let claims = self.core("PersistentVolumeClaim", "persistentvolumeclaims");
        self.delete(&claims, &format!("state-{NAME}-mailbox-0"), "PersistentVolumeClaim").await
    }

    /// The first object that is not served.
    async fn next_to_wait_for(&self) -> Result<Option<(String, Waiting)>, TrialError> {
        for kind in KINDS {
            let what = format!("{kind} {NAME}");
            let Some(object) = self.request(&format!("look at {what}"), self.api(kind).get_opt(NAME)).await?
            else {
                continue;
            };
            let object: Json = serde_json::to_value(object).unwrap_or_default();
            if let Some(waiting) = waiting(&object) {
                return Ok(Some((what, waiting)));
            }
        }
        Ok(None)
    }

    async fn destination(&self) -> Result<Destination, TrialError> {
        let router = self.found.router();
        let name = format!("{router}-router");
        let services = self.core("Service", "services");
        let service = self.request(&format!("look at Service {name}"), services.get(&name)).await?;
        let spec = &service.data["spec"];
        let ports = spec["ports"].as_array().into_iter().flatten();
        let mut ports = ports.filter_map(|port| {
            let number = u16::try_from(port["port"].as_u64()?).ok()?;
            Some((port["name"].as_str()? == "sip-udp", port["name"] != "sip-tls", number))
        });
        let address = spec["clusterIP"].as_str().and_then(|address| address.parse::<IpAddr>().ok());
        let plain = ports.find(|(_, plain, _)| *plain);
        let (Some(address), Some((udp, _, port))) = (address, plain) else {
            return Err(TrialError::TlsAlone(router.to_owned()));
        };
        Ok(Destination { extension: EXTENSION, router: SocketAddr::new(address, port), udp })
    }

    async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>, TrialError> {
        let api = self.api(kind);
        let params = ListParams::default();
        Ok(self.request(&format!("list every {kind}"), api.list(&params)).await?.items)
    }

    async fn delete(&self, api: &Api<DynamicObject>, name: &str, kind: &str) -> Result<(), TrialError> {
        let params = DeleteParams::default();
        match self.request(&format!("remove {kind} {name}"), api.delete(name, &params)).await {
            Err(TrialError::Refused { error, .. }) if matches!(&*error, kube::Error::Api(answer) if answer.code == NOT_FOUND) => {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    async fn request<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, TrialError> {
        match tokio::time::timeout(REQUEST_LIMIT, request).await {
            Ok(answer) => {
                answer.map_err(|error| TrialError::Refused { what: what.to_owned(), error: Box::new(error) })
            }
            Err(_) => Err(TrialError::Silent(what.to_owned())),
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &watch::resource(Source::Kind(kind)))
    }

    fn core(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}
