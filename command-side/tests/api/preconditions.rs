//! `If-Match`: a command is executed only at the version that the client saw.

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::ask::Reply;
use crate::shop::{Shop, an_order};

async fn cancel(shop: &Shop, order_id: &str, etag: &str) -> Reply {
    let body = json!({"reason": "changed my mind"});
    shop.post(&format!("/v1/orders/{order_id}/cancel")).if_match(etag).json(&body).send().await
}

#[tokio::test]
async fn a_command_for_another_version_is_refused_with_the_current_one() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    let reply = cancel(&shop, &order_id, "\"2\"").await.problem(412, "version_mismatch");
    assert_eq!(reply.body["current_version"], 1);
    reply.names("If-Match", "another version", "\"1\"");
    assert_eq!(shop.event_types(&format!("order-{order_id}")).await, ["OrderPlaced"]);
    cancel(&shop, &order_id, "\"1\"").await.is(202).at_version(2);
}

#[tokio::test]
async fn a_star_requires_that_the_stream_exists() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    cancel(&shop, &order_id, "*").await.is(202);
    cancel(&shop, &Uuid::now_v7().to_string(), "*").await.problem(412, "version_mismatch");
    let reply = shop.post("/v1/orders").if_match("*").json(&an_order()).send().await;
    reply.problem(412, "version_mismatch");
}

#[tokio::test]
async fn the_version_is_the_one_in_the_log_and_not_the_cached_one() {
    let here = Shop::open().await;
    let there = here.branch().await;
    here.receive("TEACUP", 1).await.is(200).at_version(2);
    there.receive("TEACUP", 1).await.is(200).at_version(3);
    let receive = async |etag: &str| {
        here.post("/v1/stock/TEACUP/receive").if_match(etag).json(&json!({"quantity": 1})).send().await
    };
    receive("\"2\"").await.problem(412, "version_mismatch");
    receive("\"3\"").await.is(200).at_version(4);
}

#[tokio::test]
async fn of_many_requests_for_the_same_version_one_succeeds() {
    let shop = Shop::open().await;
    shop.receive("TEACUP", 1).await.is(200).at_version(2);
    let receive = async |_: usize| {
        shop.post("/v1/stock/TEACUP/receive").if_match("\"2\"").json(&json!({"quantity": 1})).send().await
    };
    let replies = join_all((0..20).map(receive)).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((done.len(), refused.len()), (1, 19));
    for reply in refused {
        reply.problem(412, "version_mismatch");
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_before_its_version_is_checked() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    let attempt = async |_: usize| {
        let body = json!({"reason": "changed my mind"});
        let path = format!("/v1/orders/{order_id}/cancel");
        shop.post(&path).key("k").if_match("\"1\"").json(&body).send().await.is(202).at_version(2)
    };
    join_all((0..20).map(attempt)).await;
    attempt(0).await.replayed(true);
}

#[tokio::test]
async fn a_version_mismatch_does_not_use_up_the_key() {
    let shop = Shop::open().await;
    let order_id = shop.placed().await;
    let attempt = async |etag: &str| {
        let body = json!({"reason": "changed my mind"});
        shop.post(&format!("/v1/orders/{order_id}/cancel")).key("k").if_match(etag).json(&body).send().await
    };
    attempt("\"7\"").await.problem(412, "version_mismatch");
    attempt("\"1\"").await.is(202);
}
