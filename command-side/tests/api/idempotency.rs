//! A repeated request gets its first response and has no effect.

use events::Context;
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::ask::Reply;
use crate::shop::{Shop, an_order};

/// The parts of an answer that a repetition must repeat.
fn essentials(reply: &Reply) -> (u16, String, Vec<Option<String>>) {
    let headers = ["content-type", "etag", "location"];
    (reply.status, reply.text.clone(), headers.map(|name| reply.header(name).map(str::to_owned)).to_vec())
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_places_no_second_order() {
    let shop = Shop::open().await;
    let place = async |key: &str| shop.post("/v1/orders").key(key).json(&an_order()).send().await;
    let first = place("basket-1").await.is(201).replayed(false);
    shop.placed().await;
    let again = place("basket-1").await.is(201).replayed(true);
    assert_eq!(essentials(&again), essentials(&first));
    let quoted = place("\"basket-1\"").await.is(201).replayed(true);
    assert_eq!(essentials(&quoted), essentials(&first));
    assert_eq!(shop.log_length(Context::Orders).await, 2);
}

#[tokio::test]
async fn fifty_parallel_requests_with_one_key_place_one_order_and_get_equal_answers() {
    let shop = Shop::open().await;
    let branch = shop.branch().await;
    let place = async |n: usize| {
        let shop = if n.is_multiple_of(2) { &shop } else { &branch };
        shop.post("/v1/orders").key("basket-1").json(&an_order()).send().await.is(201)
    };
    let replies = join_all((0..50).map(place)).await;
    for reply in &replies {
        assert_eq!(essentials(reply), essentials(&replies[0]));
    }
    let firsts = replies.iter().filter(|reply| reply.header("idempotency-replayed").is_none()).count();
    assert_eq!((firsts, shop.log_length(Context::Orders).await), (1, 1));
}

#[tokio::test]
async fn fifty_parallel_requests_for_one_order_id_place_it_once() {
    let shop = Shop::open().await;
    let mut order = an_order();
    order["order_id"] = json!(Uuid::now_v7());
    let keyed =
        join_all((0..50).map(async |_| shop.post("/v1/orders").key("k").json(&order).send().await.is(201)))
            .await;
    assert!(keyed.iter().all(|reply| essentials(reply) == essentials(&keyed[0])), "{keyed:?}");
    let others = join_all((0..20).map(async |_| shop.place(order.clone()).await)).await;
    for reply in others {
        reply.problem(409, "order_already_exists");
    }
    assert_eq!(shop.log_length(Context::Orders).await, 1);
}

#[tokio::test]
async fn a_key_for_another_body_or_path_is_refused() {
    let shop = Shop::open().await;
    shop.post("/v1/stock/A/receive").key("k").json(&json!({"quantity": 1})).send().await.is(200);
    for (path, quantity) in [("/v1/stock/A/receive", 2), ("/v1/stock/B/receive", 1)] {
        let reply = shop.post(path).key("k").json(&json!({"quantity": quantity})).send().await;
        reply.problem(422, "idempotency_key_reused").names("Idempotency-Key", "another request", "a new key");
    }
    assert_eq!(shop.log_length(Context::Inventory).await, 2);
}

#[tokio::test]
async fn parallel_requests_with_one_key_and_different_bodies_get_one_success() {
    let shop = Shop::open().await;
    let receive = async |quantity: i64| {
        shop.post("/v1/stock/A/receive").key("k").json(&json!({"quantity": quantity})).send().await
    };
    let replies = join_all((1..=20).map(receive)).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((done.len(), refused.len()), (1, 19));
    for reply in refused {
        reply.problem(422, "idempotency_key_reused");
    }
}

#[tokio::test]
async fn a_refusal_is_repeated_even_when_it_would_be_accepted_now() {
    let shop = Shop::open().await;
    let id = shop.prepared_shipment().await;
    let deliver = async |key: &str| shop.post(&format!("/v1/shipments/{id}/deliver")).key(key).send().await;
    let first = deliver("a").await.problem(409, "shipment_wrong_state").replayed(false);
    shop.dispatch(&id).await.is(200);
    let again = deliver("a").await.problem(409, "shipment_wrong_state").replayed(true);
    assert_eq!(essentials(&again), essentials(&first));
    deliver("b").await.is(200);
}

#[tokio::test]
async fn a_malformed_request_does_not_use_up_its_key() {
    let shop = Shop::open().await;
    shop.post("/v1/orders").key("k").raw("{").send().await.problem(400, "malformed_json");
    shop.post("/v1/orders").key("k").json(&json!({})).send().await.problem(400, "invalid_body");
    shop.post("/v1/orders").key("k").json(&an_order()).send().await.is(201).replayed(false);
}

#[tokio::test]
async fn a_command_that_changed_nothing_is_repeated_too() {
    let shop = Shop::open().await;
    let register = async || shop.post("/v1/stock/A/register").key("k").send().await.is(200).at_version(1);
    shop.receive("B", 1).await.is(200);
    shop.post("/v1/stock/A/register").send().await.is(200).at_position("inventory:3");
    register().await.replayed(false).at_position("inventory:3");
    shop.receive("A", 1).await.is(200);
    register().await.replayed(true).at_position("inventory:3");
}
