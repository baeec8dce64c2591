//! [`ApiServer`]: how the API server is reached.
//!
//! Decides that no request waits for ever, that the API server is left alone for as long as it asks
//! for, and that nothing is written by an operator which cannot be sure any more to be the only one,
//! not even what was under way when it was stopped for a while. Refuses to know what is asked.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

/// A connection is made within this time, or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// An answer goes on within this time, or not at all: it takes milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A watch ends after this long, and goes on from there by a new request: one that is silent because
/// its connection is dead is noticed then.
pub(super) const WATCH_TIME: Duration = Duration::from_secs(60);

/// The API server may ask to be left alone for this long; whoever asks for more is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Any failure of a request before there is an answer.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The API server of the cluster.
pub(super) struct ApiServer {
    config: Config,
    pace: Pace,
}

impl ApiServer {
    /// The one that the environment names.
    pub(super) async fn find() -> Result<ApiServer, BoxError> {
        let mut config = Config::infer().await?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.write_timeout = Some(ANSWER_LIMIT);
        config.reset_reader_on_write = true;
        // Repeating a request within a request would hold up everything that is behind it.
        config.default_retry = false;
        Ok(ApiServer { config, pace: Pace::default() })
    }

    /// A client for the Lease: it waits for nobody.
    pub(super) fn for_lease(&self) -> Result<Client, kube::Error> {
        let mut config = self.config.clone();
        config.read_timeout = Some(ANSWER_LIMIT);
        Client::try_from(config)
    }

    /// A client for reads and writes under `mandate`, with connections of its own: those of an
    /// earlier client may be dead and not know it.
    pub(super) fn for_writes(&self, mandate: &Mandate) -> Result<Client, kube::Error> {
        self.client(ANSWER_LIMIT, mandate)
    }

    /// A client for watches, with connections of its own.
    pub(super) fn for_watches(&self, mandate: &Mandate) -> Result<Client, kube::Error> {
        self.client(WATCH_TIME + ANSWER_LIMIT, mandate)
    }

    fn client(&self, silence_limit: Duration, mandate: &Mandate) -> Result<Client, kube::Error> {
        let mut config = self.config.clone();
        config.read_timeout = Some(silence_limit);
        let manners = Manners { pace: self.pace.clone(), mandate: mandate.clone() };
        Ok(ClientBuilder::try_from(config)?.with_layer(&manners).build())
    }
}

/// Until when this operator is sure to be the only one.
#[derive(Clone, Debug)]
pub(super) struct Mandate(Arc<Mutex<Instant>>);

/// A write by an operator that may not be the only one any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the Lease is not sure any more")]
struct Lapsed;

impl Mandate {
    /// One that ends at `end`, unless it is extended.
    pub(super) fn until(end: Instant) -> Mandate {
        Mandate(Arc::new(Mutex::new(end)))
    }

    /// When it ends.
    pub(super) fn end(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It ends later.
    pub(super) fn extend(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// What `request` answers, unless the mandate has ended: then it is dropped where it stands. A
    /// process that was stopped and goes on is asked here before it does anything.
    async fn hold<T>(
        &self,
        now: impl Fn() -> Instant,
        request: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let mut request = pin!(request);
        poll_fn(|context| {
            if now() >= self.end() {
                return Poll::Ready(Err(Lapsed.into()));
            }
            request.as_mut().poll(context)
        })
        .await
    }
}

/// How long the API server has asked to be left alone.
#[derive(Clone, Debug, Default)]
struct Pace(Arc<Mutex<Option<Instant>>>);

impl Pace {
    /// Takes up what an answer says about it (RFC 9110 10.2.3; the API server gives seconds).
    fn note(&self, status: StatusCode, headers: &HeaderMap, now: Instant) {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let asked =
            headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(pause) = asked.map(Duration::from_secs) else { return };
        let until = now + pause.min(LONGEST_PAUSE);
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = (*pause).max(Some(until));
    }

    /// Until when nothing is to be asked.
    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How each request is made.
#[derive(Clone, Debug)]
struct Manners {
    pace: Pace,
    mandate: Mandate,
}

impl<S> Layer<S> for Manners {
    type Service = Mannered<S>;

    fn layer(&self, inner: S) -> Mannered<S> {
        Mannered { inner, manners: self.clone() }
    }
}

/// Requests that are made so.
#[derive(Debug)]
struct Mannered<S> {
    inner: S,
    manners: Manners,
}

impl<S, B> Service<Request<Body>> for Mannered<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Manners { pace, mandate } = self.manners.clone();
        let reads = request.method() == Method::GET;
        // Nothing is sent before it is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if let Some(until) = pace.until() {
                tokio::time::sleep_until(until.into()).await;
            }
            let answer = if reads { answer.await? } else { mandate.hold(Instant::now, answer).await? };
            pace.note(answer.status(), answer.headers(), Instant::now());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn retry_after(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::RETRY_AFTER, value.parse().unwrap())])
    }

    #[test]
    fn the_api_server_is_left_alone_for_as_long_as_it_asks_for_within_reason() {
        let (start, pace) = (Instant::now(), Pace::default());
        let second = Duration::from_secs(1);
        pace.note(StatusCode::OK, &retry_after("5"), start);
        pace.note(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), start);
        pace.note(StatusCode::SERVICE_UNAVAILABLE, &retry_after("soon"), start);
        assert_eq!(pace.until(), None);
        pace.note(StatusCode::TOO_MANY_REQUESTS, &retry_after("2"), start);
        assert_eq!(pace.until(), Some(start + 2 * second));
        pace.note(StatusCode::SERVICE_UNAVAILABLE, &retry_after("1"), start);
        assert_eq!(pace.until(), Some(start + 2 * second), "whoever asked for longer is heard");
        pace.note(StatusCode::SERVICE_UNAVAILABLE, &retry_after("86400"), start);
        assert_eq!(pace.until(), Some(start + 30 * second));
    }

    #[test]
    fn a_write_that_was_under_way_when_the_mandate_ended_goes_no_further() {
        let start = Instant::now();
        let (clock, mandate) = (Cell::new(start), Mandate::until(start + Duration::from_secs(10)));
        let steps = Cell::new(0);
        let request = poll_fn(|_| {
            steps.set(steps.get() + 1);
            Poll::<Result<(), BoxError>>::Pending
        });
        let mut held = pin!(mandate.hold(|| clock.get(), request));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(held.as_mut().poll(&mut context).is_pending());
        mandate.extend(start + Duration::from_secs(20));
        clock.set(start + Duration::from_secs(19));
        assert!(held.as_mut().poll(&mut context).is_pending());
        assert_eq!(steps.get(), 2);
        // The process is stopped here, and goes on later than it may.
        clock.set(start + Duration::from_secs(20));
        let Poll::Ready(Err(error)) = held.as_mut().poll(&mut context) else { panic!("it goes on") };
        assert_eq!(error.to_string(), "the Lease is not sure any more");
        assert_eq!(steps.get(), 2);
    }
}
