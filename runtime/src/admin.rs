//! The admin port: whether the process lives, whether it serves, what it counts, and which
//! generation of its configuration it serves.
//!
//! Decides the four paths `/livez`, `/readyz`, `/metrics` and `/generation`, and that nothing can be
//! changed here. Refuses to know what a component does.

use std::fmt::Write;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::oneshot;

use crate::capped::Capped;
use crate::metrics::{self, SharedRegistry};

/// Connections at once; a scraper and the probes of one node need fewer than ten.
const MAX_CONNECTIONS: usize = 64;

/// A connection is closed after this, also one that is kept open between two scrapes: those are up to
/// 60 s apart.
const CONNECTION_TIME: Duration = Duration::from_secs(120);

/// A part of the process that lives, serves, and follows a configuration.
pub trait Component: Send + Sync {
    /// Its name, one word.
    fn name(&self) -> &str;

    /// Whether it works at all; a process of which a part does not should be started anew.
    fn live(&self) -> bool;

    /// Whether it takes calls.
    ///
    /// # Errors
    /// Why it does not, in words for a person.
    fn ready(&self) -> Result<(), String>;

    /// What a person should know although it takes calls.
    fn remark(&self) -> Option<String> {
        None
    }

    /// The generation of the configuration that it serves.
    fn generation(&self) -> u64;
}

/// The admin port could not be opened (`UM1205`).
#[derive(Debug, thiserror::Error)]
#[error("open admin port {address}: {error}")]
pub struct AdminError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    pub error: io::Error,
}

/// The open admin port; dropping it closes it.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handlers look at.
#[derive(Clone)]
struct Observed {
    registry: SharedRegistry,
    components: Arc<[Arc<dyn Component>]>,
}

/// Opens the admin port on a thread of its own, so that a busy worker does not make the process
/// look dead. Port 0 picks a free one.
///
/// # Errors
/// When the port cannot be opened.
pub fn serve(
    address: SocketAddr,
    registry: SharedRegistry,
    components: Vec<Arc<dyn Component>>,
) -> Result<Admin, AdminError> {
    let failed = |error| AdminError { address, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let pages = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/generation", get(generation))
        .with_state(Observed { registry, components: components.into() });
    let listener = {
        let _inside = executor.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        Capped::new(listener, MAX_CONNECTIONS, CONNECTION_TIME)
    };
    let thread = std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            executor.block_on(async {
                tokio::select! {
                    ended = axum::serve(listener, pages) => if let Err(error) = ended {
                        tracing::error!(%error, "the admin port has failed");
                    },
                    _ = stopped => (),
                }
            });
        })
        .map_err(failed)?;
    Ok(Admin { address: bound, stop: Some(stop), thread: Some(thread) })
}

impl Admin {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ended = thread.join();
        }
    }
}

async fn livez(State(observed): State<Observed>) -> impl IntoResponse {
    page(
        &observed,
        |component| if component.live() { Ok("ok".to_owned()) } else { Err("has failed".to_owned()) },
    )
}

async fn readyz(State(observed): State<Observed>) -> impl IntoResponse {
    page(&observed, |component| {
        component
            .ready()
            .map(|()| component.remark().map_or("ok".to_owned(), |remark| format!("ok, but {remark}")))
    })
}

async fn generation(State(observed): State<Observed>) -> impl IntoResponse {
    let mut text = String::new();
    for component in observed.components.iter() {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{} {}", component.name(), component.generation());
    }
    text
}

async fn metrics_page(State(observed): State<Observed>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match metrics::text(&observed.registry) {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, kind, String::new()),
    }
}

/// One line a component; 503 if one of them says no.
fn page(observed: &Observed, ask: impl Fn(&dyn Component) -> Result<String, String>) -> (StatusCode, String) {
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for component in observed.components.iter() {
        let answer = match ask(component.as_ref()) {
            Ok(answer) => answer,
            Err(why) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                why
            }
        };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{} {answer}", component.name());
    }
    (status, text)
}
