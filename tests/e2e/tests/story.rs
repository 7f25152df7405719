//! The whole fulfilment and each unhappy branch, over HTTP, with every role in its own process.

use e2e::{Platform, line};
use events::Context;
use serde_json::{Value, json};
use testkit::read_topic;

#[tokio::test]
async fn an_order_travels_from_placed_to_delivered_and_every_fact_is_on_kafka_in_order() {
    let mut platform = Platform::start("happy", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("TEAPOT", 10).await;

    let order = shop.places_order("alice", &[line("TEAPOT", 2, 1250), line("TEAPOT", 1, 1000)]).await;
    let confirmed = shop.sees_order(order, "confirmed").await;
    assert_eq!(confirmed["total_minor"], 3500);
    shop.sees_stock("TEAPOT", 10, 7, 3, 0).await;
    shop.sees_payment(order, "authorised").await;

    shop.dispatches(order).await.accepted();
    let shipped = shop.sees_order(order, "shipped").await;
    assert_eq!(shipped["shipment"]["carrier"], "Royal Mail");
    assert_eq!(shop.sees_payment(order, "captured").await["captured_minor"], 3500);
    shop.sees_stock("TEAPOT", 10, 7, 0, 3).await;

    shop.delivers(order).await;
    shop.sees_order(order, "delivered").await;
    assert_eq!(shop.provider_payment(order).await.accepted()["state"], "captured");

    let of_order: Vec<_> = read_topic(&platform.topic(Context::Orders))
        .await
        .into_iter()
        .filter(|record| record.key == format!("order-{order}"))
        .map(|record| {
            let event: Value = serde_json::from_slice(&record.value).expect("a record is JSON");
            (event["version"].as_i64(), event["type"].as_str().unwrap_or("").to_owned())
        })
        .collect();
    let story = ["OrderPlaced", "OrderConfirmed", "OrderShipped", "OrderDelivered"];
    let wanted: Vec<_> = (1..)
        .zip(story)
        .map(|(version, name)| (Some(version), format!("tradewind.orders.{name}.v1")))
        .collect();
    assert_eq!(of_order, wanted);
    assert_eq!(platform.stop().await, 0);
}

#[tokio::test]
async fn whatever_fails_is_compensated_and_stock_and_money_agree() {
    let platform = Platform::start("unhappy", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("LAMP", 100).await;
    shop.provider_treats("dan", json!({"outcome": "decline", "decline_code": "insufficient_funds"})).await;
    shop.provider_treats("carol", json!({"capture_at_once": true})).await;
    shop.provider_treats("tim", json!({"fault": "time_out_after_acceptance"})).await;

    let short = shop.places_order("sam", &[line("LAMP", 101, 100)]).await;
    // Alone: there is no order between streams, and another's reservation would change what is available.
    let order = shop.sees_order(short, "rejected").await;
    assert_eq!(order["rejection"]["code"], "out_of_stock");
    assert_eq!(order["rejection"]["shortages"], json!([{"sku": "LAMP", "wanted": 101, "available": 100}]));

    let declined = shop.places_order("dan", &[line("LAMP", 1, 100)]).await;
    let refunded = shop.places_order("carol", &[line("LAMP", 2, 100)]).await;
    let voided = shop.places_order("vera", &[line("LAMP", 3, 100)]).await;
    let asked = shop.places_order("tim", &[line("LAMP", 4, 100)]).await;
    let gift = shop.places_order("gina", &[line("LAMP", 6, 0)]).await;

    let order = shop.sees_order(declined, "rejected").await;
    assert_eq!(order["rejection"], json!({"code": "payment_declined", "decline_code": "insufficient_funds"}));

    shop.sees_order(refunded, "confirmed").await;
    shop.cancels(refunded).await.accepted();
    shop.sees_order(refunded, "cancelled").await;
    assert_eq!(shop.sees_payment(refunded, "refunded").await["refunded_minor"], 200);
    assert_eq!(shop.provider_payment(refunded).await.accepted()["state"], "refunded");

    shop.sees_order(voided, "confirmed").await;
    shop.cancels(voided).await.accepted();
    shop.sees_order(voided, "cancelled").await;
    shop.sees_payment(voided, "voided").await;

    shop.sees_order(asked, "confirmed").await;
    shop.sees_payment(asked, "authorised").await;

    shop.sees_order(gift, "confirmed").await;
    shop.sees_payment(gift, "waived").await;

    // Only tim's four and gina's six are still held.
    shop.sees_stock("LAMP", 100, 90, 10, 0).await;
}

/// Alone on its platform: a deadline this short would reject, on a busy machine, orders that were only slow.
#[tokio::test]
async fn an_order_whose_payment_never_answers_is_rejected_at_its_deadline_and_its_authorisation_voided() {
    let platform = Platform::start("expired", &["--payment-deadline-seconds", "3"]).await;
    let shop = platform.shop();
    shop.receives_stock("LAMP", 10).await;
    shop.provider_treats("nora", json!({"fault": "time_out_before_acceptance"})).await;

    let expired = shop.places_order("nora", &[line("LAMP", 5, 100)]).await;
    let order = shop.sees_order(expired, "rejected").await;
    assert_eq!(order["rejection"]["code"], "payment_expired");
    shop.sees_payment(expired, "voided").await;
    assert_eq!(shop.provider_payment(expired).await.accepted()["state"], "voided");
    shop.sees_stock("LAMP", 10, 10, 0, 0).await;
}

#[tokio::test]
async fn a_cancelled_order_cannot_be_dispatched_and_a_dispatched_one_cannot_be_cancelled() {
    let platform = Platform::start("cancel", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("CLOCK", 10).await;

    let cancelled = shop.places_order("ann", &[line("CLOCK", 1, 500)]).await;
    shop.sees_order(cancelled, "confirmed").await;
    shop.cancels(cancelled).await.accepted();
    shop.sees_order(cancelled, "cancelled").await;
    let refusal = shop.dispatches(cancelled).await.refused(409);
    assert_eq!(refusal, "shipment_wrong_state");

    let shipped = shop.places_order("bob", &[line("CLOCK", 1, 500)]).await;
    shop.sees_order(shipped, "confirmed").await;
    shop.dispatches(shipped).await.accepted();
    shop.sees_order(shipped, "shipped").await;
    let refusal = shop.cancels(shipped).await.refused(409);
    assert_eq!(refusal, "order_cannot_be_cancelled");

    shop.sees_stock("CLOCK", 10, 9, 0, 1).await;
    // Of two that were confirmed, one was cancelled.
    let today = shop.get(&format!("/v1/orders/{shipped}")).await.accepted()["placed_at"].clone();
    let today = today.as_str().expect("a date").get(..10).expect("a date has ten characters").to_owned();
    shop.sees_daily_sales(&[(&today, 1, 500)]).await;
}
