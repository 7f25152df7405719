//! Configured declines, delays and faults.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::provider::{Provider, assert_refused, assert_state, payment};

#[tokio::test]
async fn a_time_out_after_acceptance_leaves_the_money_held_and_the_status_shows_it() {
    let provider = Provider::start().await;
    provider
        .configure(json!({"rules": [{"customer_id": "tim", "fault": "time_out_after_acceptance"}]}))
        .await;
    let id = Uuid::now_v7();
    let response = provider.try_call(Method::POST, "/v1/payments", Some(payment(id, "tim", 700))).await;
    assert!(response.is_err(), "{response:?}");
    assert_state(provider.status(id).await, "authorised");
    assert_eq!(provider.books().await["currencies"]["GBP"]["held_minor"], 700);
}

#[tokio::test]
async fn a_time_out_before_acceptance_has_no_effect() {
    let provider = Provider::start().await;
    provider
        .configure(json!({"rules": [{"customer_id": "nora", "fault": "time_out_before_acceptance"}]}))
        .await;
    let id = Uuid::now_v7();
    let response = provider.try_call(Method::POST, "/v1/payments", Some(payment(id, "nora", 700))).await;
    assert!(response.is_err(), "{response:?}");
    assert_refused(provider.status(id).await, 404, "no_such_payment");
    assert_eq!(provider.books().await["counts"], json!({}));
}

#[tokio::test]
async fn an_unavailable_provider_answers_503_and_does_nothing() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    provider.configure(json!({"default": {"fault": "unavailable"}})).await;
    assert_refused(provider.authorise(Uuid::now_v7(), "kim", 1).await, 503, "unavailable");
    for step in ["capture", "void", "refund"] {
        assert_refused(provider.step(id, step).await, 503, "unavailable");
    }
    provider.configure(json!({})).await;
    assert_state(provider.status(id).await, "authorised");
}

#[tokio::test]
async fn a_rule_of_a_customer_overrides_the_default() {
    let provider = Provider::start().await;
    provider
        .configure(json!({"default": {"decline_rate_percent": 100, "decline_code": "unlucky"}, "rules": [
            {"customer_id": "dan", "outcome": "decline", "decline_code": "insufficient_funds"},
            {"customer_id": "carol", "capture_at_once": true, "delay_ms": 1},
        ]}))
        .await;
    assert_eq!(provider.authorise(Uuid::now_v7(), "dan", 1).await.1["decline_code"], "insufficient_funds");
    assert_eq!(provider.authorise(Uuid::now_v7(), "kim", 1).await.1["decline_code"], "unlucky");
    let carols = Uuid::now_v7();
    assert_state(provider.authorise(carols, "carol", 5).await, "captured");
    assert_refused(provider.step(carols, "void").await, 409, "already_captured");
    assert_eq!(provider.books().await["counts"], json!({"authorised": 1, "captured": 1, "declined": 2}));
}

#[tokio::test]
async fn ledger_and_behaviour_survive_a_restart() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    provider.configure(json!({"rules": [{"customer_id": "dan", "outcome": "decline"}]})).await;
    let before = (provider.books().await, provider.call(Method::GET, "/v1/behaviour", None).await);
    let provider = provider.restart().await;
    assert_eq!((provider.books().await, provider.call(Method::GET, "/v1/behaviour", None).await), before);
    assert_state(provider.authorise(id, "kim", 700).await, "authorised");
    assert_state(provider.authorise(Uuid::now_v7(), "dan", 1).await, "declined");
}

#[tokio::test]
async fn an_invalid_field_is_named_with_its_allowed_values() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    for (body, field, allowed) in [
        (
            json!({"payment_id": id, "customer_id": "kim", "amount_minor": 0, "currency": "GBP"}),
            "amount_minor",
            "1 to 9223372036854775807",
        ),
        (
            json!({"payment_id": id, "customer_id": "k\u{0}", "amount_minor": 1, "currency": "GBP"}),
            "customer_id",
            "1 to 200 characters without control characters",
        ),
        (
            json!({"payment_id": id, "customer_id": "kim", "amount_minor": 1, "currency": "pounds"}),
            "currency",
            "three letters A-Z",
        ),
    ] {
        let (status, problem) = provider.call(Method::POST, "/v1/payments", Some(body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
        assert_eq!(problem["errors"][0]["allowed"], allowed, "{problem}");
    }
    for (body, field, allowed) in [
        (json!({"default": {"delay_ms": 60_001}}), "default.delay_ms", "0 to 60000"),
        (json!({"default": {"decline_rate_percent": 101}}), "default.decline_rate_percent", "0 to 100"),
        (
            json!({"rules": [{"customer_id": "a", "decline_code": "No!"}]}),
            "rules[0].decline_code",
            "1 to 64 characters a-z, 0-9 and _",
        ),
        (
            json!({"rules": [{"customer_id": "a"}, {"customer_id": "a"}]}),
            "rules[1].customer_id",
            "one rule for each customer",
        ),
        (
            json!({"rules": [{"customer_id": "a", "colour": 1}]}),
            "rules[0].colour",
            "one of `customer_id`, `outcome`, `decline_code`, `delay_ms`, `fault`, `capture_at_once`, `decline_rate_percent`, `webhook_copies`, `webhook_delay_ms`, `webhook_disorder`",
        ),
    ] {
        let (status, problem) = provider.call(Method::PUT, "/v1/behaviour", Some(body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
        assert_eq!(problem["errors"][0]["allowed"], allowed, "{problem}");
    }
    assert_refused(
        provider.call(Method::GET, "/v1/ledger/payments?limit=1001", None).await,
        400,
        "invalid_query",
    );
    assert_refused(provider.call(Method::GET, "/v1/payments/7", None).await, 400, "invalid_path");
}
