//! Readiness is told from progress, and names the culprit: something holds one part up on a running platform, and that part
//! says so, and no other. What the sagas say is in `sagas/tests/engines/readiness.rs`.

use e2e::{Platform, eventually, line, readiness};
use serde_json::Value;

#[tokio::test]
async fn what_does_not_get_on_is_named_and_nothing_else_is() {
    let platform = Platform::start("readiness", &[]).await;
    platform.shop().receives_stock("VASE", 10).await;
    an_event_that_waits_to_be_relayed_is_named_with_its_age(&platform).await;
    a_projection_whose_checkpoint_stands_still_is_named(&platform).await;
}

/// Somebody has the lease and does nothing.
async fn an_event_that_waits_to_be_relayed_is_named_with_its_age(platform: &Platform) {
    let (shop, database) = (platform.shop(), platform.database().await);
    let take = "UPDATE orders.relay SET holder = 'somebody', lease_epoch = lease_epoch + 1,
                       lease_expires_at = clock_timestamp() + interval '280 seconds'";
    database.batch_execute(take).await.expect("the owner may");
    let order_id = shop.places_order("ada", &[line("VASE", 1, 700)]).await;
    let failing = fails(platform, "relay", "relay orders", "are not relayed").await;
    assert_eq!(failing.len(), 1, "the other logs are relayed: {failing:?}");
    let reason = failing[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("the oldest, position 1,") && reason.contains("held by somebody"), "{reason}");
    let give_back = "UPDATE orders.relay SET lease_expires_at = clock_timestamp()";
    database.batch_execute(give_back).await.expect("the owner may");
    shop.sees_order(order_id, "confirmed").await;
    is_ready(platform, "relay").await;
}

/// Somebody holds the table, and no checkpoint moves.
async fn a_projection_whose_checkpoint_stands_still_is_named(platform: &Platform) {
    let (shop, mut database) = (platform.shop(), platform.database().await);
    let somebody = database.transaction().await.expect("a transaction");
    let hold = "LOCK TABLE readmodel.checkpoints IN EXCLUSIVE MODE";
    somebody.batch_execute(hold).await.expect("the owner may");
    let order_id = shop.places_order("ben", &[line("VASE", 1, 700)]).await;
    let failing = fails(platform, "query-side", "projection orders", "and nothing was done for").await;
    let reason = failing.iter().find(|failing| failing["check"] == "projection orders");
    let reason = reason.expect("it was looked for")["reason"].to_string();
    assert!(reason.contains(".events/"), "it says where: {reason}");
    for role in ["relay", "sagas"] {
        is_ready(platform, role).await;
    }
    somebody.rollback().await.expect("the table is free again");
    shop.sees_order(order_id, "confirmed").await;
    is_ready(platform, "query-side").await;
}

/// Every part that fails, once this one does and says so.
async fn fails(platform: &Platform, role: &str, part: &str, why: &str) -> Vec<Value> {
    let url = platform.ops_url(role);
    eventually(&format!("{role}: {part} {why}"), || async {
        let (status, told) = readiness(&url).await?;
        let failing = told["failing"].as_array().cloned().unwrap_or_default();
        let says = |failing: &Value| failing["check"] == part && failing["reason"].to_string().contains(why);
        if status == 503 && failing.iter().any(says) { Ok(failing) } else { Err(format!("{status} {told}")) }
    })
    .await
}

async fn is_ready(platform: &Platform, role: &str) {
    let url = platform.ops_url(role);
    eventually(&format!("{role} is ready"), || async {
        let (status, told) = readiness(&url).await?;
        if status == 200 && told["status"] == "ready" { Ok(()) } else { Err(format!("{status} {told}")) }
    })
    .await;
}
