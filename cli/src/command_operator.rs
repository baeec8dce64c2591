//! `umbriel operator`: the operator of a Kubernetes cluster, as a process.
//!
//! Decides nothing: it hands what was typed to the operator and ends with it.

use std::sync::Arc;

use miette::{IntoDiagnostic, Result, WrapErr};
use operator::cluster::{self, Settings};
use runtime::admin;
use runtime::drain::on_signals;
use runtime::metrics;

use crate::args::OperatorArguments;
use crate::command_serve::begin_logs;
use crate::up::servers::admin_not_opened;

/// The client says of each request that failed that it did, for as long as the API server is away. The
/// operator says itself what it cannot do, once.
const LOG_FILTER: &str = "info,kube_client::client=off,kube_client::client::tls=warn";

/// Works until it is asked to end, or can no longer be sure to be the only one.
pub(crate) fn run(arguments: &OperatorArguments) -> Result<bool> {
    begin_logs(arguments.log_format, LOG_FILTER);
    let drain = on_signals().into_diagnostic().wrap_err("cannot listen for signals")?;
    let settings = Settings {
        image: operator::Image {
            name: arguments.image.clone(),
            pull_secrets: arguments.image_pull_secret.clone(),
        },
        admin_peers: arguments.network_policies.then(|| operator::AdminPeers {
            operator_namespace: arguments.lease_namespace.clone(),
            metrics_namespaces: arguments.metrics_from.clone(),
        }),
        namespace: arguments.namespace.clone(),
        lease_namespace: arguments.lease_namespace.clone(),
        identity: arguments.identity.clone(),
        resync_interval: arguments.resync_interval,
        name_servers: arguments.names.servers.clone(),
    };
    let health = Arc::new(cluster::Health::default());
    let registry = metrics::registry();
    health.publish(&mut metrics::lock(&registry));
    let _admin = admin::serve(arguments.admin, registry, vec![Arc::clone(&health) as _])
        .map_err(|error| admin_not_opened(&error))?;
    cluster::run(&settings, &health, &drain).into_diagnostic().wrap_err("the operator ends")?;
    Ok(true)
}
