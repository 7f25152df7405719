//! Where nothing is wrong, nothing is found: on a stopped platform, under load, with repeated records.

use e2e::{Platform, Shop, line};
use events::Context;
use futures::{StreamExt, stream};
use serde_json::json;
use uuid::Uuid;

use super::filled::{filled, schemas};

#[tokio::test]
async fn a_platform_that_took_orders_to_every_end_verifies_clean() {
    let verdict = filled().await.copy_database().await.verify(&[]).await;
    let properties = verdict.is_clean();
    assert_eq!(properties["log"]["counts"]["logs"], json!(Context::ALL.len()));
    assert_eq!(properties["log"]["counts"]["events"], properties["topics"]["counts"]["records"]);
    assert_eq!(properties["log"]["counts"]["events"], properties["progress"]["counts"]["positions"]);
    assert_eq!(properties["log"]["counts"]["caused, without dependencies"], json!(null));
    for table in ["orders", "processes", "payments"] {
        let rows = &properties[format!("read-model-{table}")]["counts"]["rows"];
        assert!(rows.as_i64() >= Some(7), "{table}: {rows}");
    }
    assert_eq!(properties["stock"]["counts"]["skus"], json!(1));
    let ends = json!({
        "orders": 8, "delivered": 1, "cancelled": 2, "rejected": 2,
        "waiting for dispatch": 2, "waiting for deliver": 1,
    });
    assert_eq!(properties["processes"]["counts"], ends, "each has ended, or waits for a step that is named");
    let folds = json!({
        "orders": ["orders", "order_events", "processes", "sales"],
        "inventory": ["order_events", "processes", "stock"],
        "payments": ["order_events", "processes", "payments"],
        "shipping": ["order_events", "processes"],
    });
    assert_eq!(verdict.json["second_folds"], folds);
}

#[tokio::test]
async fn a_record_that_came_twice_with_the_same_bytes_is_counted_and_accepted() {
    let copy = filled().await.copy_all(|record| vec![record.clone(), record]).await;
    // The copy's offsets are twice the old ones, and so are the checkpoints of its consumers.
    for schema in schemas() {
        copy.execute(&format!("UPDATE {schema}.checkpoints SET next_offset = next_offset * 2")).await;
    }
    let verdict = copy.verify(&[]).await;
    let properties = verdict.is_clean();
    assert_eq!(properties["topics"]["counts"]["repeated"], properties["log"]["counts"]["events"]);
}

#[tokio::test]
async fn a_platform_under_load_verifies_clean_each_time() {
    let platform = Platform::start("verify-load", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("VASE", 150).await;
    let orders: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    let placing =
        stream::iter(orders.clone()).map(|id| place(&shop, id)).buffer_unordered(4).collect::<Vec<()>>();
    tokio::pin!(placing);
    let (mut runs, mut is_placing) = (0, true);
    while is_placing || runs < 5 {
        let verifying = platform.tradewind(&["verify"]);
        tokio::pin!(verifying);
        let (code, output) = loop {
            tokio::select! {
                verdict = &mut verifying => break verdict,
                _ = &mut placing, if is_placing => is_placing = false,
            }
        };
        assert_eq!(code, 0, "run {runs}:\n{output}");
        runs += 1;
    }
    for id in orders {
        shop.waits_for_outcome(id).await;
    }
    let (code, output) = platform.tradewind(&["verify"]).await;
    assert_eq!(code, 0, "{output}");
}

async fn place(shop: &Shop, id: Uuid) {
    shop.post("/v1/orders", Shop::order(id, "kim", &[line("VASE", 1, 700)])).await.accepted();
    // One order in a few is cancelled, whatever its status is by then.
    if id.as_u128().is_multiple_of(3) {
        let _ = shop.cancels(id).await;
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_neither_clean_nor_wrong() {
    let mut copy = filled().await.copy_database().await;
    copy.topic_prefix = "missing.".to_owned();
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.code, 2, "{verdict:#?}");
    assert!(
        verdict.errors.contains("not checked") && verdict.errors.contains("missing.orders.events"),
        "{verdict:#?}"
    );
}
