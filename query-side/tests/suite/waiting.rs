//! Requests that wait: for their own write, for an outcome.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::given::Happening::*;
use crate::given::{HAPPY, Logs, order_id};
use crate::service::{Service, WAITERS_MAX, service};

/// Far longer than anything here takes: whoever waits for it was not woken.
const LONG_MS: u64 = 20_000;

#[tokio::test]
async fn a_request_sees_the_write_whose_position_it_names() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), &[Placed, Confirmed]);
    service.project(&events[..1]).await;
    let path = format!("/v1/orders/{}?after=orders:2&timeout_ms={LONG_MS}", order_id(1));
    let begun = Instant::now();
    let (order, ()) = tokio::join!(service.get(&path), service.project(&events[1..]));
    assert_eq!(order["status"], "confirmed");
    assert!(begun.elapsed() < Duration::from_millis(LONG_MS));
}

#[tokio::test]
async fn the_position_may_stand_in_a_header_and_must_not_contradict_the_query() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Placed])).await;
    let path = format!("/v1/orders/{}", order_id(1));
    let seen = service.request(&path, &[("x-tradewind-after", "orders:1")]).await;
    assert_eq!(seen.status(), 200);
    let not_seen =
        service.request(&format!("{path}?timeout_ms=0"), &[("x-tradewind-after", "orders:2")]).await;
    assert_eq!(not_seen.status(), 503);
    let both = service.request(&format!("{path}?after=orders:1"), &[("x-tradewind-after", "orders:2")]).await;
    assert_eq!(both.status(), 400);
    let nonsense = service.request(&path, &[("x-tradewind-after", "soon")]).await;
    assert_eq!(nonsense.status(), 400);
}

#[tokio::test]
async fn a_write_that_is_not_applied_in_time_is_503_and_no_old_answer() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let id = order_id(1);
    for (path, after) in [
        (format!("/v1/orders/{id}"), "orders:99"),
        (format!("/v1/orders/{id}/events"), "shipping:99"),
        (format!("/v1/orders/{id}/process"), "payments:99"),
        (format!("/v1/payments/{id}"), "payments:99"),
        ("/v1/stock/TEAPOT".to_owned(), "inventory:99"),
    ] {
        let response = service.request(&format!("{path}?after={after}&timeout_ms=1"), &[]).await;
        assert_eq!(response.status(), 503, "{path}");
        assert!(response.headers().contains_key("retry-after"), "{path}");
        let problem: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!(
            (&problem["code"], &problem["after"]),
            (&json!("not_yet_applied"), &json!(after)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_entity_can_be_asked_for_the_write_of_each_context_that_feeds_it() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), HAPPY);
    service.project(&events).await;
    let last_of = |context: &str| {
        let last = events.iter().rfind(|event| event.context.name() == context).expect("in the story");
        format!("{context}:{}", last.position)
    };
    let id = order_id(1);
    for (path, context) in [
        (format!("/v1/orders/{id}"), "orders"),
        (format!("/v1/orders/{id}/events"), "inventory"),
        (format!("/v1/orders/{id}/events"), "shipping"),
        (format!("/v1/orders/{id}/process"), "payments"),
        (format!("/v1/payments/{id}"), "payments"),
    ] {
        service.get(&format!("{path}?after={}&timeout_ms=0", last_of(context))).await;
    }
}

#[tokio::test]
async fn whoever_waits_for_the_outcome_is_answered_when_it_comes() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), &[Placed, Rejected]);
    let path = format!("/v1/orders/{}?wait=settled&timeout_ms={LONG_MS}", order_id(1));
    // The order is not even there when the request comes.
    let (order, ()) = tokio::join!(service.get(&path), async {
        service.project(&events[..1]).await;
        service.project(&events[1..]).await;
    });
    assert_eq!(order["status"], "rejected");
}

#[tokio::test]
async fn an_outcome_that_does_not_come_in_time_is_503_with_the_status_so_far() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Placed])).await;
    let path = format!("/v1/orders/{}?wait=settled&timeout_ms=1", order_id(1));
    let (status, problem) = service.status_and_body(&path).await;
    assert_eq!(status, 503);
    assert_eq!((&problem["code"], &problem["order_status"]), (&json!("not_settled"), &json!("placed")));
    let path = format!("/v1/orders/{}?wait=settled&timeout_ms=1", order_id(2));
    assert_eq!(service.status_and_body(&path).await.0, 404);
}

async fn outcome_of(service: &Service, number: u128, timeout_ms: u64) -> (u16, serde_json::Value) {
    let id = order_id(number);
    service.status_and_body(&format!("/v1/orders/{id}?wait=settled&timeout_ms={timeout_ms}")).await
}

/// Asks again when it is turned away, as a client should.
async fn outcome_in_the_end(service: &Service, number: u128) -> (u16, serde_json::Value) {
    loop {
        let (status, body) = outcome_of(service, number, LONG_MS).await;
        if body["code"] != "too_many_waiting" {
            return (status, body);
        }
    }
}

#[tokio::test]
async fn more_waiters_than_allowed_are_turned_away_and_the_others_are_served() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), &[Placed, Confirmed]);
    let waiters = futures::future::join_all((0..WAITERS_MAX).map(|_| outcome_in_the_end(&service, 1)));
    let one_too_many = async {
        loop {
            let (status, problem) = outcome_of(&service, 2, 1).await;
            if problem["code"] == "too_many_waiting" {
                service.project(&events).await;
                return status;
            }
        }
    };
    let both = async { tokio::join!(waiters, one_too_many) };
    let (answers, refused) =
        tokio::time::timeout(Duration::from_millis(LONG_MS), both).await.expect("nobody waits to the end");
    assert_eq!(refused, 503);
    assert!(
        answers.iter().all(|(status, order)| *status == 200 && order["status"] == "confirmed"),
        "{answers:?}"
    );
}
