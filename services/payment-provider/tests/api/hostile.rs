//! Hostile requests: each is a 4xx that names the field and its allowed values, moves no money, and leaves the provider
//! working.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::provider::{Provider, send};

/// Sends the body without a change.
async fn authorise(provider: &Provider, key: impl AsRef<[u8]>, body: String) -> (u16, Value) {
    let request = provider.request(Method::POST, "/v1/payments").header("Content-Type", "application/json");
    send(request.header("Idempotency-Key", key.as_ref()).body(body)).await
}

/// No money was moved, and a payment can still be authorised.
async fn assert_unharmed(provider: &Provider) {
    assert_eq!(provider.books().await["counts"], json!({}));
    let (status, body) = provider.authorise(Uuid::now_v7(), "kim", 1).await;
    assert_eq!(status, 200, "{body}");
}

/// As text, so that no JSON library changes it.
fn payment(id: &str, customer: &str, amount: &str, currency: &str) -> String {
    format!(
        r#"{{"payment_id":"{id}","customer_id":{customer},"amount_minor":{amount},"currency":{currency}}}"#
    )
}

#[track_caller]
fn assert_names((status, body): (u16, Value), field: &str, sent: &str) {
    let error = &body["errors"][0];
    assert_eq!((status, &error["field"]), (400, &json!(field)), "{sent}: {body}");
    assert!(body["detail"].is_string() && body["code"].is_string(), "{sent}: {body}");
}

#[tokio::test]
async fn every_invalid_value_of_a_field_is_refused_and_the_field_is_named() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7().to_string();
    let amounts = [
        "0",
        "-1",
        "-9223372036854775808",
        "-9223372036854775809",
        "9223372036854775808",
        "18446744073709551616",
        "-0",
        "1.0",
        "1e3",
        "1e400",
        "\"1\"",
        "null",
        "true",
        "[]",
    ];
    for amount in amounts {
        assert_names(
            authorise(&provider, &id, payment(&id, "\"kim\"", amount, "\"GBP\"")).await,
            "amount_minor",
            amount,
        );
    }
    for customer in
        [r#""""#, r#""\u0000""#, r#""a\u0000b""#, r#""\u001b[2J""#, r#""\u0085""#, "7", "null", "{}"]
    {
        assert_names(
            authorise(&provider, &id, payment(&id, customer, "1", "\"GBP\"")).await,
            "customer_id",
            customer,
        );
    }
    for currency in [r#""""#, r#""gbp""#, r#""G\u0000P""#, r#""GBPX""#, r#""££""#, "7", "null"] {
        assert_names(
            authorise(&provider, &id, payment(&id, "\"kim\"", "1", currency)).await,
            "currency",
            currency,
        );
    }
    for payment_id in ["", "7", "\\u0000", "'; DROP TABLE payments; --"] {
        assert_names(
            authorise(&provider, &id, payment(payment_id, "\"kim\"", "1", "\"GBP\"")).await,
            "payment_id",
            payment_id,
        );
    }
    for key in [b"7".as_slice(), b"\xff\xfe", b"'; DROP TABLE payments; --", &[b'x'; 20_000]] {
        let sent = authorise(&provider, key, payment(&id, "\"kim\"", "1", "\"GBP\"")).await;
        assert_names(sent, "Idempotency-Key", "a key");
    }
    assert_unharmed(&provider).await;
}

#[tokio::test]
async fn a_customer_id_that_contains_sql_is_only_text() {
    let provider = Provider::start().await;
    for customer in ["'; DROP TABLE payments; --", "Robert') OR ('1'='1", "$1", "💣 \u{202e}"] {
        let id = Uuid::now_v7().to_string();
        let (status, body) =
            authorise(&provider, &id, payment(&id, &json!(customer).to_string(), "1", "\"GBP\"")).await;
        assert_eq!((status, &body["customer_id"]), (200, &json!(customer)), "{body}");
        let rules = json!({"rules": [{"customer_id": customer, "outcome": "decline"}]});
        let (status, body) = send(provider.request(Method::PUT, "/v1/behaviour").json(&rules)).await;
        assert_eq!((status, &body["rules"][0]["customer_id"]), (200, &json!(customer)), "{body}");
    }
}

#[tokio::test]
async fn oversized_bodies_and_invalid_paths_are_refused() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7().to_string();
    let twice =
        format!("{},\"currency\":\"EUR\"}}", payment(&id, "\"kim\"", "1", "\"GBP\"").trim_end_matches('}'));
    for (body, status, code) in [
        ("[".repeat(500_000), 400, "malformed_json"),
        ("{\"default\":".repeat(50_000), 400, "malformed_json"),
        (twice, 400, "malformed_json"),
        (String::new(), 400, "malformed_json"),
        (" ".repeat(1_048_577), 413, "body_too_large"),
    ] {
        let (actual, problem) = authorise(&provider, &id, body.clone()).await;
        assert_eq!((actual, &problem["code"]), (status, &json!(code)), "{problem}");
        let replace =
            provider.request(Method::PUT, "/v1/behaviour").header("Content-Type", "application/json");
        let (actual, _) = send(replace.body(body)).await;
        assert!((400..500).contains(&actual), "{actual}");
    }
    for path in [
        "/v1/payments/%00",
        "/v1/payments/%ff",
        "/v1/payments/7",
        "/v1/payments/'%3B%20DROP%20TABLE%20payments",
    ] {
        assert_names(send(provider.request(Method::GET, path)).await, "payment_id", path);
        assert_names(send(provider.request(Method::POST, &format!("{path}/void"))).await, "payment_id", path);
    }
    for query in ["limit=0", "limit=-1", "limit=1e3", "limit=99999999999", "limit=%00", "limit=%ff"] {
        assert_names(
            send(provider.request(Method::GET, &format!("/v1/ledger/payments?{query}"))).await,
            "limit",
            query,
        );
    }
    for query in ["after=7", "after=%00", "after='%3B--"] {
        assert_names(
            send(provider.request(Method::GET, &format!("/v1/ledger/payments?{query}"))).await,
            "after",
            query,
        );
    }
    assert_unharmed(&provider).await;
}
