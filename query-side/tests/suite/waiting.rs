//! Requests that wait: for their own write, for an outcome.

use std::time::{Duration, Instant};

use events::OrderEvent;
use events::orders::OrderCancellationRequested;
use futures::future::join_all;
use serde_json::json;

use crate::given::Happening::*;
use crate::given::{HAPPY, Logs, order_id, received, sku};
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
        let last = events.iter().rfind(|event| event.context.as_str() == context).expect("in the story");
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

#[tokio::test]
async fn a_position_of_any_context_is_waited_for_by_everything_that_is_asked_for() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), HAPPY);
    let id = order_id(1);
    let stocked = logs.happens(&events::inventory::stock_stream(&sku("TEAPOT")), received("TEAPOT", 5));
    service.project(std::slice::from_ref(&stocked)).await;
    let after = "orders:1,inventory:1,payments:1,shipping:1";
    let paths = [
        format!("/v1/orders/{id}?"),
        format!("/v1/orders/{id}/events?"),
        format!("/v1/orders/{id}/process?"),
        format!("/v1/payments/{id}?"),
        "/v1/stock/TEAPOT?".to_owned(),
        "/v1/orders?".to_owned(),
        "/v1/processes?".to_owned(),
        "/v1/stock?".to_owned(),
        "/v1/sales/daily?".to_owned(),
    ];
    for path in &paths {
        let (status, problem) = service.status_and_body(&format!("{path}after={after}&timeout_ms=1")).await;
        assert_eq!((status, &problem["code"]), (503, &json!("not_yet_applied")), "{path}");
    }
    let slow: Vec<String> =
        paths.iter().map(|path| format!("{path}after={after}&timeout_ms={LONG_MS}")).collect();
    let asked = async { join_all(slow.iter().take(WAITERS_MAX).map(|path| service.get(path))).await };
    let (answers, ()) = tokio::join!(asked, service.project(&events));
    assert_eq!(answers[0]["status"], "delivered", "{answers:?}");
    for path in &slow {
        service.get(path).await;
    }
}

#[tokio::test]
async fn an_answer_tells_the_positions_that_it_depends_on_and_they_are_taken_as_they_are_told() {
    let (service, mut logs) = (service().await, Logs::default());
    let path = format!("/v1/orders/{}", order_id(1));
    assert_eq!(service.position(&path).await, "", "nothing is applied");
    let mut events = logs.story(order_id(1), &[Placed, Confirmed]);
    events[1].metadata.depends_on = "orders:1,inventory:12,payments:7".parse().expect("positions");
    service.project(&events).await;
    let told = "inventory:12,orders:2,payments:7";
    for path in [&path, "/v1/orders", "/v1/sales/daily", "/v1/stock/NOTHING", &format!("{path}?wait=settled")]
    {
        assert_eq!(service.position(path).await, told, "{path}");
    }
    let payment = format!("/v1/payments/{}?after={told}&timeout_ms=1", order_id(1));
    let (status, problem) = service.status_and_body(&payment).await;
    assert_eq!((status, &problem["code"]), (503, &json!("not_yet_applied")), "it is to come, and not absent");
}

#[tokio::test]
async fn an_answer_names_no_context_that_a_request_may_not_name() {
    let (service, mut logs) = (service().await, Logs::default());
    let path = format!("/v1/orders/{}", order_id(1));
    let mut events = logs.story(order_id(1), &[Placed]);
    events[0].metadata.depends_on = "warranties:3,inventory:2".parse().expect("positions");
    service.project(&events).await;
    assert_eq!(service.position(&path).await, "inventory:2,orders:1");
    let (status, problem) = service.status_and_body(&format!("{path}?after=warranties:3")).await;
    let allowed =
        "<context>:<position>, comma-separated; the contexts are orders, inventory, payments, shipping";
    assert_eq!((status, &problem["errors"][0]["allowed"]), (400, &json!(allowed)), "{problem}");
}

#[tokio::test]
async fn a_position_is_applied_when_everything_before_it_is_whatever_the_partitions_order() {
    let (service, mut logs) = (service().await, Logs::default());
    let events: Vec<_> = (1..=3).flat_map(|number| logs.story(order_id(number), &[Placed])).collect();
    service.project(&events[1..]).await;
    let later = format!("/v1/orders/{}", order_id(3));
    assert_eq!(service.get(&later).await["position"], 3, "it is there");
    let (status, problem) = service.status_and_body(&format!("{later}?after=orders:3&timeout_ms=1")).await;
    assert_eq!((status, &problem["code"]), (503, &json!("not_yet_applied")), "orders:1 is not");
    service.project(&events[..1]).await;
    service.get(&format!("{later}?after=orders:3&timeout_ms=0")).await;
    service.get("/v1/orders?after=orders:1&timeout_ms=0").await;
}

#[tokio::test]
async fn what_does_not_exist_is_told_apart_from_what_is_not_applied() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Placed])).await;
    for path in ["", "/events", "/process"].map(|end| format!("/v1/orders/{}{end}", order_id(2))) {
        let after = |position, timeout_ms| format!("{path}?after=orders:{position}&timeout_ms={timeout_ms}");
        assert_eq!(service.status_and_body(&after(1, LONG_MS)).await.0, 404);
        assert_eq!(service.status_and_body(&after(2, 1)).await.0, 503);
    }
    let outcome = format!("/v1/orders/{}?wait=settled&after=orders:1&timeout_ms={LONG_MS}", order_id(2));
    assert_eq!(service.status_and_body(&outcome).await.0, 404, "there is nothing to wait for");
}

#[tokio::test]
async fn who_waits_for_a_parked_event_is_told_so_and_others_are_answered() {
    let (service, mut logs) = (service().await, Logs::default());
    let cancellation = OrderCancellationRequested {
        order_id: order_id(1),
        reason: "a NUL \0 that JSON may carry and jsonb may not".to_owned(),
        was_confirmed: false,
    };
    let mut events = logs.story(order_id(1), &[Placed]);
    events.push(logs.happens(&events::orders::stream(order_id(1)), OrderEvent::from(cancellation)));
    events.extend(logs.story(order_id(2), &[Placed, Confirmed]));
    service.project(&events).await;
    for path in [format!("/v1/orders/{}", order_id(1)), "/v1/orders".to_owned()] {
        let (status, problem) = service.status_and_body(&format!("{path}?after=orders:2&timeout_ms=1")).await;
        assert_eq!((status, &problem["code"]), (503, &json!("not_yet_applied")), "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("parked")), "{problem}");
    }
    let other = format!("/v1/orders/{}?after=orders:4&timeout_ms=0", order_id(2));
    assert_eq!(service.get(&other).await["status"], "confirmed");
    service.get("/v1/orders?after=orders:4&timeout_ms=0").await;
    let own = format!("/v1/orders/{}?after=orders:4&timeout_ms=0", order_id(1));
    assert_eq!(service.status_and_body(&own).await.0, 503, "its own event is parked before that");
}

#[tokio::test]
async fn whoever_waits_for_the_process_is_answered_when_no_machine_is_at_work() {
    let (service, mut logs) = (service().await, Logs::default());
    let events = logs.story(order_id(1), HAPPY);
    let process =
        |timeout_ms| format!("/v1/orders/{}/process?wait=settled&timeout_ms={timeout_ms}", order_id(1));
    service.project(&events[..1]).await;
    let (status, problem) = service.status_and_body(&process(1)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("not_settled")));
    assert_eq!(problem["process_state"], "running");
    let path = process(LONG_MS);
    let (process, ()) = tokio::join!(service.get(&path), service.project(&events[1..]));
    assert_eq!(process["state"], "done");
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
    let waiters = join_all((0..WAITERS_MAX).map(|_| outcome_in_the_end(&service, 1)));
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
