//! Registering, receiving and adjusting stock, also of SKUs with odd names.

use serde_json::json;

use crate::shop::Shop;

#[tokio::test]
async fn the_first_receipt_registers_the_sku() {
    let shop = Shop::open().await;
    shop.receive("TEACUP", 12).await.is(200).at_version(2).at_position("inventory:2");
    shop.receive("TEACUP", 5).await.is(200).at_version(3).at_position("inventory:3");
    assert_eq!(shop.event_types("stock-TEACUP").await, ["SkuRegistered", "StockReceived", "StockReceived"]);
}

#[tokio::test]
async fn a_sku_is_registered_once_with_or_without_a_body() {
    let shop = Shop::open().await;
    let path = "/v1/stock/TEACUP/register";
    shop.post(path).send().await.is(200).at_version(1).at_position("inventory:1");
    shop.receive("LANTERN", 1).await.is(200);
    for body in [json!({}), json!(null)] {
        shop.post(path).json(&body).send().await.is(200).at_version(1).at_position("inventory:1");
    }
    assert_eq!(shop.event_types("stock-TEACUP").await, ["SkuRegistered"]);
}

#[tokio::test]
async fn a_receipt_keeps_its_reference() {
    let shop = Shop::open().await;
    let body = json!({"quantity": 3, "reference": "delivery note 7"});
    shop.post("/v1/stock/TEACUP/receive").json(&body).send().await.is(200);
    let events = shop.events("stock-TEACUP").await;
    assert_eq!(events[1].1["reference"], "delivery note 7");
}

#[tokio::test]
async fn a_count_is_put_right_up_and_down() {
    let shop = Shop::open().await;
    shop.receive("TEACUP", 10).await.is(200);
    shop.adjust("TEACUP", -3).await.is(200).at_version(3);
    shop.adjust("TEACUP", 2).await.is(200).at_version(4);
    let taken = shop.adjust("TEACUP", -10).await.problem(409, "not_enough_stock");
    assert_eq!((&taken.body["wanted"], &taken.body["available"]), (&json!(10), &json!(9)));
}

#[tokio::test]
async fn stock_that_is_not_there_cannot_be_adjusted() {
    let shop = Shop::open().await;
    shop.adjust("TEACUP", 1).await.problem(404, "unknown_sku");
    shop.receive("TEACUP", 1).await.is(200);
    shop.adjust("TEACUP", 0).await.problem(422, "nothing_to_adjust").names("delta", "0", "other than 0");
    shop.adjust("TEACUP", i64::MIN).await.problem(409, "not_enough_stock");
    shop.adjust("TEACUP", i64::MAX).await.problem(409, "too_much_stock");
}

#[tokio::test]
async fn a_sku_may_be_any_text_once_it_is_percent_encoded() {
    let shop = Shop::open().await;
    let longest = "é".repeat(64);
    for (in_path, sku) in [
        ("TEA%2FCUP", "TEA/CUP"),
        ("two%20words", "two words"),
        ("100%25", "100%"),
        ("%C3%A9t%C3%A9", "été"),
        ("%F0%9F%98%80", "😀"),
        ("order-1", "order-1"),
        ("a%3Fb%23c%22d", "a?b#c\"d"),
        ("%27%3B%20DROP%20TABLE%20events%3B--", "'; DROP TABLE events;--"),
        (longest.as_str(), longest.as_str()),
    ] {
        assert_eq!(shop.receive(in_path, 1).await.is(200).text("sku"), sku);
        assert_eq!(shop.event_types(&format!("stock-{sku}")).await.len(), 2, "{sku}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_sku_is_refused() {
    let shop = Shop::open().await;
    let too_long = "x".repeat(65);
    for (in_path, detail) in [
        ("", "must have 1 to 64 characters, has 0"),
        (too_long.as_str(), "must have 1 to 64 characters, has 65"),
        ("tab%09", "must not contain control characters"),
        ("nul%00", "must not contain control characters"),
        ("del%7F", "must not contain control characters"),
        ("c1%C2%85", "must not contain control characters"),
        ("%FF%FE", "is not UTF-8"),
        ("%C3%28", "is not UTF-8"),
    ] {
        let reply = shop.receive(in_path, 1).await.problem(400, "invalid_path");
        assert_eq!(reply.body["errors"][0]["field"], "sku", "{reply:?}");
        assert_eq!(reply.body["errors"][0]["detail"], detail, "{in_path}: {reply:?}");
    }
    shop.receive("a/b", 1).await.problem(404, "no_such_route");
}
