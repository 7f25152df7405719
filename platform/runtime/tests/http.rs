//! The server loop against real sockets: slow, greedy and hostile clients, and the ones that must be served meanwhile.

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
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

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

#[derive(Default)]
struct Gate {
    entered: AtomicUsize,
    finished: AtomicUsize,
    open: Notify,
}

impl Gate {
    async fn pass(&self) -> &'static str {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.open.notified().await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        "passed"
    }
}

struct Server {
    address: String,
    gate: Arc<Gate>,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
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
            .route("/who", get(async |context: RequestContext| context.trace.to_string()))
            .route("/gate", get(async move || reading.pass().await).post(async move || writing.pass().await))
            .route("/panic", get(async || -> &'static str { panic!("a bug") }))
            .route("/large", get(async || vec![b'x'; 64 * 1024 * 1024]))
            .route("/hang-up", get(async || http::hang_up()))
            .merge(ops_router(Health::new()));
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(http::serve(listener, router, limits, shutdown.clone()));
        Self { address, gate, shutdown, served }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn raw(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("the server accepts");
        stream.write_all(sent).await.expect("the server reads");
        stream
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request =
            reqwest::Client::new().post(self.url("/orders")).header("content-type", "application/json");
        answer(request.body(body)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("a JSON answer"))
}

/// What the server says until it closes the connection, and how long that took.
async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    (String::from_utf8_lossy(&text).into_owned(), started.elapsed())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    assert!(reached.await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let server =
        Server::start(Limits { head_read_max: Duration::from_millis(200), ..Limits::default() }).await;
    let slow = server.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let (_, took) = until_closed(slow).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server =
        Server::start(Limits { head_read_max: Duration::from_millis(200), ..Limits::default() }).await;
    let idle = server.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (text, _) = until_closed(idle).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let server =
        Server::start(Limits { body_read_max: Duration::from_millis(200), ..Limits::default() }).await;
    let head =
        b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let (text, _) = until_closed(server.raw(head).await).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("\"code\":\"body_too_slow\""), "{text}");
}

#[tokio::test]
async fn clients_that_send_slowly_take_nobodys_place() {
    let server = Server::start(Limits { requests_in_flight_max: 2, ..Limits::default() }).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let head = b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        slow.push(server.raw(head).await);
    }
    let (status, _) = server.post(r#"{"customer":"c","lines":[]}"#).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let limits =
        Limits { connections_max: 1, write_stall_max: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits).await;
    let _deaf = server.raw(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let freed = tokio::time::timeout(PATIENCE, async {
        loop {
            let response = reqwest::get(server.url("/livez")).await;
            if response.is_ok_and(|response| response.status() == 200) {
                return;
            }
        }
    });
    assert!(freed.await.is_ok(), "the only slot stays taken");
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_the_others_are_served() {
    let server = Server::start(Limits { connections_max: 2, ..Limits::default() }).await;
    let served: Vec<_> = (0..2).map(|_| tokio::spawn(reqwest::get(server.url("/gate")))).collect();
    until("both are being served", || server.gate.entered.load(Ordering::SeqCst) == 2).await;

    let (text, _) = until_closed(server.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(text.contains("retry-after: 1"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(serde_json::from_str::<Value>(body).expect("JSON")["code"], "overloaded");

    for waiting in served {
        server.gate.open.notify_one();
        assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn a_request_too_many_is_told_so_but_health_is_answered() {
    let server = Server::start(Limits { requests_in_flight_max: 1, ..Limits::default() }).await;
    let waiting = tokio::spawn(reqwest::get(server.url("/gate")));
    until("a request is in flight", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    let (status, body) = server.post(r#"{"customer":"c","lines":[]}"#).await;
    assert_eq!((status, &body["code"]), (503, &json!("overloaded")));
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("an answer").status(), 200);
    server.gate.open.notify_one();
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_timed_out() {
    let server = Server::start(Limits { request_max: Duration::from_millis(100), ..Limits::default() }).await;
    let (status, body) = answer(reqwest::Client::new().get(server.url("/gate"))).await;
    assert_eq!((status, &body["code"]), (503, &json!("timed_out")));
}

#[tokio::test]
async fn a_command_is_finished_though_its_client_hung_up() {
    let server = Server::start(Limits::default()).await;
    let client = server.raw(b"POST /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    until("the command began", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    drop(client);
    // The server sees that the client left once it answers another one after it.
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("an answer").status(), 200);
    server.gate.open.notify_one();
    until("the command ended", || server.gate.finished.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_and_after_it_is_read() {
    let server = Server::start(Limits::default()).await;
    let (status, body) = server.post(vec![b' '; 1024 * 1024 + 1]).await;
    assert_eq!(
        (status, &body["code"], &body["allowed_bytes"]),
        (413, &json!("body_too_large"), &json!(1_048_576))
    );

    let mut chunked = server
        .raw(b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        chunked.write_all(&chunk).await.expect("the server reads on while it refuses");
    }
    let (text, _) = until_closed(chunked).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start(Limits::default()).await;
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-more: 1\r\n".repeat(100));
    let (text, _) = until_closed(server.raw(many.as_bytes()).await).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(40 * 1024));
    let (text, _) = until_closed(server.raw(long.as_bytes()).await).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_in_a_body_is_named_with_what_is_allowed() {
    let server = Server::start(Limits::default()).await;
    for (sent, code, field, allowed) in [
        (
            r#"{"customer":"c","lines":[{"sku":"a","quantity":-1}]}"#,
            "invalid_body",
            "lines[0].quantity",
            json!("a whole number from 0 to 4294967295"),
        ),
        (
            r#"{"customer":"c","lines":[{"sku":7,"quantity":1}]}"#,
            "invalid_body",
            "lines[0].sku",
            json!("a string"),
        ),
        (r#"{"customer":"c","lines":[{"sku":"a"}]}"#, "invalid_body", "lines[0].quantity", Value::Null),
        (
            r#"{"customer":"c","lines":[{"sku":"a","quantity":1,"price":2}]}"#,
            "invalid_body",
            "lines[0].price",
            json!("`sku` or `quantity`"),
        ),
        (r#"["c",[]]"#, "invalid_body", "(body)", json!("an object")),
        (r#"{"customer":"c","lines":[["a",1]]}"#, "invalid_body", "lines[0]", json!("an object")),
        (r#"{"lines":[]}"#, "invalid_body", "customer", Value::Null),
        (r#"{"customer":"c","customer":"d","lines":[]}"#, "malformed_json", "customer", Value::Null),
        (
            r#"{"customer":"c","lines":[{"sku":"a","quantity":1e400}]}"#,
            "malformed_json",
            "lines[0].quantity",
            Value::Null,
        ),
    ] {
        let (status, body) = server.post(sent).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{sent}: {body}");
        assert_eq!(body["errors"][0]["field"], json!(field), "{sent}: {body}");
        assert_eq!(body["errors"][0]["allowed"], allowed, "{sent}: {body}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let server = Server::start(Limits::default()).await;
    let deep = "[".repeat(500_000);
    for sent in [b"".as_slice(), b"{", b"{} x", b"\xff\xfe", deep.as_bytes(), b"\"\\ud800\"", b"NaN"] {
        let (status, body) = server.post(sent.to_vec()).await;
        assert_eq!((status, &body["code"]), (400, &json!("malformed_json")), "{body}");
    }
    let form =
        reqwest::Client::new().post(server.url("/orders")).header("content-type", "text/plain").body("{}");
    let (status, body) = answer(form).await;
    assert_eq!((status, &body["errors"][0]["field"]), (415, &json!("Content-Type")));
}

#[tokio::test]
async fn wrong_parameters_and_routes_are_problems() {
    let server = Server::start(Limits::default()).await;
    let client = reqwest::Client::new();
    for (path, status, code, field) in [
        ("/orders/x", 400, "invalid_path", json!("n")),
        ("/orders/%ff", 400, "invalid_path", json!("n")),
        ("/orders/1?limit=x", 400, "invalid_query", json!("limit")),
        ("/orders/1?limit=1&limit=2", 400, "invalid_query", json!("limit")),
        ("/orders/1?depth=1", 400, "invalid_query", json!("depth")),
        ("/nothing", 404, "no_such_route", Value::Null),
        ("/orders", 405, "method_not_allowed", Value::Null),
    ] {
        let (actual, body) = answer(client.get(server.url(path))).await;
        assert_eq!((actual, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert_eq!(body["errors"][0]["field"], field, "{path}: {body}");
    }
    let refused = client.get(server.url("/orders")).send().await.expect("an answer");
    assert_eq!(refused.headers()["allow"], "POST");
    assert_eq!(answer(client.get(server.url("/orders/7?limit=3"))).await, (200, json!({"n": 7, "limit": 3})));
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_lives() {
    let server = Server::start(Limits::default()).await;
    let (status, body) = answer(reqwest::Client::new().get(server.url("/panic"))).await;
    assert_eq!((status, &body["code"]), (500, &json!("internal")));
    assert!(!body.to_string().contains("a bug"), "{body}");
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_handler_may_hang_up_without_an_answer() {
    let server = Server::start(Limits::default()).await;
    let (text, _) = until_closed(server.raw(b"GET /hang-up HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert_eq!(text, "");
}

#[tokio::test]
async fn the_correlation_id_comes_back_and_the_trace_goes_on() {
    let server = Server::start(Limits::default()).await;
    let client = reqwest::Client::new();
    let id = "0190b6a4-1111-7000-8000-000000000001";
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let asked = client.get(server.url("/who")).header("X-Correlation-Id", id).header("traceparent", parent);
    let response = asked.send().await.expect("an answer");
    assert_eq!(response.headers()["x-correlation-id"], id);
    let trace = response.text().await.expect("text");
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace != parent, "{trace}");

    let made = client.get(server.url("/who")).send().await.expect("an answer");
    assert!(made.headers().contains_key("x-correlation-id"));
    let (status, body) = answer(client.get(server.url("/who")).header("X-Correlation-Id", "7")).await;
    assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("X-Correlation-Id")));
    assert_eq!(body["detail"], "X-Correlation-Id: not a UUID");
    let refused =
        client.get(server.url("/who")).header("X-Correlation-Id", "7").send().await.expect("an answer");
    assert!(
        refused.headers().contains_key("x-correlation-id"),
        "the answer can be found in the log all the same"
    );
}

#[tokio::test]
async fn readiness_names_what_fails_and_metrics_count_requests() {
    let health = Health::new();
    let check = health.check("store");
    let listener = http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
    runtime::metrics_text();
    tokio::spawn(http::serve(listener, ops_router(health), Limits::default(), CancellationToken::new()));
    let client = reqwest::Client::new();
    let ready = format!("{url}/readyz");
    check.failing("connection refused");
    let (status, body) = answer(client.get(&ready)).await;
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")));
    assert_eq!(body["failing"], json!([{"check": "store", "reason": "connection refused"}]));
    let told = &body["checks"][0];
    assert_eq!(
        (&told["name"], &told["ok"], &told["detail"]),
        (&json!("store"), &json!(false), &json!("connection refused"))
    );
    assert!(told["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{told}");
    check.degraded("one stream is parked");
    let (status, body) = answer(client.get(&ready)).await;
    assert_eq!(
        (status, &body["status"], &body["checks"][0]["level"]),
        (200, &json!("degraded"), &json!("degraded"))
    );
    check.ok();
    let (status, body) = answer(client.get(&ready)).await;
    assert_eq!((status, &body["status"], &body["checks"][0]["ok"]), (200, &json!("ready"), &json!(true)));
    let metrics =
        reqwest::get(format!("{url}/metrics")).await.expect("an answer").text().await.expect("text");
    let counted = r#"http_requests_total{method="GET",route="/readyz",status="503"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("http_request_duration_seconds_bucket"), "{metrics}");
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_closes_idle_connections() {
    let server = Server::start(Limits::default()).await;
    let idle = server.raw(b"").await;
    let waiting = tokio::spawn(reqwest::get(server.url("/gate")));
    until("a request is in flight", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    server.shutdown.cancel();
    until_closed(idle).await;
    assert!(TcpStream::connect(&server.address).await.is_err(), "no new connection is accepted");
    assert!(!server.served.is_finished());
    server.gate.open.notify_one();
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 200);
    tokio::time::timeout(PATIENCE, server.served).await.expect("drained").expect("no panic");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = Server::start(Limits { drain_max: Duration::from_millis(100), ..Limits::default() }).await;
    let waiting = tokio::spawn(reqwest::get(server.url("/gate")));
    until("a request is in flight", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    server.shutdown.cancel();
    tokio::time::timeout(PATIENCE, server.served).await.expect("drained").expect("no panic");
    assert!(waiting.await.expect("no panic").is_err(), "cut off");
}

#[tokio::test]
async fn a_taken_port_names_the_flag() {
    let first = http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
    let address = first.local_addr().expect("a bound listener");
    let error = http::bind(address, "--command-listen").await.expect_err("taken");
    assert_eq!(
        error.to_string(),
        format!(
            "{address} is taken by another process; stop that one, or give another address with --command-listen"
        )
    );
}
