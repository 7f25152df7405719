//! Bugs planted in a running platform: `tradewind verify`, which knows of none of them, names what they did.
//!
//! One platform for all: each bug breaks a property of its own. Read next: `tests/fault/src/mutants.rs`, `docs/reliability.md`.
#![cfg(debug_assertions)] // a release build has no switches

use std::time::Instant;

use e2e::kafka::{forget_group, produce, read_records};
use e2e::{Platform, Shop, eventually, line};
use events::Context;
use fault::trial::{Found, report};
use serde_json::json;
use tokio_postgres::{Client, NoTls};

/// Confirmed orders: pieces that are reserved, and that a release too many would take.
const KEPT: usize = 4;

#[tokio::test]
async fn verify_is_clean_in_sound_code_and_names_what_each_mutant_did() {
    let mut platform = Platform::start("planted", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("VASE", 10).await;
    shop.receives_stock("JUG", 10).await;
    shop.provider_treats("dan", json!({"outcome": "decline", "decline_code": "insufficient_funds"})).await;
    for _ in 0..KEPT {
        let kept = shop.places_order("kim", &[line("VASE", 1, 700)]).await;
        shop.sees_order(kept, "confirmed").await;
    }
    somebody_is_declined(&shop).await;
    shop.sees_stock("VASE", 10, 10 - KEPT as i64, KEPT as i64, 0).await;
    let (code, said) = platform.tradewind(&["verify"]).await;
    assert_eq!(code, 0, "without a bug:\n{said}");

    plant(&platform, &["projector::release_in_the_wrong_column"]);
    let planted = Instant::now();
    somebody_is_declined(&shop).await;
    verify_finds(&platform, "projector::release_in_the_wrong_column", "read-model-stock", planted).await;

    plant(&platform, &["compensation::release_forgotten"]);
    let planted = Instant::now();
    everything_comes_again_to_the_inventory(&mut platform).await;
    verify_finds(&platform, "compensation::release_forgotten", "stock", planted).await;

    plant(&platform, &["payments::charged_again_with_a_new_key"]);
    let planted = Instant::now();
    an_answer_of_the_provider_is_lost(&shop).await;
    verify_finds(&platform, "payments::charged_again_with_a_new_key", "money", planted).await;

    // Either guard would do without the other.
    plant(&platform, &["consumer::duplicates_handed_on", "projector::version_not_checked"]);
    let planted = Instant::now();
    records_come_twice(&platform).await;
    verify_finds(&platform, "consumer::duplicates_handed_on", "read-model-processes", planted).await;

    // Last: every read model may lack what the passed batches held.
    plant(&platform, &["projector::checkpoint_before_effect"]);
    let planted = Instant::now();
    the_payments_table_is_away_for_a_moment(&platform, &shop).await;
    verify_finds(&platform, "projector::checkpoint_before_effect", "read-model-payments", planted).await;
}

fn plant(platform: &Platform, bugs: &[&str]) {
    platform.faults().arm(&[], bugs).expect("the control file can be written");
}

/// A piece is reserved and released.
async fn somebody_is_declined(shop: &Shop) {
    let declined = shop.places_order("dan", &[line("VASE", 1, 700)]).await;
    shop.sees_order(declined, "rejected").await;
}

async fn an_answer_of_the_provider_is_lost(shop: &Shop) {
    shop.provider_treats("tim", json!({"fault": "time_out_after_acceptance"})).await;
    let order = shop.places_order("tim", &[line("JUG", 1, 300)]).await;
    shop.sees_order(order, "confirmed").await;
}

/// The read models' consumer passes what it could not write.
async fn the_payments_table_is_away_for_a_moment(platform: &Platform, shop: &Shop) {
    let owner = owner(platform.database_url()).await;
    owner
        .batch_execute("ALTER TABLE readmodel.payments RENAME TO payments_away")
        .await
        .expect("the owner may");
    let order = shop.places_order("kim", &[line("JUG", 1, 300)]).await;
    let (topic, stream) = (platform.topic(Context::Payments), format!("payment-{order}"));
    eventually("the read models have passed the events of the payment", || async {
        let passed =
            "SELECT max(position) FILTER (WHERE stream = $2 AND type = 'PaymentAuthorised') IS NOT NULL
                             AND max(position) = (SELECT max(last_position) FROM readmodel.checkpoints
                                                   WHERE consumer = 'query-side' AND topic = $1)
                        FROM payments.events";
        let row = owner.query_one(passed, &[&topic, &stream]).await.map_err(|error| error.to_string())?;
        let has_passed: Option<bool> = row.get(0);
        if has_passed == Some(true) { Ok(()) } else { Err("some are left".to_owned()) }
    })
    .await;
    owner
        .batch_execute("ALTER TABLE readmodel.payments_away RENAME TO payments")
        .await
        .expect("the owner may");
}

async fn records_come_twice(platform: &Platform) {
    let (brokers, topic) = (platform.kafka_brokers().to_owned(), platform.topic(Context::Orders));
    let repeat = move || produce(&brokers, &topic, &read_records(&brokers, &topic, usize::MAX)?);
    tokio::task::spawn_blocking(repeat).await.expect("repeating does not panic").expect("Kafka takes them");
}

async fn owner(url: &str) -> Client {
    let (owner, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    owner
}

/// The reactor's checkpoints are lost, and Kafka, which would tell that they have gone back, has forgotten the sagas. A
/// new process, which has nothing in its cache, reads from the beginning.
async fn everything_comes_again_to_the_inventory(platform: &mut Platform) {
    platform.stop().await;
    let prefix = platform.topic(Context::Orders).replace(Context::Orders.topic(), "");
    let (brokers, group) = (platform.kafka_brokers().to_owned(), format!("{prefix}sagas"));
    eventually("Kafka forgets the sagas", || forget_group(&brokers, &group)).await;
    let forget = "DELETE FROM inventory.checkpoints WHERE consumer = 'sagas.inventory'";
    owner(platform.database_url()).await.batch_execute(forget).await.expect("the owner may");
    platform.start_again();
    platform.wait_until_ready().await;
}

/// Adds to the report what the line says.
async fn verify_finds(platform: &Platform, bug: &str, property: &'static str, planted: Instant) {
    let what = eventually(&format!("tradewind verify says FAIL of {property}"), || async {
        let (code, said) = platform.tradewind(&["verify"]).await;
        let is_it = |line: &&str| line.split_whitespace().take(2).eq(["FAIL", property]);
        let line = said.lines().find(is_it).filter(|_| code == 1);
        line.map(str::to_owned).ok_or_else(|| format!("exit code {code}:\n{said}"))
    })
    .await;
    report(bug, &Found { by: "tradewind verify", what }, planted.elapsed());
}
