//! What an enemy asks: each parameter with everything that it is not, cursors made by hand, headers. Each is an answer
//! or a 400 that names the parameter and what is allowed; never a 5xx, and afterwards the query side still answers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use crate::given::{HAPPY, Logs, order_id};
use crate::service::{Service, service};

const STRANGE: [&[u8]; 22] = [
    b"",
    b"\0",
    b"a\0b",
    b"\x1b[2J",
    b"\x7f",
    b"\xff\xfe",
    b"\xc3\x28",
    b"'; DROP TABLE orders; --",
    b"1' OR '1'='1",
    b"$1",
    b"%s%n",
    b"../../etc/passwd",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-0",
    b"1e3",
    b"1.0",
    b"0x10",
    b"NaN",
    b"null",
];

fn encoded(value: &[u8]) -> String {
    percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// The answer is one that a client can use, whatever it asked.
async fn bears(service: &Service, path: &str, field: &str) {
    let (status, body) = service.status_and_body(path).await;
    match status {
        200 | 404 => {}
        400 => {
            let error = &body["errors"][0];
            assert_eq!(error["field"], json!(field), "{path}: {body}");
            assert!(error["allowed"].is_string() && body["detail"].is_string(), "{path}: {body}");
        }
        _ => panic!("{path}: {status} {body}"),
    }
}

#[tokio::test]
async fn a_parameter_that_is_anything_is_answered_or_named() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let order = format!("/v1/orders/{}", order_id(1));
    let (events, process) = (format!("{order}/events"), format!("{order}/process"));
    let payment = format!("/v1/payments/{}", order_id(1));
    let asked: [(&str, &[&str]); 9] = [
        ("/v1/orders", &["customer_id", "status", "limit", "cursor"]),
        (&order, &["after", "wait", "timeout_ms"]),
        (&events, &["after", "timeout_ms", "limit", "cursor"]),
        (&process, &["after", "timeout_ms"]),
        ("/v1/processes", &["state", "limit", "cursor"]),
        ("/v1/stock", &["below", "limit", "cursor"]),
        ("/v1/stock/TEAPOT", &["after", "timeout_ms"]),
        (&payment, &["after", "timeout_ms"]),
        ("/v1/sales/daily", &["from", "to"]),
    ];
    for value in STRANGE {
        for (path, parameters) in asked {
            for name in parameters {
                bears(&service, &format!("{path}?{name}={}", encoded(value)), name).await;
            }
        }
        let segment = encoded(value);
        for (path, field) in [("orders", "order_id"), ("payments", "payment_id"), ("stock", "sku")] {
            if !value.is_empty() {
                bears(&service, &format!("/v1/{path}/{segment}"), field).await;
            }
        }
    }
    service.get(&order).await;
}

#[tokio::test]
async fn a_cursor_made_by_hand_is_answered_or_refused() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let id = order_id(1).to_string();
    let events = format!("/v1/orders/{id}/events");
    let lists = [
        ("/v1/orders", "orders"),
        ("/v1/processes", "processes"),
        ("/v1/stock", "stock"),
        (&events, "events"),
    ];
    let moments = [i64::MIN, -62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999, i64::MAX];
    for (path, list) in lists {
        let mut forged: Vec<Value> =
            vec![json!([]), json!([list]), json!([list, {}]), json!({"list": list}), json!(null)];
        for at in moments {
            forged.push(json!([list, {"placed_at": at, "order_id": id}]));
            forged.push(json!([list, {"since": at, "order_id": id}]));
            forged.push(json!([list, {"recorded_at": at, "context": "orders", "position": at}]));
        }
        for sku in ["", "\0", "a\0", "'; DROP TABLE stock; --", "TEAPOT"] {
            forged.push(json!([list, {"sku": sku}]));
        }
        for cursor in forged {
            let cursor = URL_SAFE_NO_PAD.encode(cursor.to_string());
            bears(&service, &format!("{path}?cursor={cursor}"), "cursor").await;
        }
        bears(&service, &format!("{path}?cursor={}", "A".repeat(8_000)), "cursor").await;
        service.get(path).await;
    }
}

#[tokio::test]
async fn a_query_that_is_not_utf_8_is_named_not_mended() {
    let service = service().await;
    for path in ["/v1/orders?customer_id=%ff", "/v1/orders?limit=1&customer_id=a%c3%28"] {
        let (status, body) = service.status_and_body(path).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("customer_id")), "{path}: {body}");
        assert_eq!(body["errors"][0]["allowed"], "percent-encoded UTF-8", "{path}: {body}");
    }
    service.get("/v1/orders?customer_id=%C3%BC+b").await;
}

#[tokio::test]
async fn a_hostile_header_or_body_does_not_shake_the_query_side() {
    let service = service().await;
    let long = "x".repeat(20_000);
    let cases = [
        ("x-tradewind-after", "orders:1; DROP TABLE orders", 400),
        ("x-tradewind-after", "orders:9223372036854775808", 400),
        ("x-tradewind-after", &long, 400),
        ("x-correlation-id", "1", 400),
        ("if-none-match", "\"'; DROP TABLE orders; --", 404),
        ("if-none-match", &long, 404),
        ("traceparent", &long, 404),
        ("accept", "text/x-nothing", 404),
    ];
    let path = format!("/v1/orders/{}", order_id(404));
    for (name, value, status) in cases {
        let response = service.request(&path, &[(name, value)]).await;
        assert_eq!(response.status(), status, "{name}: {value}");
        let problem: Value = response.json().await.expect("JSON");
        assert!(problem["detail"].is_string(), "{name}: {problem}");
    }
    let http = reqwest::Client::new();
    let with_body = http.get(format!("{}{path}", service.base_url)).body("[".repeat(2_000_000));
    assert_eq!(with_body.send().await.expect("an answer").status(), 413);
    service.get("/v1/orders").await;
}
