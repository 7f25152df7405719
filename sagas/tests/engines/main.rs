//! The fulfilment of an order on a real PostgreSQL, a real Kafka and the real payment provider; every record is delivered twice.
//!
//! Never: a rule that `sagas/tests/story/` proves already. Read next: [`environment`], [`shop`].

mod environment;
mod readiness;
mod shop;

use std::collections::BTreeMap;

use domain::orders::OrderStatus;
use environment::TestEnvironment;
use event_bus::parked::{discard, records};
use events::Context;
use serde_json::json;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_to_its_end_and_everything_knows_what_caused_it() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&[]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 3).await;
    let order_id = environment.place(&["TEA"], 250).await;
    environment.dispatch_and_deliver(order_id).await;
    environment.until_status(order_id, OrderStatus::Delivered).await;
    eventually("the money is taken", async || {
        (environment.at_provider(order_id).await["state"] == "captured").then_some(())
    })
    .await;
    eventually("no deadline is set", async || environment.deadlines().await.is_empty().then_some(())).await;
    assert_eq!(environment.provider_entries().await, json!({"authorised": 1, "captured": 1}));
    let placed = environment.store(Context::Orders).scan(0, 1).await.expect("the log can be read").remove(0);
    for context in Context::ALL {
        let sagas = |event: &events::RawEvent| event.metadata.actor.starts_with("saga:");
        let events = environment.store(context).scan(0, 100).await.expect("the log can be read");
        for event in events.iter().filter(|event| sagas(event)) {
            assert!(event.metadata.causation_id.is_some(), "{}", event.event_type);
            let traced = event.metadata.traceparent.clone().expect("a trace");
            assert!(
                traced.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
                "{}: {traced}",
                event.event_type
            );
        }
        if context == Context::Payments {
            let requested = &events[0];
            assert_eq!(requested.metadata.correlation_id, placed.metadata.correlation_id);
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_whose_money_was_taken_at_once_is_refunded() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--capture-at-once"]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    environment.cancel(order_id).await;
    environment.until_status(order_id, OrderStatus::Cancelled).await;
    assert_eq!(environment.at_provider(order_id).await["state"], "refunded");
    let tea = environment.stock(&["TEA"]).await.remove(0);
    assert_eq!((tea.available(), tea.reserved()), (1, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_holds_nothing_up_and_is_called_again_until_it_is_up() {
    let environment = TestEnvironment::start().await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 100).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(environment.place(&["TEA"], 500).await);
    }
    let gift = environment.place(&["TEA"], 0).await;
    environment.until_status(gift, OrderStatus::Confirmed).await;
    eventually("everyone who waits has a deadline to ask again", async || {
        let asking =
            environment.deadlines().await.into_iter().filter(|id| id.starts_with("provider:")).count();
        (asking == waiting.len()).then_some(())
    })
    .await;
    eventually("readiness names the provider", async || {
        let failing = running.health.readiness().err()?;
        failing.iter().any(|failing| failing.check == "payment provider").then_some(())
    })
    .await;
    environment.start_provider(&[]).await;
    for order_id in &waiting {
        environment.until_status(*order_id, OrderStatus::Confirmed).await;
        assert_eq!(environment.payment_history(*order_id).await, ["PaymentRequested", "PaymentAuthorised"]);
    }
    running.until_ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_after_acceptance_is_resolved_by_asking_and_charged_once() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--fault", "time_out_after_acceptance"]).await;
    let running = environment.start_sagas(&["--payment-provider-timeout-ms", "300"]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    let expected = ["PaymentRequested", "PaymentUnknown", "PaymentAuthorised"];
    assert_eq!(environment.payment_history(order_id).await, expected);
    assert_eq!(environment.provider_entries().await, json!({"authorised": 1}));
    eventually("no deadline is set", async || environment.deadlines().await.is_empty().then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_without_an_outcome_is_given_up_at_its_deadline_and_voided_at_the_provider() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--fault", "time_out_before_acceptance"]).await;
    let running =
        environment.start_sagas(&["--payment-provider-timeout-ms", "200", "--payment-deadline-seconds", "2"]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Rejected).await;
    eventually("it is voided", async || {
        (environment.payment_history(order_id).await.last()? == "PaymentVoided").then_some(())
    })
    .await;
    let expected =
        ["PaymentRequested", "PaymentUnknown", "PaymentExpired", "PaymentVoidRequested", "PaymentVoided"];
    assert_eq!(environment.payment_history(order_id).await, expected);
    assert_eq!(environment.at_provider(order_id).await["state"], "voided");
    let reservation =
        environment.history(Context::Inventory, &events::inventory::reservation_stream(order_id)).await;
    assert_eq!(reservation, ["ReservationMade", "ReservationReleased"]);
    eventually("no deadline is set", async || environment.deadlines().await.is_empty().then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_turns_unavailable_is_asked_to_void_until_it_has() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&[]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    environment.set_provider_behaviour(json!({"fault": "unavailable"})).await;
    environment.cancel(order_id).await;
    eventually("the void waits for its deadline", async || {
        environment.deadlines().await.contains(&format!("provider:{order_id}")).then_some(())
    })
    .await;
    assert_eq!(environment.status(order_id).await, OrderStatus::Cancelling { was_confirmed: true });
    environment.set_provider_behaviour(json!({})).await;
    environment.until_status(order_id, OrderStatus::Cancelled).await;
    assert_eq!(environment.at_provider(order_id).await["state"], "voided");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_the_provider_refuses_for_good_is_named_until_someone_has_looked() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&[]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    environment.void_at_provider(order_id).await;
    environment.dispatch_and_deliver(order_id).await;
    let payment = events::payments::stream(order_id);
    let refused = eventually("readiness names the payment", async || {
        let degraded = running.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "payments refused")
    })
    .await;
    assert!(
        refused.reason.contains(payment.as_str()) && refused.reason.contains("409"),
        "{}",
        refused.reason
    );
    running.until_ready().await;
    assert_eq!(
        environment.payment_history(order_id).await.last().map(String::as_str),
        Some("PaymentCaptureRequested")
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_that_cannot_be_read_are_named_and_hold_up_no_others() {
    const UNREADABLE: i64 = 300;
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--fault", "time_out_before_acceptance"]).await;
    environment
        .execute(&format!(
            "INSERT INTO payments.deadlines (id, stream, due_at, command)
             SELECT 'broken:' || n, 'payment-broken', 'epoch', '{{\"do\": \"a thing of the future\"}}'
               FROM generate_series(1, {UNREADABLE}) n"
        ))
        .await;
    let running =
        environment.start_sagas(&["--payment-provider-timeout-ms", "200", "--payment-deadline-seconds", "2"]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Rejected).await;
    let named = eventually("readiness names them", async || {
        let degraded = running.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "payment deadlines")
    })
    .await;
    assert!(named.reason.starts_with(&format!("{UNREADABLE} deadlines cannot be read")), "{}", named.reason);
    assert!(named.reason.contains("broken:"), "{}", named.reason);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_parks_its_stream_in_order_and_no_other() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&[]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 9).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    let poisoned = events::orders::stream(order_id);
    let shipped = events::shipping::stream(order_id);
    eventually("the confirmation is read", async || {
        (environment.history(Context::Shipping, &shipped).await == ["ShipmentPrepared"]).then_some(())
    })
    .await;
    environment.publish_raw(&poisoned, b"{\"not\": \"an event\"}").await;
    eventually("the poison is parked", async || {
        let parked = environment.store(Context::Shipping).parked_streams("sagas.shipping").await;
        parked.expect("a readable table").contains(&poisoned).then_some(())
    })
    .await;
    environment.cancel(order_id).await;
    let parked = eventually("the cancellation is parked behind it", async || {
        let parked = environment.parked("sagas.shipping", &poisoned).await;
        (parked.len() == 2).then_some(parked)
    })
    .await;
    assert!(parked[0].starts_with("not a Tradewind CloudEvent"), "{parked:?}");
    assert_eq!(parked[1], "an earlier event of this stream is parked");
    assert_eq!(environment.history(Context::Shipping, &shipped).await, ["ShipmentPrepared"]);
    let healthy = environment.place(&["TEA"], 500).await;
    environment.dispatch_and_deliver(healthy).await;
    environment.until_status(healthy, OrderStatus::Delivered).await;
    let named = eventually("readiness names what is parked", async || {
        let degraded = running.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "sagas.shipping parked")
    })
    .await;
    assert!(named.reason.contains(poisoned.as_str()), "{}", named.reason);
    running.until_ready().await;

    let (consumer, shipping) = ("sagas.shipping", environment.store(Context::Shipping));
    let deadline = chrono::TimeDelta::seconds(900);
    let retry = async |dry_run| {
        let parked = (consumer, poisoned.as_str());
        let retried = sagas::retry_parked(shipping, &environment.bus, parked, deadline, dry_run).await;
        retried.expect("it can be finished")
    };
    let again = retry(false).await;
    assert_eq!((again.handled, again.stopped.is_some()), (0, true), "it is poison still");
    assert_eq!(environment.parked(consumer, &poisoned).await.len(), 2);
    let client = shipping.pool().get().await.expect("a connection");
    let first =
        records(&client, consumer, poisoned.as_str(), None, 1).await.expect("a readable table").remove(0);
    discard(&client, &first, "ada", "it is no event").await.expect("the first may be given up");
    drop(client);
    let rehearsed = retry(true).await;
    assert_eq!((rehearsed.handled, rehearsed.stopped), (1, None));
    assert_eq!(
        environment.history(Context::Shipping, &shipped).await,
        ["ShipmentPrepared"],
        "a dry run does nothing"
    );
    assert_eq!(retry(false).await.handled, 1);
    assert_eq!(
        environment.history(Context::Shipping, &shipped).await,
        ["ShipmentPrepared", "ShipmentCancelled"]
    );
    environment.until_status(order_id, OrderStatus::Cancelled).await;
    // The others that read the orders have their own record of it parked still.
    eventually("it is not degraded any more", async || {
        let degraded = running.health.degraded();
        degraded.iter().all(|degraded| degraded.check != "sagas.shipping parked").then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_makes_more_events_than_one_append_holds_is_committed_in_parts() {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&[]).await;
    let names: Vec<String> = (0..1_200).map(|number| format!("SKU-{number}")).collect();
    let skus: Vec<&str> = names.iter().map(String::as_str).collect();
    environment.receive(&skus, 5).await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(environment.place(&skus, 1).await);
    }
    let running = environment.start_sagas(&[]);
    for order_id in orders {
        environment.until_status(order_id, OrderStatus::Confirmed).await;
    }
    let stock = environment.stock(&skus).await;
    assert!(stock.iter().all(|item| (item.available(), item.reserved()) == (0, 5)), "{stock:?}");
    running.until_ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_come_and_go_and_every_order_settles_once() {
    const ORDERS: usize = 120;
    const PIECES: i64 = 100;
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--decline-rate-percent", "10"]).await;
    environment.receive(&["TEA"], PIECES).await;
    let first = environment.start_sagas(&[]);
    let mut orders = Vec::new();
    for number in 0..ORDERS {
        let order_id = environment.place(&["TEA"], 500).await;
        if number % 4 == 0 {
            environment.cancel(order_id).await;
        }
        orders.push(order_id);
    }
    let second = environment.start_sagas(&[]);
    second.until_ready().await;
    first.stop().await;
    let mut ends = BTreeMap::<&str, i64>::new();
    for order_id in orders {
        let settled = eventually("the order is settled", async || {
            let status = environment.status(order_id).await;
            let open = matches!(status, OrderStatus::Placed | OrderStatus::Cancelling { .. });
            (!open).then_some(status)
        })
        .await;
        *ends.entry(settled.name()).or_default() += 1;
        let requests = environment.payment_history(order_id).await;
        assert!(requests.iter().filter(|event| *event == "PaymentRequested").count() <= 1);
    }
    let tea = environment.stock(&["TEA"]).await.remove(0);
    let confirmed = ends.get("confirmed").copied().unwrap_or_default();
    assert_eq!((tea.reserved(), tea.available()), (confirmed, PIECES - confirmed), "{ends:?}");
    assert_eq!(ends.get("cancelled"), Some(&(ORDERS as i64 / 4)), "{ends:?}");
    second.stop().await;
}
