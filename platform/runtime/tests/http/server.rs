//! A server with routes that wait, panic and send much, and raw connections to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use runtime::http::{self, Json, Limits, Path, Query, RequestContext};
use runtime::{Health, ops_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Order {
    customer: String,
    lines: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

/// A handler that waits until the test lets it go on.
#[derive(Default)]
pub struct Gate {
    pub entered: AtomicUsize,
    pub finished: AtomicUsize,
    pub open: Notify,
}

impl Gate {
    async fn pass(&self) -> &'static str {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.open.notified().await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        "passed"
    }
}

pub struct Server {
    pub address: String,
    pub gate: Arc<Gate>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<()>,
    _stop: DropGuard,
}

impl Server {
    pub async fn start(limits: Limits) -> Self {
        let listener = http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener").to_string();
        let gate = Arc::new(Gate::default());
        let (reading, writing) = (gate.clone(), gate.clone());
        let router = Router::new()
            .route("/orders", post(async |Json(order): Json<Order>| Json(order)))
            .route(
                "/orders/{n}",
                get(async |Path(n): Path<u32>, Query(page): Query<Page>| {
                    Json(json!({"n": n, "limit": page.limit}))
                }),
            )
            .route("/echo", post(async |Json(body): Json<Value>| Json(body)))
            .route("/who", get(async |context: RequestContext| context.trace.to_string()))
            .route("/gate", get(async move || reading.pass().await).post(async move || writing.pass().await))
            .route("/panic", get(async || -> &'static str { panic!("a bug") }))
            .route("/large", get(async || vec![b'x'; 64 * 1024 * 1024]))
            .route("/hang-up", get(async || http::hang_up()))
            .merge(ops_router(Health::new()));
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(http::serve(listener, router, limits, shutdown.clone()));
        let stop = shutdown.clone().drop_guard();
        Self { address, gate, shutdown, served, _stop: stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn raw(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("the server accepts");
        stream.write_all(sent).await.expect("the server reads");
        stream
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request =
            reqwest::Client::new().post(self.url("/orders")).header("content-type", "application/json");
        send(request.body(body)).await
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("a response");
    (response.status().as_u16(), response.json().await.expect("a JSON response"))
}

/// Everything that the server sends until it closes the connection, and how long that took.
pub async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut text = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut text)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    (String::from_utf8_lossy(&text).into_owned(), started.elapsed())
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = tokio::time::timeout(WAIT_MAX, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    assert!(reached.await.is_ok(), "never: {what}");
}
