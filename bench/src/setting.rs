//! Where and how long it is measured.
//!
//! Decides the processors, and that TLS is verified by the certificate that all servers show.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use config::Certificate;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The processor of the servers; `taskset` knows it by `servers::SERVER_CORE`.
const SERVER: usize = 0;

/// The processor of the generator.
const GENERATOR: usize = 1;

/// What all runs have in common.
pub(crate) struct Setting {
    /// How long each run is measured.
    pub(crate) time: Duration,
    /// How often each run is repeated.
    pub(crate) rounds: u32,
    /// How the servers are trusted.
    pub(crate) tls: Arc<ClientConfig>,
}

fn move_to(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

/// Gives this thread the generator's processor.
///
/// # Errors
/// When the machine has only one.
pub(crate) fn move_to_generator_core() -> io::Result<()> {
    move_to(GENERATOR)
}

/// Gives this thread the servers' processor.
///
/// # Errors
/// When this process may not use it.
pub(crate) fn move_to_server_core() -> io::Result<()> {
    move_to(SERVER)
}

/// Trusts this very certificate.
///
/// # Errors
/// When it is none.
pub(crate) fn trust(certificate: &Certificate) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for chain in CertificateDer::pem_slice_iter(certificate.chain.as_bytes()) {
        roots.add(chain.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
