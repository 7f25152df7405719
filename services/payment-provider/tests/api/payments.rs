//! The steps of a payment, and the ledger.

use reqwest::Method;
use runtime::postgres::connect;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::provider::{Provider, assert_refused, assert_state, payment};

#[tokio::test]
async fn a_payment_is_authorised_captured_and_refunded_once_each() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    let first = provider.authorise(id, "kim", 700).await;
    assert_eq!(
        first,
        (
            200,
            json!({"payment_id": id, "state": "authorised", "reference": format!("acq_{}", id.simple()),
                   "decline_code": null, "customer_id": "kim", "amount_minor": 700, "currency": "GBP"})
        )
    );
    assert_eq!(provider.authorise(id, "kim", 700).await, first);
    for (step, state) in [("capture", "captured"), ("refund", "refunded")] {
        assert_state(provider.step(id, step).await, state);
        assert_state(provider.step(id, step).await, state);
        assert_state(provider.status(id).await, state);
    }
    assert_eq!(
        provider.books().await,
        json!({
            "currencies": {"GBP": {"authorised_minor": 700, "captured_minor": 700, "voided_minor": 0,
                                   "refunded_minor": 700, "held_minor": 0}},
            "counts": {"authorised": 1, "captured": 1, "refunded": 1},
        })
    );
}

#[tokio::test]
async fn a_step_that_the_state_forbids_is_refused() {
    let provider = Provider::start().await;
    let unknown = Uuid::now_v7();
    assert_refused(provider.status(unknown).await, 404, "no_such_payment");
    assert_refused(provider.step(unknown, "capture").await, 404, "no_such_payment");
    assert_refused(provider.step(unknown, "refund").await, 404, "no_such_payment");

    let held = Uuid::now_v7();
    provider.authorise(held, "kim", 700).await;
    assert_refused(provider.step(held, "refund").await, 409, "not_captured");
    assert_state(provider.step(held, "void").await, "voided");
    assert_state(provider.step(held, "void").await, "voided");
    assert_refused(provider.step(held, "capture").await, 409, "not_authorised");

    let taken = Uuid::now_v7();
    provider.authorise(taken, "kim", 300).await;
    provider.step(taken, "capture").await;
    assert_refused(provider.step(taken, "void").await, 409, "already_captured");
    assert_state(provider.status(taken).await, "captured");
}

#[tokio::test]
async fn a_payment_that_is_voided_before_its_authorisation_is_declined() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    assert_state(provider.step(id, "void").await, "voided");
    assert_state(provider.step(id, "void").await, "voided");
    let (status, payment) = provider.authorise(id, "kim", 700).await;
    assert_eq!(
        (status, &payment["state"], &payment["decline_code"]),
        (200, &json!("declined"), &json!("voided"))
    );
    assert_eq!(provider.authorise(id, "kim", 700).await, (status, payment));
    assert_eq!(provider.books().await["counts"], json!({"declined": 1}));
}

#[tokio::test]
async fn an_id_belongs_to_one_request() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    assert_refused(provider.authorise(id, "kim", 701).await, 422, "idempotency_key_reused");
    assert_refused(provider.authorise(id, "lee", 700).await, 422, "idempotency_key_reused");
    assert_eq!(provider.status(id).await.1["amount_minor"], 700);

    let without_key =
        provider.http.post(format!("{}/v1/payments", provider.url)).json(&payment(id, "kim", 700));
    let problem: Value = without_key.send().await.expect("a response").json().await.expect("JSON");
    assert_eq!(
        problem["errors"][0],
        json!({"field": "Idempotency-Key", "detail": "is missing, or is not the id of the payment", "allowed": id})
    );
}

#[tokio::test]
async fn fifty_parallel_authorisations_of_one_id_hold_the_money_once() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    let responses = futures::future::join_all((0..50).map(|_| provider.authorise(id, "kim", 700))).await;
    for response in responses {
        assert_state(response, "authorised");
    }
    assert_eq!(provider.books().await["counts"], json!({"authorised": 1}));
    assert_eq!(provider.books().await["currencies"]["GBP"]["held_minor"], 700);
}

#[tokio::test]
async fn of_a_concurrent_void_and_capture_one_succeeds() {
    let provider = Provider::start().await;
    for _ in 0..20 {
        let id = Uuid::now_v7();
        provider.authorise(id, "kim", 100).await;
        let (voided, captured) = tokio::join!(provider.step(id, "void"), provider.step(id, "capture"));
        assert_ne!(voided.0 == 200, captured.0 == 200, "{voided:?} {captured:?}");
        let state = if voided.0 == 200 { "voided" } else { "captured" };
        assert_state(provider.status(id).await, state);
    }
    let sums = &provider.books().await["currencies"]["GBP"];
    let sum = |name: &str| sums[name].as_i64().expect("a number");
    assert_eq!((sum("held_minor"), sum("voided_minor") + sum("captured_minor")), (0, 2000));
}

#[tokio::test]
async fn after_a_concurrent_void_and_authorisation_no_money_is_held() {
    let provider = Provider::start().await;
    for _ in 0..20 {
        let id = Uuid::now_v7();
        let (voided, _) = tokio::join!(provider.step(id, "void"), provider.authorise(id, "kim", 100));
        assert_eq!(voided.0, 200, "{voided:?}");
        let state = provider.status(id).await.1["state"].clone();
        assert!(state == "voided" || state == "declined", "{state}");
    }
    let books = provider.books().await;
    assert!(books["currencies"]["GBP"]["held_minor"] == 0, "{books}");
}

#[tokio::test]
async fn payments_are_listed_page_by_page() {
    let provider = Provider::start().await;
    let mut ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        provider.authorise(*id, "kim", 1).await;
    }
    ids.sort();
    let mut listed = Vec::new();
    let mut path = "/v1/ledger/payments?limit=2".to_owned();
    loop {
        let (_, page) = provider.call(Method::GET, &path, None).await;
        for payment in page["payments"].as_array().expect("a list") {
            listed.push(payment["payment_id"].as_str().expect("an id").parse::<Uuid>().expect("a UUID"));
        }
        let Some(after) = page["next_after"].as_str() else { break };
        path = format!("/v1/ledger/payments?limit=2&after={after}");
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn sums_larger_than_one_payment_are_exact() {
    let provider = Provider::start().await;
    for _ in 0..2 {
        assert_state(provider.authorise(Uuid::now_v7(), "kim", i64::MAX).await, "authorised");
    }
    let text = provider.http.get(format!("{}/v1/ledger", provider.url)).send().await.expect("a response");
    let text = text.text().await.expect("text");
    assert!(text.contains("\"held_minor\":18446744073709551614"), "{text}");
}

#[tokio::test]
async fn the_role_of_the_provider_may_only_insert_into_the_ledger() {
    let provider = Provider::start().await;
    provider.authorise(Uuid::now_v7(), "kim", 700).await;
    let base = provider.config.database_url.clone().expect("the test gives it");
    let client =
        connect(&runtime::postgres::owner_url(&base, "provider")).await.expect("the role may log in");
    for statement in
        ["UPDATE ledger_entries SET amount_minor = 1", "DELETE FROM ledger_entries", "DELETE FROM payments"]
    {
        let refused = client.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(
            refused.code(),
            Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{statement}"
        );
    }
}
