//! The HTTP server loop: what `axum::serve` leaves out. Every client, slow, greedy or one of ten thousand, gets a response
//! or is disconnected, and the other clients are served.
//!
//! Never: a wait, a queue or a size without a limit; a command that is dropped half-way because its client disconnected.
//! Read next: `middleware.rs` (what surrounds each request), `connection_limit.rs` (how many connections are open),
//! `connection.rs` (the stream under each connection), `json.rs` (how a body is read).

mod connection;
mod connection_limit;
mod extract;
mod hyper_errors;
mod json;
mod json_parser;
mod metrics;
mod middleware;

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use extract::{CORRELATION_ID, Path, Query, RequestContext};
pub use json::{Json, JsonBytes};

use connection::ClientStream;
use connection_limit::{ConnectionLimiter, ConnectionSlot};
use metrics::RequestMetrics;
use middleware::RequestState;

/// The limits of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. A further one evicts the connection that has been idle longest, or is answered 503 when none is
    /// idle. Capped to a share of the process's limit of open files. A body is read before its request counts as in
    /// flight, so at worst this many bodies are in memory.
    pub connections_max: usize,
    /// Requests in flight; a further one is answered 503. `/livez`, `/readyz` and `/metrics` are always answered.
    pub requests_in_flight_max: usize,
    /// For the whole head of a request to arrive; also how long a connection may be idle between two requests.
    pub head_read_max: Duration,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// For the whole body of a request to arrive.
    pub body_read_max: Duration,
    pub body_bytes_max: usize,
    /// From the whole request to the head of the response. Longer than the longest wait that a route offers.
    pub request_max: Duration,
    /// How long a client may leave a response unread before it is disconnected.
    pub write_stall_max: Duration,
    /// On shutdown, for requests in flight to end.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            requests_in_flight_max: 512,
            head_read_max: Duration::from_secs(20),
            head_bytes_max: 32 * 1024,
            headers_max: 64,
            body_read_max: Duration::from_secs(15),
            body_bytes_max: 1024 * 1024,
            request_max: Duration::from_secs(60),
            write_stall_max: Duration::from_secs(20),
            drain_max: Duration::from_secs(20),
        }
    }
}

/// Before accepting again after an error: without a free file descriptor, accepting at once would only spin.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// A lower bound for hyper's read buffer. A connection needs no more, because bodies are passed on as they arrive.
const CONNECTION_BUFFER_BYTES_MIN: usize = 16 * 1024;
/// How many connections over the limit are answered 503 at a time; further ones are closed without a response.
const REFUSALS_AT_ONCE_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} is taken by another process; stop that one, or give another address with {flag}")]
    Taken { address: String, flag: &'static str },
    #[error("cannot listen on {address}; give another address with {flag}")]
    Other { address: String, flag: &'static str, source: io::Error },
}

/// Opens a listener. `flag` is the option that gives `address`; an error names it.
///
/// # Errors
/// When the port is in use, or the address is not one of this machine.
pub async fn bind(address: impl Display, flag: &'static str) -> Result<TcpListener, BindError> {
    let address = address.to_string();
    TcpListener::bind(&address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address, flag },
        _ => BindError::Other { address, flag, source },
    })
}

/// Closes the connection without a response, as a server does that is killed at this moment.
pub fn hang_up() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

#[derive(Clone)]
struct HangUp;

#[derive(Debug, thiserror::Error)]
#[error("the handler asked for the connection to be closed")]
struct HungUp;

/// Serves until `shutdown`, then waits for requests in flight, at most `limits.drain_max`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let server = Server::new(router, limits);
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match server.limiter.acquire() {
                Some(slot) => server.spawn_connection(stream, slot),
                None => refuse(stream, &refusals),
            },
            // The client disconnected before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
    drop(listener);
    server.drain().await;
}

struct Server {
    router: Router,
    state: Arc<RequestState>,
    limiter: Arc<ConnectionLimiter>,
    graceful: GracefulShutdown,
    /// Cancelled when draining takes too long.
    abort: CancellationToken,
    limits: Limits,
}

impl Server {
    fn new(router: Router, limits: Limits) -> Self {
        let state = Arc::new(RequestState {
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            commands: TaskTracker::new(),
            limits: limits.clone(),
            metrics: RequestMetrics::new(),
        });
        Self {
            router: middleware::wrap(router, state.clone()),
            state,
            limiter: ConnectionLimiter::new(connection_limit::connections_allowed(limits.connections_max)),
            graceful: GracefulShutdown::new(),
            abort: CancellationToken::new(),
            limits,
        }
    }

    /// One task per connection. The slot is free again when the task ends.
    fn spawn_connection(&self, stream: TcpStream, slot: Arc<ConnectionSlot>) {
        // Responses are small and written whole: waiting to fill a packet would only add latency.
        let _ = stream.set_nodelay(true);
        let (router, request_slot) = (self.router.clone(), slot.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let (router, slot) = (router.clone(), request_slot.clone());
            async move {
                request.extensions_mut().insert(slot.clone());
                let served: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
                let Ok(response) = served;
                if response.extensions().get::<HangUp>().is_some() {
                    return Err(HungUp);
                }
                Ok(response.map(|body| connection_limit::end_with(body, slot)))
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_read_max)
            .max_headers(self.limits.headers_max)
            .max_header_size(self.limits.head_bytes_max)
            .max_buf_size(self.limits.head_bytes_max.max(CONNECTION_BUFFER_BYTES_MIN));
        let stream = ClientStream::new(stream, self.limits.clone());
        let connection = self.graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let abort = self.abort.clone();
        tokio::spawn(async move {
            let open = ::metrics::gauge!("http_connections_open");
            open.increment(1);
            tokio::select! {
                () = abort.cancelled() => {}
                () = slot.evicted() => tracing::debug!("idle connection evicted"),
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                },
            }
            open.decrement(1);
        });
    }

    async fn drain(self) {
        self.state.commands.close();
        let ended = async {
            self.graceful.shutdown().await;
            self.state.commands.wait().await;
        };
        if tokio::time::timeout(self.limits.drain_max, ended).await.is_err() {
            tracing::warn!(
                drain_ms_max = self.limits.drain_max.as_millis(),
                "shutdown ended requests in flight"
            );
        }
        self.abort.cancel();
    }
}

fn refuse(stream: TcpStream, refusals: &Arc<Semaphore>) {
    ::metrics::counter!("http_connections_refused_total").increment(1);
    if let Ok(permit) = refusals.clone().try_acquire_owned() {
        tokio::spawn(async move {
            connection::refuse(stream).await;
            drop(permit);
        });
    }
}
