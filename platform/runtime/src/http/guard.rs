//! What surrounds each request: its limits, its context, its log line and its metrics.
//!
//! Never: a panic that reaches the client as a closed connection, or a command dropped because the client hung up.
//! Read next: `body.rs`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::context::{CORRELATION_ID, RequestContext};
use super::meter::Meter;
use super::seats::Seat;
use super::{Limits, body, extract, hang_up};
use crate::Problem;

/// Answered also when there is too much to do: an orchestrator that hears nothing restarts the process.
const OPS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Guards {
    pub(super) in_flight: Arc<Semaphore>,
    /// Requests that may change something and whose clients need not be there any more.
    pub(super) unfinished: TaskTracker,
    pub(super) limits: Limits,
    pub(super) meter: Meter,
}

pub(super) fn protect(router: Router, guards: Arc<Guards>) -> Router {
    router
        .fallback(extract::not_found)
        .method_not_allowed_fallback(extract::method_not_allowed)
        .layer(from_fn_with_state(guards, observe))
}

async fn observe(State(guards): State<Arc<Guards>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (correlation_id, mut response) = match RequestContext::of(request.headers()) {
        Ok(context) => {
            request.extensions_mut().insert(context);
            let span = tracing::info_span!(
                "request", %method, path = path.as_str(), correlation_id = %context.correlation_id,
                trace_id = format_args!("{:032x}", context.trace.trace_id),
            );
            let response = admit(&guards, request, next).instrument(span.clone()).await;
            span.in_scope(|| log(&path, response.status(), started));
            (context.correlation_id, response)
        }
        // Its own could not be read; the answer carries one all the same.
        Err(problem) => (Uuid::now_v7(), problem.into_response()),
    };
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    guards.meter.note(&method, route, response.status(), started.elapsed());
    let id = HeaderValue::try_from(correlation_id.to_string()).expect("a UUID is ASCII");
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

async fn admit(guards: &Guards, mut request: Request, next: Next) -> Response {
    // Taken out: a command that goes on without its client holds no seat.
    let seat = request.extensions_mut().remove::<Arc<Seat>>();
    let keeps_its_seat = || seat.as_ref().is_none_or(|seat| seat.occupy());
    if OPS.contains(&request.uri().path()) {
        return if keeps_its_seat() { next.run(request).await } else { hang_up() };
    }
    // First the body: a client that sends slowly takes up a connection, not a place among those who are served.
    let request = match body::buffered(request, &guards.limits).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    if !keeps_its_seat() {
        return hang_up();
    }
    let Ok(slot) = guards.in_flight.clone().try_acquire_owned() else {
        return Problem::unavailable("overloaded", "The server has too much to do", RETRY_AFTER)
            .detail("too many requests are being worked on; nothing was done")
            .into_response();
    };
    let may_change = !request.method().is_safe();
    let work = AssertUnwindSafe(async move {
        let response = next.run(request).await;
        drop(slot);
        response
    })
    .catch_unwind()
    .map(|outcome| outcome.unwrap_or_else(|_| panicked()));
    let outcome = if may_change {
        let task = guards.unfinished.spawn(work.in_current_span());
        tokio::time::timeout(
            guards.limits.request_max,
            task.map(|ended| ended.unwrap_or_else(|_| panicked())),
        )
        .await
    } else {
        tokio::time::timeout(guards.limits.request_max, work).await
    };
    outcome.unwrap_or_else(|_| timed_out(may_change))
}

fn panicked() -> Response {
    tracing::error!("a handler panicked");
    Problem::internal().into_response()
}

fn timed_out(may_change: bool) -> Response {
    let problem = Problem::unavailable("timed_out", "No answer in time", RETRY_AFTER);
    if may_change {
        problem.detail(
            "it may still be done; repeat it with the same Idempotency-Key to learn what became of it",
        )
    } else {
        problem
    }
    .into_response()
}

/// An order platform under load is quiet: what went well is for `debug`, and so is what a probe was told; the check
/// that fails logs for itself.
fn log(path: &str, status: StatusCode, started: Instant) {
    let (status, latency_ms) = (status.as_u16(), started.elapsed().as_millis());
    match status {
        _ if OPS.contains(&path) => tracing::debug!(status, latency_ms, "probe answered"),
        500 => tracing::error!(status, latency_ms, "request failed"),
        501.. => tracing::warn!(status, latency_ms, "request not answered"),
        400.. => tracing::info!(status, latency_ms, "request refused"),
        _ => tracing::debug!(status, latency_ms, "request answered"),
    }
}
