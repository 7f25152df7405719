//! Hostile clients at the socket: malformed heads, and thousands of idle connections. Each gets a problem or is
//! disconnected, and the others are served.

use std::time::Duration;

use runtime::http::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, WAIT_MAX};

const ECHO: &[u8] =
    b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 2\r\n\r\n{}";

/// A new client is served.
async fn assert_serves(server: &Server) {
    let mut client = server.raw(ECHO).await;
    let mut response = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, client.read_to_end(&mut response)).await;
    let text = String::from_utf8_lossy(&response);
    assert!(read.is_ok() && text.starts_with("HTTP/1.1 200") && text.ends_with("{}"), "{text:?}");
}

/// Status, head and body of the only response on the connection, which the server then closes.
async fn refused(mut stream: TcpStream) -> (u16, String, Value) {
    let mut response = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut response)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    let text = String::from_utf8(response).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    (
        status,
        head.to_ascii_lowercase(),
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text:?}")),
    )
}

#[tokio::test]
async fn a_malformed_head_is_answered_with_a_problem() {
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
        let (actual, head, body) = refused(server.raw(sent).await).await;
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
        assert_serves(&server).await;
    }
}

#[tokio::test]
async fn a_smuggled_request_is_not_answered() {
    let server = Server::start(Limits::default()).await;
    let smuggled = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut response = String::new();
    let mut stream = server.raw(smuggled).await;
    let read = tokio::time::timeout(WAIT_MAX, stream.read_to_string(&mut response)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "one response to one request: {response}");
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_body_that_differs_from_its_head_is_refused() {
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
        let (actual, _, body) = refused(server.raw(format!("{head}{rest}").as_bytes()).await).await;
        assert_eq!((actual, body["code"].as_str()), (status, Some(code)), "{rest:?}: {body}");
        assert_serves(&server).await;
    }
}

/// More idle connections than slots, in every state of idleness.
#[tokio::test]
async fn thousands_of_idle_connections_keep_no_client_out() {
    const IDLE_WANTED: usize = 3_000;
    let slots = 1_000;
    let server = Server::start(Limits { connections_max: slots, ..Limits::default() }).await;
    // Client and server share the limit of open files, which the server has raised. Each connection takes two.
    let (files, _) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
    let idle = IDLE_WANTED.min(usize::try_from(files / 3).unwrap_or(IDLE_WANTED));
    let idle_states: [&[u8]; 4] = [
        b"",
        b"GET /livez HTTP/1.1\r\nx-slow",
        b"POST /echo HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let mut clients = Vec::new();
    for n in 0..idle {
        clients.push(server.raw(idle_states[n % idle_states.len()]).await);
        if n % 250 == 0 {
            assert_serves(&server).await;
        }
    }
    assert_serves(&server).await;
    drop(clients);
    assert_serves(&server).await;
}

#[tokio::test]
async fn idle_connections_are_kept_below_the_limit() {
    let server = Server::start(Limits { connections_max: 8, ..Limits::default() }).await;
    let mut first = server.raw(b"").await;
    for _ in 0..6 {
        server.raw(b"").await;
        assert_serves(&server).await;
    }
    first.write_all(ECHO).await.expect("the connection is open");
    let mut response = String::new();
    let read = tokio::time::timeout(WAIT_MAX, first.read_to_string(&mut response)).await;
    assert!(read.is_ok() && response.starts_with("HTTP/1.1 200"), "{response}");
}
