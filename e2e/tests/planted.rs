//! Bugs planted in a running platform: `tradewind verify`, which knows of none of them, names what they did.
//!
//! One platform for all: each bug breaks a property of its own. Read next: `fault/src/bugs.rs`, `docs/reliability.md`.
#![cfg(debug_assertions)] // a release build has no switches

use std::time::Instant;

use e2e::{Platform, Shop, eventually, line};
use fault::trial::{Found, report};
use serde_json::json;
use tokio_postgres::NoTls;

/// Confirmed orders: pieces that are reserved, and that a release too many would take.
const KEPT: usize = 4;

#[tokio::test]
async fn verify_is_clean_in_sound_code_and_names_what_each_planted_bug_did() {
    let platform = Platform::start("planted", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("VASE", 10).await;
    shop.provider_treats("dan", json!({"outcome": "decline", "decline_code": "insufficient_funds"})).await;
    for _ in 0..KEPT {
        let kept = shop.places_order("kim", &[line("VASE", 1, 700)]).await;
        shop.sees_order(kept, "confirmed").await;
    }
    somebody_is_declined(&shop).await;
    shop.sees_stock("VASE", 10, 10 - KEPT as i64, KEPT as i64, 0).await;
    let (code, said) = platform.tradewind(&["verify"]).await;
    assert_eq!(code, 0, "without a bug:\n{said}");

    plant(&platform, "projector::release_in_the_wrong_column");
    let planted = Instant::now();
    somebody_is_declined(&shop).await;
    let what = verify_fails(&platform, "read-model-stock").await;
    let by = "tradewind verify: read-model-stock";
    report("projector::release_in_the_wrong_column", &Found { by, what }, planted.elapsed());

    plant(&platform, "compensation::release_forgotten");
    let planted = Instant::now();
    everything_comes_again_to_the_inventory(&platform).await;
    let what = verify_fails(&platform, "stock").await;
    let by = "tradewind verify: stock";
    report("compensation::release_forgotten", &Found { by, what }, planted.elapsed());
}

fn plant(platform: &Platform, bug: &str) {
    platform.faults().arm(&[], &[bug]).expect("the control file can be written");
}

/// A piece is reserved and released.
async fn somebody_is_declined(shop: &Shop) {
    let declined = shop.places_order("dan", &[line("VASE", 1, 700)]).await;
    shop.sees_order(declined, "rejected").await;
}

/// The reactor's checkpoints are lost, and a new process, which has nothing in its cache, reads from the beginning.
async fn everything_comes_again_to_the_inventory(platform: &Platform) {
    let url = platform.endpoint("database_url");
    let (owner, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    let forget = "DELETE FROM inventory.checkpoints WHERE consumer = 'sagas.inventory'";
    owner.batch_execute(forget).await.expect("the owner may");
    platform.kill("sagas").await;
}

/// The line that says so.
async fn verify_fails(platform: &Platform, property: &str) -> String {
    eventually(&format!("tradewind verify says FAIL of {property}"), || async {
        let (code, said) = platform.tradewind(&["verify"]).await;
        let is_it = |line: &&str| line.split_whitespace().take(2).eq(["FAIL", property]);
        let line = said.lines().find(is_it).filter(|_| code == 1);
        line.map(str::to_owned).ok_or_else(|| format!("exit code {code}:\n{said}"))
    })
    .await
}
