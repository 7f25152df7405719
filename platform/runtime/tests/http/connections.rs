//! Slow and greedy clients, the limits, and the shutdown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::http::{self, Limits};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::server::{Server, WAIT_MAX, send, until, until_closed};

#[tokio::test]
async fn a_client_that_sends_its_headers_slowly_is_disconnected() {
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
async fn clients_that_send_slowly_do_not_count_as_requests_in_flight() {
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
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let limits =
        Limits { connections_max: 1, write_stall_max: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits).await;
    let _deaf = server.raw(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let freed = tokio::time::timeout(WAIT_MAX, async {
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
async fn a_connection_over_the_limit_is_answered_503_and_the_others_are_served() {
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
        assert_eq!(waiting.await.expect("no panic").expect("a response").status(), 200);
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_answered_503_but_probes_are_served() {
    let server = Server::start(Limits { requests_in_flight_max: 1, ..Limits::default() }).await;
    let waiting = tokio::spawn(reqwest::get(server.url("/gate")));
    until("a request is in flight", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    let (status, body) = server.post(r#"{"customer":"c","lines":[]}"#).await;
    assert_eq!((status, &body["code"]), (503, &json!("overloaded")));
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("a response").status(), 200);
    server.gate.open.notify_one();
    assert_eq!(waiting.await.expect("no panic").expect("a response").status(), 200);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_timed_out() {
    let server = Server::start(Limits { request_max: Duration::from_millis(100), ..Limits::default() }).await;
    let (status, body) = send(reqwest::Client::new().get(server.url("/gate"))).await;
    assert_eq!((status, &body["code"]), (503, &json!("timed_out")));
}

#[tokio::test]
async fn a_command_is_finished_although_its_client_disconnected() {
    let server = Server::start(Limits::default()).await;
    let client = server.raw(b"POST /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    until("the command began", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    drop(client);
    // Once the server has served another client, it has seen the disconnect.
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("a response").status(), 200);
    server.gate.open.notify_one();
    until("the command ended", || server.gate.finished.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_and_while_it_is_read() {
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
async fn a_handler_may_close_the_connection_without_a_response() {
    let server = Server::start(Limits::default()).await;
    let (text, _) = until_closed(server.raw(b"GET /hang-up HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert_eq!(text, "");
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
    assert_eq!(waiting.await.expect("no panic").expect("a response").status(), 200);
    tokio::time::timeout(WAIT_MAX, server.served).await.expect("drained").expect("no panic");
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_the_drain_limit() {
    let server = Server::start(Limits { drain_max: Duration::from_millis(100), ..Limits::default() }).await;
    let waiting = tokio::spawn(reqwest::get(server.url("/gate")));
    until("a request is in flight", || server.gate.entered.load(Ordering::SeqCst) == 1).await;
    server.shutdown.cancel();
    tokio::time::timeout(WAIT_MAX, server.served).await.expect("drained").expect("no panic");
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
