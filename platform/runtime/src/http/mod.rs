//! The HTTP server loop: what `axum::serve` leaves out. A client may be slow, greedy, or one of ten thousand; each
//! gets an answer or is cut off, and the others are served.
//!
//! Never: a wait, a queue or a size without a limit; a request that changes something dropped half-way because its
//! client hung up. Read next: `guard.rs` (what surrounds each request), `seats.rs` (who may be connected),
//! `connection.rs` (what guards each socket), `json.rs` (how a body is read).

mod body;
mod connection;
mod context;
mod extract;
mod guard;
mod json;
mod json_shape;
mod meter;
mod open_files;
mod seats;
mod strict;
mod unreadable;

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

pub use context::{CORRELATION_ID, RequestContext};
pub use extract::{Path, Query};
pub use json::{Json, JsonBytes};

use connection::GuardedStream;
use guard::Guards;
use meter::Meter;
use seats::{Seat, Seats};

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. One more takes the seat of the client that has kept us waiting longest, or is told 503 when
    /// all of them are being served. Never more than the process may have files open. A body is taken in before its
    /// request counts as in flight, so at worst as many bodies are in memory.
    pub connections_max: usize,
    /// Requests being worked on; one more is told 503. `/livez`, `/readyz` and `/metrics` are always answered.
    pub requests_in_flight_max: usize,
    /// For the whole head of a request to arrive; also how long a connection may idle between two requests.
    pub head_read_max: Duration,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// For the whole body of a request to arrive.
    pub body_read_max: Duration,
    pub body_bytes_max: usize,
    /// From the whole request to the first byte of the answer. Longer than the longest wait a route offers.
    pub request_max: Duration,
    /// How long a client may leave an answer unread before it is cut off.
    pub write_stall_max: Duration,
    /// On shutdown, for requests under way to end.
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

/// When the process has no file descriptor left, accepting again at once would only spin.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// hyper's smallest read buffer; a connection needs no more, since bodies are passed on as they come.
const CONNECTION_BUFFER_BYTES_MIN: usize = 16 * 1024;
/// How many connections over the limit are told so at a time; further ones are closed without a word.
const REFUSALS_AT_ONCE_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} is taken by another process; stop that one, or give another address with {flag}")]
    Taken { address: String, flag: &'static str },
    #[error("cannot listen on {address}; give another address with {flag}")]
    Other { address: String, flag: &'static str, source: io::Error },
}

/// Opens a listener. `flag` is the option that `address` came from, which the error names.
///
/// # Errors
/// When the port is taken, or the address is not this machine's.
pub async fn bind(address: impl Display, flag: &'static str) -> Result<TcpListener, BindError> {
    let address = address.to_string();
    TcpListener::bind(&address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address, flag },
        _ => BindError::Other { address, flag, source },
    })
}

/// Ends the connection without an answer, as a server does that is killed at this moment.
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

/// Serves until `shutdown`, then lets what is under way end, at most `limits.drain_max` long.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let server = Server::new(router, limits);
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match server.seats.take() {
                Some(seat) => server.converse(stream, seat),
                None => refuse(stream, &refusals),
            },
            // The client gave up before it was accepted.
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
    guards: Arc<Guards>,
    seats: Arc<Seats>,
    graceful: GracefulShutdown,
    /// Cancelled when draining took too long.
    abandon: CancellationToken,
    limits: Limits,
}

impl Server {
    fn new(router: Router, limits: Limits) -> Self {
        let guards = Arc::new(Guards {
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            unfinished: TaskTracker::new(),
            limits: limits.clone(),
            meter: Meter::new(),
        });
        Self {
            router: guard::protect(router, guards.clone()),
            guards,
            seats: Seats::new(open_files::connections_allowed(limits.connections_max)),
            graceful: GracefulShutdown::new(),
            abandon: CancellationToken::new(),
            limits,
        }
    }

    /// One task per connection; the seat is free again when it ends.
    fn converse(&self, stream: TcpStream, seat: Arc<Seat>) {
        // Answers are small and whole: waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let (router, served) = (self.router.clone(), seat.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let (router, seat) = (router.clone(), served.clone());
            async move {
                request.extensions_mut().insert(seat.clone());
                let answer: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
                let Ok(response) = answer;
                if response.extensions().get::<HangUp>().is_some() {
                    return Err(HungUp);
                }
                Ok(response.map(|body| seats::seated(body, seat)))
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_read_max)
            .max_headers(self.limits.headers_max)
            .max_header_size(self.limits.head_bytes_max)
            .max_buf_size(self.limits.head_bytes_max.max(CONNECTION_BUFFER_BYTES_MIN));
        let stream = GuardedStream::new(stream, self.limits.clone());
        let connection = self.graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let abandon = self.abandon.clone();
        tokio::spawn(async move {
            let open = metrics::gauge!("http_connections_open");
            open.increment(1);
            tokio::select! {
                () = abandon.cancelled() => {}
                () = seat.lost() => tracing::debug!("an idle connection made room for another"),
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                },
            }
            open.decrement(1);
        });
    }

    async fn drain(self) {
        self.guards.unfinished.close();
        let ended = async {
            self.graceful.shutdown().await;
            self.guards.unfinished.wait().await;
        };
        if tokio::time::timeout(self.limits.drain_max, ended).await.is_err() {
            tracing::warn!(drain_ms_max = self.limits.drain_max.as_millis(), "requests cut off by shutdown");
        }
        self.abandon.cancel();
    }
}

fn refuse(stream: TcpStream, refusals: &Arc<Semaphore>) {
    metrics::counter!("http_connections_refused_total").increment(1);
    if let Ok(permit) = refusals.clone().try_acquire_owned() {
        tokio::spawn(async move {
            connection::refuse(stream).await;
            drop(permit);
        });
    }
}
