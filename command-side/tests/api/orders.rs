//! Placing and cancelling orders.

use events::Context;
use serde_json::json;
use uuid::Uuid;

use crate::shop::{Shop, an_order};

#[tokio::test]
async fn a_placed_order_is_created_with_its_location_version_and_position() {
    let shop = Shop::open().await;
    let reply = shop.place(an_order()).await.is(201).at_version(1).at_position("orders:1");
    let order_id = reply.text("order_id");
    assert_eq!(reply.header("location"), Some(format!("/v1/orders/{order_id}").as_str()));
    assert_eq!(Uuid::parse_str(&order_id).expect("a UUID").get_version_num(), 7);

    let events = shop.events(&format!("order-{order_id}")).await;
    let (event_type, fields, _) = &events[0];
    assert_eq!((events.len(), event_type.as_str()), (1, "OrderPlaced"));
    assert_eq!(fields["lines"], an_order()["lines"]);
    assert_eq!(fields["shipping_address"], an_order()["shipping_address"]);
    assert_eq!((&fields["customer_id"], &fields["total_minor"]), (&json!("17850"), &json!(2208)));
}

#[tokio::test]
async fn an_order_keeps_the_id_and_the_time_that_the_client_gives_it() {
    let shop = Shop::open().await;
    let order_id = Uuid::now_v7().to_string();
    let mut order = an_order();
    order["order_id"] = json!(order_id);
    order["placed_at"] = json!("2010-12-01T08:26:00+02:00");
    assert_eq!(shop.place(order).await.is(201).text("order_id"), order_id);
    let events = shop.events(&format!("order-{order_id}")).await;
    assert_eq!(events[0].1["placed_at"], "2010-12-01T06:26:00Z");
}

#[tokio::test]
async fn a_gift_is_an_order_of_total_zero() {
    let shop = Shop::open().await;
    let mut order = an_order();
    order["lines"] = json!([{"sku": "GIFT", "quantity": 1, "unit_price_minor": 0}]);
    shop.place(order).await.is(201);
}

#[tokio::test]
async fn an_order_of_two_thousand_lines_is_accepted() {
    let shop = Shop::open().await;
    let mut order = an_order();
    // 64 characters of 4 bytes each: the largest event that a client can cause.
    let line =
        |n: usize| json!({"sku": format!("{n:04}{}", "😀".repeat(60)), "quantity": 1, "unit_price_minor": 1});
    order["lines"] = (0..2_000).map(line).collect();
    shop.place(order).await.is(201);
}

#[tokio::test]
async fn text_that_looks_like_sql_is_stored_as_text() {
    let shop = Shop::open().await;
    let text = r#"'; DROP TABLE events; -- \u0027 $1 %s {} ☃"#;
    let mut order = an_order();
    order["customer_id"] = json!(text);
    order["shipping_address"] = json!(text);
    let order_id = shop.place(order).await.is(201).text("order_id");
    let events = shop.events(&format!("order-{order_id}")).await;
    assert_eq!((&events[0].1["customer_id"], &events[0].1["shipping_address"]), (&json!(text), &json!(text)));
}

#[tokio::test]
async fn an_order_cannot_be_placed_twice() {
    let shop = Shop::open().await;
    let mut order = an_order();
    order["order_id"] = json!(Uuid::now_v7());
    shop.place(order.clone()).await.is(201);
    shop.place(order).await.problem(409, "order_already_exists");
    assert_eq!(shop.log_length(Context::Orders).await, 1);
}

#[tokio::test]
async fn a_cancellation_is_accepted_and_starts() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    shop.cancel(&order_id).await.is(202).at_version(2).at_position("orders:2");
    assert_eq!(
        shop.event_types(&format!("order-{order_id}")).await,
        ["OrderPlaced", "OrderCancellationRequested"]
    );
}

#[tokio::test]
async fn cancelling_again_changes_nothing_and_names_the_last_event() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    shop.cancel(&order_id).await.is(202);
    shop.placed().await;
    shop.cancel(&order_id).await.is(202).at_version(2).at_position("orders:2");
    assert_eq!(shop.log_length(Context::Orders).await, 3);
}

#[tokio::test]
async fn an_order_that_was_not_placed_cannot_be_cancelled() {
    let shop = Shop::open().await;
    shop.cancel(&Uuid::now_v7().to_string()).await.problem(404, "order_not_found");
}

#[tokio::test]
async fn every_event_carries_who_caused_it() {
    let shop = Shop::open().await;
    let (correlation_id, trace_id) = (Uuid::now_v7(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let reply = shop
        .post("/v1/orders")
        .header("X-Correlation-Id", correlation_id.to_string())
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .key("first-try")
        .json(&an_order())
        .send()
        .await
        .is(201);
    assert_eq!(reply.header("x-correlation-id"), Some(correlation_id.to_string().as_str()));
    let events = shop.events(&format!("order-{}", reply.text("order_id"))).await;
    let metadata = &events[0].2;
    assert_eq!((metadata.correlation_id, metadata.actor.as_str()), (correlation_id, "http"));
    assert_eq!(metadata.idempotency_key.as_deref(), Some("first-try"));
    assert!(metadata.traceparent.as_ref().is_some_and(|parent| parent.contains(trace_id)), "{metadata:?}");
}
