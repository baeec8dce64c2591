//! A bucket as an object store: its address, its keys, and the HTTP client that carries requests.
//!
//! The client is the one that is in the tree already for other uses, so that one TLS provider is
//! linked and no second HTTP stack. Decides time limits and repetition of one request; the message
//! behind it is tried again for ever by delivery. Refuses to know what is stored.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use config::S3;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client, connect};
use hyper_util::rt::TokioExecutor;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};
use rustls::{ClientConfig, RootCertStore};

/// Until a connection stands.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// For a request and its answer, beside the time for what they carry.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// A bucket that is reached more slowly than this is as good as away.
const SLOWEST_BYTES_PER_S: usize = 128 * 1024;
/// The longest answer, bytes: a recording has at most 100 minutes at 8 kB/s.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Connections that are kept for the next request: as many messages are worked on at once.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Repetitions of one request, for a lost connection or a 5xx answer.
const RETRIES: usize = 2;
const RETRY_TIME: Duration = Duration::from_secs(20);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// The store in a bucket. Nothing is sent yet.
///
/// # Errors
/// When its address or its authorities cannot be used.
pub(crate) fn open(s3: &S3) -> Result<AmazonS3, Error> {
    let backoff = BackoffConfig { init_backoff: RETRY_FIRST, max_backoff: RETRY_MOST, base: 2.0 };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_access_key_id(&s3.keys.access_key_id)
        .with_secret_access_key(&s3.keys.secret_access_key)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIME })
        .with_http_connector(Connector(trusted(s3).map_err(unusable)?));
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    builder.build()
}

/// What a server's certificate may be signed by: what the system trusts, and what the keys bring.
fn trusted(s3: &S3) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // Without any of them a server in the clear can still be used, and one with TLS says what it lacks.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = &s3.keys.authorities {
        let own = runtime::tls::authorities(pem).map_err(|error| format!("ca.crt: {error}"))?;
        roots.roots.extend(own.roots);
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn unusable(why: String) -> Error {
    Error::Generic { store: "S3", source: why.into() }
}

/// Makes the client of one bucket.
#[derive(Debug)]
struct Connector(ClientConfig);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient, Error> {
        let mut plain = connect::HttpConnector::new();
        plain.set_connect_timeout(Some(CONNECT_TIME));
        plain.set_nodelay(true);
        plain.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.0.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(https);
        Ok(HttpClient::new(Carrier(client)))
    }
}

/// Carries requests to a bucket.
struct Carrier(Client<HttpsConnector<connect::HttpConnector>, HttpRequestBody>);

impl fmt::Debug for Carrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Carrier")
    }
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Carrier {
    fn call<'me, 'a>(&'me self, request: HttpRequest) -> Called<'a>
    where
        'me: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let limit = REQUEST_TIME + transfer_time(request.body().content_length());
            let answer = tokio::time::timeout(limit, self.0.request(request)).await;
            let (parts, body) = answer.map_err(|_| too_slow())?.map_err(|error| failed(&error))?.into_parts();
            let length = parts.headers.get(hyper::header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
            let limit = REQUEST_TIME + transfer_time(length);
            let body = tokio::time::timeout(limit, Limited::new(body, MAX_ANSWER_BYTES).collect()).await;
            let body = body.map_err(|_| too_slow())?;
            let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?;
            Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(body.to_bytes())))
        })
    }
}

fn transfer_time(bytes: usize) -> Duration {
    Duration::from_secs((bytes.min(MAX_ANSWER_BYTES) / SLOWEST_BYTES_PER_S) as u64)
}

fn too_slow() -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
}

fn failed(error: &legacy::Error) -> HttpError {
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
    HttpError::new(kind, io::Error::other(innermost(error)))
}

/// The last cause says what happened; those before it say only that something did.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
