//! Dispatching and delivering shipments that the sagas prepared.

use serde_json::json;
use uuid::Uuid;

use crate::shop::Shop;

#[tokio::test]
async fn a_prepared_shipment_is_dispatched_and_delivered() {
    let shop = Shop::open().await;
    let id = shop.prepared_shipment().await;
    shop.dispatch(&id).await.is(200).at_version(2).at_position("shipping:2");
    shop.deliver(&id).await.is(200).at_version(3).at_position("shipping:3");
    let events = shop.events(&format!("shipment-{id}")).await;
    assert_eq!(
        events[1].1,
        json!({"order_id": id, "carrier": "Royal Mail", "tracking": "RM 123"}),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_shipment_that_is_not_prepared_yet_is_not_found_and_the_response_explains_it() {
    let shop = Shop::open().await;
    let reply = shop.dispatch(&Uuid::now_v7().to_string()).await.problem(404, "shipment_not_found");
    assert!(reply.text("detail").contains("once it is confirmed"), "{reply:?}");
}

#[tokio::test]
async fn a_shipment_takes_its_steps_once_and_in_order() {
    let shop = Shop::open().await;
    let id = shop.prepared_shipment().await;
    let early = shop.deliver(&id).await.problem(409, "shipment_wrong_state");
    assert_eq!(
        (&early.body["shipment_state"], &early.body["allowed_state"]),
        (&json!("prepared"), &json!("dispatched"))
    );
    shop.dispatch(&id).await.is(200);
    shop.dispatch(&id).await.problem(409, "shipment_wrong_state");
    shop.deliver(&id).await.is(200);
    shop.deliver(&id).await.problem(409, "shipment_wrong_state");
}

#[tokio::test]
async fn a_refusal_is_never_from_a_state_that_another_process_has_changed() {
    let here = Shop::open().await;
    let there = here.branch().await;
    let id = here.prepared_shipment().await;
    here.deliver(&id).await.problem(409, "shipment_wrong_state");
    there.deliver(&id).await.problem(409, "shipment_wrong_state");
    there.dispatch(&id).await.is(200);
    here.deliver(&id).await.is(200).at_version(3);
}
