//! What surrounds each request: its context, log line and metrics, then its limits, then a net for panics.
//!
//! Never: drop a command because its client disconnected.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::connection_limit::ConnectionSlot;
use super::extract::{CORRELATION_ID, RequestContext, method_not_allowed, not_found};
use super::metrics::RequestMetrics;
use super::{Limits, hang_up};
use crate::Problem;

/// Answered even under overload: an orchestrator that gets no answer restarts the process.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct RequestState {
    pub(super) in_flight: Arc<Semaphore>,
    /// Commands under way. Their clients may have disconnected.
    pub(super) commands: TaskTracker,
    pub(super) limits: Limits,
    pub(super) metrics: RequestMetrics,
}

/// Marks the response of a probe.
#[derive(Clone)]
struct Probe;

pub(super) fn wrap(router: Router, state: Arc<RequestState>) -> Router {
    let trace = TraceLayer::new_for_http()
        .make_span_with(request_span)
        .on_request(())
        .on_response(log_response)
        .on_body_chunk(())
        .on_eos(())
        .on_failure(());
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(state.clone(), identify))
            .layer(trace)
            .layer(from_fn_with_state(state, limit))
            .layer(CatchPanicLayer::custom(panicked)),
    )
}

/// Gives the request its context, and counts its response.
async fn identify(State(state): State<Arc<RequestState>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (correlation_id, mut response) = match RequestContext::from_headers(request.headers()) {
        Ok(context) => {
            request.extensions_mut().insert(context);
            (context.correlation_id, next.run(request).await)
        }
        Err(problem) => (Uuid::now_v7(), problem.into_response()),
    };
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.metrics.record(&method, route, response.status(), started.elapsed());
    let id = HeaderValue::try_from(correlation_id.to_string()).expect("a UUID is ASCII");
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

fn request_span(request: &Request) -> Span {
    let context: &RequestContext = request.extensions().get().expect("`identify` has inserted it");
    tracing::info_span!(
        "request", method = %request.method(), path = request.uri().path(),
        correlation_id = %context.correlation_id, trace_id = format_args!("{:032x}", context.trace.trace_id),
    )
}

/// Successes are logged at `debug`, so that the log stays short under load. So are probes: a failing check logs itself.
fn log_response(response: &Response, latency: Duration, _span: &Span) {
    let (status, latency_ms) = (response.status().as_u16(), latency.as_millis());
    match status {
        _ if response.extensions().get::<Probe>().is_some() => {
            tracing::debug!(status, latency_ms, "probe answered");
        }
        500 => tracing::error!(status, latency_ms, "request failed"),
        501.. => tracing::warn!(status, latency_ms, "request not served"),
        400.. => tracing::info!(status, latency_ms, "request refused"),
        _ => tracing::debug!(status, latency_ms, "request served"),
    }
}

/// Reads the body, then runs the handler within the limits of requests in flight and of time.
async fn limit(State(state): State<Arc<RequestState>>, mut request: Request, next: Next) -> Response {
    // Removed from the request: a command that continues without its client must not hold the connection's slot.
    let slot = request.extensions_mut().remove::<Arc<ConnectionSlot>>();
    let begin = || slot.as_ref().is_none_or(|slot| slot.begin());
    if PROBES.contains(&request.uri().path()) {
        let mut response = if begin() { next.run(request).await } else { hang_up() };
        response.extensions_mut().insert(Probe);
        return response;
    }
    // The body comes first: a client that sends slowly takes a connection, but no place among the requests in flight.
    let request = match read_body(request, &state.limits).await {
        Ok(request) => request,
        Err(error) => return Problem::from(error).into_response(),
    };
    if !begin() {
        return hang_up();
    }
    let Ok(permit) = state.in_flight.clone().try_acquire_owned() else {
        return Problem::overloaded(RETRY_AFTER)
            .detail("too many requests in flight; the request was not processed")
            .into_response();
    };
    let is_command = !request.method().is_safe();
    let work = async move {
        let response = next.run(request).await;
        drop(permit);
        response
    };
    // tower-http's TimeoutLayer drops the handler and sends an empty body. Here a command goes on, and the body says so.
    let outcome = if is_command {
        let task = state.commands.spawn(work.in_current_span());
        let ended = task.map(|ended| ended.unwrap_or_else(|error| panicked(Box::new(error))));
        tokio::time::timeout(state.limits.request_max, ended).await
    } else {
        tokio::time::timeout(state.limits.request_max, work).await
    };
    outcome.unwrap_or_else(|_| timed_out(is_command))
}

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged the message and the place.
    tracing::error!("a handler panicked");
    Problem::internal().into_response()
}

fn timed_out(is_command: bool) -> Response {
    let problem = Problem::unavailable("timed_out", "Request timed out", RETRY_AFTER);
    if is_command {
        problem.detail(
            "the command may still complete; repeat it with the same Idempotency-Key to get its outcome",
        )
    } else {
        problem
    }
    .into_response()
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} ms", read_max.as_millis())]
    TooSlow { read_max: Duration },
    #[error("the body ended early, or its chunks are invalid")]
    Incomplete,
}

/// Reads the whole body into memory.
// tower-http's RequestBodyLimitLayer answers in plain text, and its RequestBodyTimeoutLayer limits only the pause between
// two chunks; a slow client could send for ever.
async fn read_body(request: Request, limits: &Limits) -> Result<Request, BodyError> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let bytes_max = limits.body_bytes_max;
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced: u64| announced > bytes_max as u64) {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let (parts, body) = request.into_parts();
    let whole = tokio::time::timeout(limits.body_read_max, Limited::new(body, bytes_max).collect());
    match whole.await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, Body::from(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { bytes_max }),
        Ok(Err(_)) => Err(BodyError::Incomplete),
        Err(_) => Err(BodyError::TooSlow { read_max: limits.body_read_max }),
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match &error {
            BodyError::TooLarge { bytes_max } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Request body too large")
                    .with("allowed_bytes", bytes_max)
            }
            BodyError::TooSlow { .. } => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "Request body timed out")
            }
            BodyError::Incomplete => {
                Self::new(StatusCode::BAD_REQUEST, "body_broken_off", "Incomplete request body")
            }
        }
        .detail(error.to_string())
    }
}
