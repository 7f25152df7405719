//! The story on a real PostgreSQL, a real Kafka and the real payment provider, every record delivered twice.
//!
//! Never: a rule that `sagas/tests/story` tells already. Read next: [`stage`], [`shop`].

mod readiness;
mod shop;
mod stage;

use std::collections::BTreeMap;

use domain::orders::OrderStatus;
use event_bus::parked::{discard, records};
use events::Context;
use serde_json::json;
use stage::Stage;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_to_its_end_and_everything_knows_what_caused_it() {
    let stage = Stage::set().await;
    stage.start_provider(&[]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 3).await;
    let order_id = stage.place(&["TEA"], 250).await;
    stage.dispatch_and_deliver(order_id).await;
    stage.until_status(order_id, OrderStatus::Delivered).await;
    eventually("the money is taken", async || {
        (stage.at_provider(order_id).await["state"] == "captured").then_some(())
    })
    .await;
    eventually("no deadline stands", async || stage.deadlines().await.is_empty().then_some(())).await;
    assert_eq!(stage.provider_entries().await, json!({"authorised": 1, "captured": 1}));
    let placed = stage.store(Context::Orders).scan(0, 1).await.expect("the log can be read").remove(0);
    for context in Context::ALL {
        let sagas = |event: &events::RawEvent| event.metadata.actor.starts_with("saga:");
        let events = stage.store(context).scan(0, 100).await.expect("the log can be read");
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
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_whose_money_was_taken_at_once_is_refunded() {
    let stage = Stage::set().await;
    stage.start_provider(&["--capture-at-once"]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    stage.cancel(order_id).await;
    stage.until_status(order_id, OrderStatus::Cancelled).await;
    assert_eq!(stage.at_provider(order_id).await["state"], "refunded");
    let tea = stage.stock(&["TEA"]).await.remove(0);
    assert_eq!((tea.available(), tea.reserved()), (1, 0));
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_holds_nobody_up_and_is_asked_again_until_it_is_up() {
    let stage = Stage::set().await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 100).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(stage.place(&["TEA"], 500).await);
    }
    let gift = stage.place(&["TEA"], 0).await;
    stage.until_status(gift, OrderStatus::Confirmed).await;
    eventually("everyone who waits has a deadline to ask again", async || {
        let asking = stage.deadlines().await.into_iter().filter(|id| id.starts_with("provider:")).count();
        (asking == waiting.len()).then_some(())
    })
    .await;
    eventually("readiness names the provider", async || {
        let failing = playing.health.readiness().err()?;
        failing.iter().any(|failing| failing.check == "payment provider").then_some(())
    })
    .await;
    stage.start_provider(&[]).await;
    for order_id in &waiting {
        stage.until_status(*order_id, OrderStatus::Confirmed).await;
        assert_eq!(stage.payment_history(*order_id).await, ["PaymentRequested", "PaymentAuthorised"]);
    }
    playing.until_ready().await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_after_acceptance_is_resolved_by_asking_and_charged_once() {
    let stage = Stage::set().await;
    stage.start_provider(&["--fault", "time_out_after_acceptance"]).await;
    let playing = stage.play(&["--payment-provider-timeout-ms", "300"]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    let told = ["PaymentRequested", "PaymentUnknown", "PaymentAuthorised"];
    assert_eq!(stage.payment_history(order_id).await, told);
    assert_eq!(stage.provider_entries().await, json!({"authorised": 1}));
    eventually("no deadline stands", async || stage.deadlines().await.is_empty().then_some(())).await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_without_an_outcome_is_given_up_at_its_deadline_and_voided_at_the_provider() {
    let stage = Stage::set().await;
    stage.start_provider(&["--fault", "time_out_before_acceptance"]).await;
    let playing = stage.play(&["--payment-provider-timeout-ms", "200", "--payment-deadline-seconds", "2"]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Rejected).await;
    eventually("it is voided", async || {
        (stage.payment_history(order_id).await.last()? == "PaymentVoided").then_some(())
    })
    .await;
    let told =
        ["PaymentRequested", "PaymentUnknown", "PaymentExpired", "PaymentVoidRequested", "PaymentVoided"];
    assert_eq!(stage.payment_history(order_id).await, told);
    assert_eq!(stage.at_provider(order_id).await["state"], "voided");
    let reservation =
        stage.history(Context::Inventory, &events::inventory::reservation_stream(order_id)).await;
    assert_eq!(reservation, ["ReservationMade", "ReservationReleased"]);
    eventually("no deadline stands", async || stage.deadlines().await.is_empty().then_some(())).await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_turns_unavailable_is_asked_to_void_until_it_has() {
    let stage = Stage::set().await;
    stage.start_provider(&[]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    stage.tell_provider(json!({"fault": "unavailable"})).await;
    stage.cancel(order_id).await;
    eventually("the void waits for its deadline", async || {
        stage.deadlines().await.contains(&format!("provider:{order_id}")).then_some(())
    })
    .await;
    assert_eq!(stage.status(order_id).await, OrderStatus::Cancelling { was_confirmed: true });
    stage.tell_provider(json!({})).await;
    stage.until_status(order_id, OrderStatus::Cancelled).await;
    assert_eq!(stage.at_provider(order_id).await["state"], "voided");
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_the_provider_refuses_for_good_is_named_until_somebody_has_looked() {
    let stage = Stage::set().await;
    stage.start_provider(&[]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    stage.void_at_provider(order_id).await;
    stage.dispatch_and_deliver(order_id).await;
    let payment = events::payments::stream(order_id);
    let refused = eventually("readiness names the payment", async || {
        let degraded = playing.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "payments refused")
    })
    .await;
    assert!(
        refused.reason.contains(payment.as_str()) && refused.reason.contains("409"),
        "{}",
        refused.reason
    );
    playing.until_ready().await;
    assert_eq!(
        stage.payment_history(order_id).await.last().map(String::as_str),
        Some("PaymentCaptureRequested")
    );
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_that_cannot_be_read_are_named_and_hold_up_no_others() {
    const UNREADABLE: i64 = 300;
    let stage = Stage::set().await;
    stage.start_provider(&["--fault", "time_out_before_acceptance"]).await;
    stage
        .execute(&format!(
            "INSERT INTO payments.deadlines (id, stream, due_at, command)
             SELECT 'broken:' || n, 'payment-broken', 'epoch', '{{\"do\": \"a thing of the future\"}}'
               FROM generate_series(1, {UNREADABLE}) n"
        ))
        .await;
    let playing = stage.play(&["--payment-provider-timeout-ms", "200", "--payment-deadline-seconds", "2"]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Rejected).await;
    let named = eventually("readiness names them", async || {
        let degraded = playing.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "payment deadlines")
    })
    .await;
    assert!(named.reason.starts_with(&format!("{UNREADABLE} deadlines cannot be read")), "{}", named.reason);
    assert!(named.reason.contains("broken:"), "{}", named.reason);
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_parks_its_stream_in_order_and_no_other() {
    let stage = Stage::set().await;
    stage.start_provider(&[]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 9).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    let poisoned = events::orders::stream(order_id);
    let shipped = events::shipping::stream(order_id);
    eventually("the confirmation is read", async || {
        (stage.history(Context::Shipping, &shipped).await == ["ShipmentPrepared"]).then_some(())
    })
    .await;
    stage.publish_raw(&poisoned, b"{\"not\": \"an event\"}").await;
    eventually("the poison is parked", async || {
        let parked = stage.store(Context::Shipping).parked_streams("sagas.shipping").await;
        parked.expect("a readable table").contains(&poisoned).then_some(())
    })
    .await;
    stage.cancel(order_id).await;
    let parked = eventually("the cancellation is parked behind it", async || {
        let parked = stage.parked("sagas.shipping", &poisoned).await;
        (parked.len() == 2).then_some(parked)
    })
    .await;
    assert!(parked[0].starts_with("not a Tradewind CloudEvent"), "{parked:?}");
    assert_eq!(parked[1], "an earlier event of this stream is parked");
    assert_eq!(stage.history(Context::Shipping, &shipped).await, ["ShipmentPrepared"]);
    let healthy = stage.place(&["TEA"], 500).await;
    stage.dispatch_and_deliver(healthy).await;
    stage.until_status(healthy, OrderStatus::Delivered).await;
    let named = eventually("readiness names what is parked", async || {
        let degraded = playing.health.degraded();
        degraded.into_iter().find(|degraded| degraded.check == "sagas.shipping parked")
    })
    .await;
    assert!(named.reason.contains(poisoned.as_str()), "{}", named.reason);
    playing.until_ready().await;

    let (consumer, shipping) = ("sagas.shipping", stage.store(Context::Shipping));
    let deadline = chrono::TimeDelta::seconds(900);
    let retry = async |dry_run| {
        let parked = (consumer, poisoned.as_str());
        let retried = sagas::retry_parked(shipping, &stage.bus, parked, deadline, dry_run).await;
        retried.expect("it can be finished")
    };
    let again = retry(false).await;
    assert_eq!((again.handled, again.stopped.is_some()), (0, true), "it is poison still");
    assert_eq!(stage.parked(consumer, &poisoned).await.len(), 2);
    let client = shipping.pool().get().await.expect("a connection");
    let first =
        records(&client, consumer, poisoned.as_str(), None, 1).await.expect("a readable table").remove(0);
    discard(&client, &first, "ada", "it is no event").await.expect("the first may be given up");
    drop(client);
    let rehearsed = retry(true).await;
    assert_eq!((rehearsed.handled, rehearsed.stopped), (1, None));
    assert_eq!(
        stage.history(Context::Shipping, &shipped).await,
        ["ShipmentPrepared"],
        "a dry run does nothing"
    );
    assert_eq!(retry(false).await.handled, 1);
    assert_eq!(stage.history(Context::Shipping, &shipped).await, ["ShipmentPrepared", "ShipmentCancelled"]);
    stage.until_status(order_id, OrderStatus::Cancelled).await;
    // The others that read the orders have their own record of it parked still.
    eventually("it is not degraded any more", async || {
        let degraded = playing.health.degraded();
        degraded.iter().all(|degraded| degraded.check != "sagas.shipping parked").then_some(())
    })
    .await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_makes_more_events_than_one_append_holds_is_committed_in_parts() {
    let stage = Stage::set().await;
    stage.start_provider(&[]).await;
    let names: Vec<String> = (0..1_200).map(|number| format!("SKU-{number}")).collect();
    let skus: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.receive(&skus, 5).await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(stage.place(&skus, 1).await);
    }
    let playing = stage.play(&[]);
    for order_id in orders {
        stage.until_status(order_id, OrderStatus::Confirmed).await;
    }
    let stock = stage.stock(&skus).await;
    assert!(stock.iter().all(|item| (item.available(), item.reserved()) == (0, 5)), "{stock:?}");
    playing.until_ready().await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_come_and_go_and_every_order_settles_once() {
    const ORDERS: usize = 120;
    const PIECES: i64 = 100;
    let stage = Stage::set().await;
    stage.start_provider(&["--decline-rate-percent", "10"]).await;
    stage.receive(&["TEA"], PIECES).await;
    let first = stage.play(&[]);
    let mut orders = Vec::new();
    for number in 0..ORDERS {
        let order_id = stage.place(&["TEA"], 500).await;
        if number % 4 == 0 {
            stage.cancel(order_id).await;
        }
        orders.push(order_id);
    }
    let second = stage.play(&[]);
    second.until_ready().await;
    first.end().await;
    let mut ends = BTreeMap::<&str, i64>::new();
    for order_id in orders {
        let settled = eventually("the order is settled", async || {
            let status = stage.status(order_id).await;
            let open = matches!(status, OrderStatus::Placed | OrderStatus::Cancelling { .. });
            (!open).then_some(status)
        })
        .await;
        *ends.entry(settled.name()).or_default() += 1;
        let requests = stage.payment_history(order_id).await;
        assert!(requests.iter().filter(|event| *event == "PaymentRequested").count() <= 1);
    }
    let tea = stage.stock(&["TEA"]).await.remove(0);
    let confirmed = ends.get("confirmed").copied().unwrap_or_default();
    assert_eq!((tea.reserved(), tea.available()), (confirmed, PIECES - confirmed), "{ends:?}");
    assert_eq!(ends.get("cancelled"), Some(&(ORDERS as i64 / 4)), "{ends:?}");
    second.end().await;
}
