//! Bodies, parameters, context and probes of single requests.

use runtime::http::{self, Limits};
use runtime::{Health, ops_router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, send};

#[tokio::test]
async fn an_invalid_field_is_named_with_its_allowed_values() {
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
    let (status, body) = send(form).await;
    assert_eq!((status, &body["errors"][0]["field"]), (415, &json!("Content-Type")));
}

#[tokio::test]
async fn invalid_parameters_and_unknown_routes_are_problems() {
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
        let (actual, body) = send(client.get(server.url(path))).await;
        assert_eq!((actual, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert_eq!(body["errors"][0]["field"], field, "{path}: {body}");
    }
    let refused = client.get(server.url("/orders")).send().await.expect("a response");
    assert_eq!(refused.headers()["allow"], "POST");
    assert_eq!(send(client.get(server.url("/orders/7?limit=3"))).await, (200, json!({"n": 7, "limit": 3})));
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_goes_on() {
    let server = Server::start(Limits::default()).await;
    let (status, body) = send(reqwest::Client::new().get(server.url("/panic"))).await;
    assert_eq!((status, &body["code"]), (500, &json!("internal")));
    assert!(!body.to_string().contains("a bug"), "{body}");
    assert_eq!(reqwest::get(server.url("/livez")).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn the_correlation_id_is_returned_and_the_trace_continues() {
    let server = Server::start(Limits::default()).await;
    let client = reqwest::Client::new();
    let id = "0190b6a4-1111-7000-8000-000000000001";
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let asked = client.get(server.url("/who")).header("X-Correlation-Id", id).header("traceparent", parent);
    let response = asked.send().await.expect("a response");
    assert_eq!(response.headers()["x-correlation-id"], id);
    let trace = response.text().await.expect("text");
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace != parent, "{trace}");

    let made = client.get(server.url("/who")).send().await.expect("a response");
    assert!(made.headers().contains_key("x-correlation-id"));
    let (status, body) = send(client.get(server.url("/who")).header("X-Correlation-Id", "7")).await;
    assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("X-Correlation-Id")));
    assert_eq!(body["detail"], "X-Correlation-Id: is not a UUID");
    let refused =
        client.get(server.url("/who")).header("X-Correlation-Id", "7").send().await.expect("a response");
    assert!(refused.headers().contains_key("x-correlation-id"), "a refused request has a correlation id too");
}

#[tokio::test]
async fn readiness_names_failing_checks_and_metrics_count_requests() {
    let health = Health::new();
    let check = health.check("store");
    let listener = http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
    runtime::metrics_text();
    tokio::spawn(http::serve(listener, ops_router(health), Limits::default(), CancellationToken::new()));
    let client = reqwest::Client::new();
    let ready = format!("{url}/readyz");
    check.failing("connection refused");
    let (status, body) = send(client.get(&ready)).await;
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")));
    assert_eq!(body["failing"], json!([{"check": "store", "reason": "connection refused"}]));
    let check_report = &body["checks"][0];
    assert_eq!(
        (&check_report["name"], &check_report["ok"], &check_report["detail"]),
        (&json!("store"), &json!(false), &json!("connection refused"))
    );
    assert!(check_report["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{check_report}");
    check.degraded("one stream is parked");
    let (status, body) = send(client.get(&ready)).await;
    assert_eq!(
        (status, &body["status"], &body["checks"][0]["level"]),
        (200, &json!("degraded"), &json!("degraded"))
    );
    check.ok();
    let (status, body) = send(client.get(&ready)).await;
    assert_eq!((status, &body["status"], &body["checks"][0]["ok"]), (200, &json!("ready"), &json!(true)));
    let metrics =
        reqwest::get(format!("{url}/metrics")).await.expect("a response").text().await.expect("text");
    let counted = r#"http_requests_total{method="GET",route="/readyz",status="503"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("http_request_duration_seconds_bucket"), "{metrics}");
}
