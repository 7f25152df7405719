//! Malformed requests: bodies that are not JSON, headers, routes. Each gets a 4xx, and nothing is written.

use events::Context;
use serde_json::json;

use crate::ask::Reply;
use crate::shop::{Shop, an_order};

#[tokio::test]
async fn a_body_that_is_not_strict_json_is_refused() {
    let shop = Shop::open().await;
    let deep = format!("{}{}", "{\"a\":".repeat(10_000), "[".repeat(10_000));
    let valid = an_order().to_string();
    for body in [
        b"".to_vec(),
        b"{".to_vec(),
        b"{\"customer_id\": 'x'}".to_vec(),
        b"NaN".to_vec(),
        b"{\"customer_id\": \"\xff\xfe\"}".to_vec(),
        b"{\"customer_id\": \"\\ud800\"}".to_vec(),
        format!("{valid} {valid}").into_bytes(),
        format!("\u{feff}{valid}").into_bytes(),
        deep.into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let reply = shop.post("/v1/orders").raw(body).send().await;
        assert_eq!(
            (reply.status, reply.body["code"].as_str()),
            (400, Some("malformed_json")),
            "{shown}: {reply:?}"
        );
    }
    let huge = valid.replacen("\"quantity\":6", "\"quantity\":1e400", 1);
    let twice = valid.replacen("\"quantity\":6", "\"quantity\":6,\"quantity\":7", 1);
    for (body, detail) in [(huge, "out of range"), (twice, "twice")] {
        let reply = shop.post("/v1/orders").raw(body).send().await.problem(400, "malformed_json");
        assert_eq!(reply.body["errors"][0]["field"], "lines[0].quantity", "{reply:?}");
        assert!(reply.text("detail").contains(detail), "{reply:?}");
    }
    assert_eq!(shop.log_length(Context::Orders).await, 0);
}

#[tokio::test]
async fn a_body_without_the_content_type_json_is_refused() {
    let shop = Shop::open().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"] {
        shop.post("/v1/orders").typed(content_type, "{}").send().await.problem(415, "not_json");
    }
    let reply = shop.post("/v1/orders").typed("application/json; charset=utf-8", "{}").send().await;
    reply.problem(400, "invalid_body");
}

#[tokio::test]
async fn a_body_of_more_than_one_mebibyte_is_refused_whether_announced_or_not() {
    let shop = Shop::open().await;
    let body = json!({"customer_id": "x".repeat(1024 * 1024)}).to_string();
    shop.post("/v1/orders").raw(body.clone()).send().await.problem(413, "body_too_large");
    let unannounced = reqwest::Body::wrap_stream(futures::stream::iter(
        body.into_bytes()
            .chunks(64 * 1024)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    ));
    shop.post("/v1/orders").raw(unannounced).send().await.problem(413, "body_too_large");
}

#[tokio::test]
async fn an_invalid_header_is_named() {
    let shop = Shop::open().await;
    let long = "k".repeat(256);
    let bad_keys: [&[u8]; 5] = [b"", b"two words", b"\"open", "ключ".as_bytes(), long.as_bytes()];
    let refused = |reply: Reply, name: &str, allowed: &str| {
        let reply = reply.problem(400, "invalid_header");
        reply.names(name, "", allowed);
    };
    for key in bad_keys {
        let reply = shop.post("/v1/orders").header("Idempotency-Key", key).json(&an_order()).send().await;
        refused(reply, "Idempotency-Key", "1 to 255 visible ASCII characters");
    }
    for etag in ["1", "W/\"1\"", "\"x\"", "\"1\", \"2\""] {
        let reply = shop.post("/v1/orders").if_match(etag).json(&an_order()).send().await;
        refused(reply, "If-Match", "*");
    }
    let reply = shop.post("/v1/orders").header("X-Correlation-Id", "42").json(&an_order()).send().await;
    refused(reply, "X-Correlation-Id", "a UUID");
    assert_eq!(shop.log_length(Context::Orders).await, 0);
}

#[tokio::test]
async fn an_unknown_route_or_method_is_a_problem_too() {
    let shop = Shop::open().await;
    shop.post("/v1/baskets").json(&json!({})).send().await.problem(404, "no_such_route");
    let reply = shop.get("/v1/orders").await.problem(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("POST"));
}
