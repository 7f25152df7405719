//! Clients that are hostile at the socket: heads that are no HTTP, and connections by the thousand that ask nothing.
//! Each hears a problem or is cut off, and the others are served.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use runtime::http::{self, Json, Limits};
use runtime::{Health, ops_router};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(120);

struct Server {
    address: String,
    _stop: DropGuard,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener").to_string();
        let router = Router::new()
            .route("/echo", post(async |Json(body): Json<Value>| Json(body)))
            .merge(ops_router(Health::new()));
        let shutdown = CancellationToken::new();
        tokio::spawn(http::serve(listener, router, limits, shutdown.clone()));
        Self { address, _stop: shutdown.drop_guard() }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("the server accepts");
        stream.write_all(sent).await.expect("the server reads");
        stream
    }

    /// A client that comes anew asks, and is answered.
    async fn serves(&self) {
        let mut client = self.connect(ECHO).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(read.is_ok() && text.starts_with("HTTP/1.1 200") && text.ends_with("{}"), "{text:?}");
    }
}

const ECHO: &[u8] =
    b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 2\r\n\r\n{}";

/// Status and body of the only answer on the connection, which the server closes after it.
async fn refused(mut stream: TcpStream) -> (u16, String, Value) {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    let text = String::from_utf8(answer).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    (
        status,
        head.to_ascii_lowercase(),
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text:?}")),
    )
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_with_a_problem() {
    let server = Server::start(Limits::default()).await;
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "x-more: 1\r\n".repeat(100));
    let long = format!("GET /livez HTTP/1.1\r\nx-long: {}\r\n\r\n", "x".repeat(40 * 1024));
    let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40 * 1024));
    let cases: [(&[u8], u16, &str); 14] = [
        (b"\x00\x01\x02\x03\r\n\r\n", 400, "malformed_head"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed_head"),
        (b"GET\r\n\r\n", 400, "malformed_head"),
        (b"GET /livez HTTP/9.9\r\n\r\n", 400, "malformed_head"),
        (b"GET /li vez HTTP/1.1\r\n\r\n", 400, "malformed_head"),
        (b"G\x00T /livez HTTP/1.1\r\n\r\n", 400, "malformed_head"),
        (b"GET /livez HTTP/1.1\r\nbad name: 1\r\n\r\n", 400, "malformed_head"),
        (b"GET /livez HTTP/1.1\r\nx-nul: a\x00b\r\n\r\n", 400, "malformed_head"),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed_head"),
        (b"POST /echo HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, "malformed_head"),
        (b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400, "malformed_head"),
        (many.as_bytes(), 431, "head_too_large"),
        (long.as_bytes(), 431, "head_too_large"),
        (target.as_bytes(), 431, "head_too_large"),
    ];
    for (sent, status, code) in cases {
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
        let (actual, head, body) = refused(server.connect(sent).await).await;
        assert_eq!((actual, body["code"].as_str()), (status, Some(code)), "{shown:?}: {body}");
        assert!(head.contains("content-type: application/problem+json"), "{shown:?}: {head}");
        assert!(
            head.contains("x-correlation-id: ") && head.contains("connection: close"),
            "{shown:?}: {head}"
        );
        assert_eq!(body["status"], status, "{shown:?}: {body}");
        let error = &body["errors"][0];
        assert!(body["detail"].is_string() && error["field"] == "(head)", "{shown:?}: {body}");
        assert!(error["allowed"].is_string(), "{shown:?}: {body}");
        server.serves().await;
    }
}

#[tokio::test]
async fn a_request_that_hides_a_second_one_is_read_in_one_way() {
    let server = Server::start(Limits::default()).await;
    let smuggled = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = String::new();
    let mut stream = server.connect(smuggled).await;
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer to one request: {answer}");
    server.serves().await;
}

#[tokio::test]
async fn a_body_that_is_not_what_its_head_says_is_refused() {
    let server =
        Server::start(Limits { body_read_max: Duration::from_millis(200), ..Limits::default() }).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    for (rest, status, code) in [
        ("transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400, "body_broken_off"),
        ("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}", 400, "body_broken_off"),
        ("transfer-encoding: chunked\r\n\r\n2\r\n{", 408, "body_too_slow"),
        ("content-length: 18446744073709551614\r\n\r\n{}", 431, "head_too_large"),
        ("content-length: 9223372036854775807\r\n\r\n{}", 413, "body_too_large"),
        ("content-length: 9\r\n\r\n{}", 408, "body_too_slow"),
    ] {
        let (actual, _, body) = refused(server.connect(format!("{head}{rest}").as_bytes()).await).await;
        assert_eq!((actual, body["code"].as_str()), (status, Some(code)), "{rest:?}: {body}");
        server.serves().await;
    }
}

/// More than there are seats, and each in another state of not asking.
#[tokio::test]
async fn thousands_of_connections_that_ask_nothing_keep_nobody_out() {
    const IDLE_WANTED: usize = 3_000;
    let seats = 1_000;
    let server = Server::start(Limits { connections_max: seats, ..Limits::default() }).await;
    // The server has raised the limit of open files; client and server share it here, and each idle one takes two.
    let (files, _) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
    let idle = IDLE_WANTED.min(usize::try_from(files / 3).unwrap_or(IDLE_WANTED));
    let silent: [&[u8]; 4] = [
        b"",
        b"GET /livez HTTP/1.1\r\nx-slow",
        b"POST /echo HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let mut clients = Vec::new();
    for n in 0..idle {
        clients.push(server.connect(silent[n % silent.len()]).await);
        if n % 250 == 0 {
            server.serves().await;
        }
    }
    server.serves().await;
    drop(clients);
    server.serves().await;
}

#[tokio::test]
async fn connections_that_ask_nothing_are_kept_while_there_is_room() {
    let server = Server::start(Limits { connections_max: 8, ..Limits::default() }).await;
    let mut first = server.connect(b"").await;
    for _ in 0..6 {
        server.connect(b"").await;
        server.serves().await;
    }
    first.write_all(ECHO).await.expect("the connection is open");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, first.read_to_string(&mut answer)).await;
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200"), "{answer}");
}
