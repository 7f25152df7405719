//! Guards of the sagas taken away, one at a time: each is missed by a scenario that finds nothing while it stands.
//!
//! Read next: `tests/fault/src/trial.rs`, `docs/reliability.md`.
#![cfg(debug_assertions)] // a release build has no switches

#[path = "engines/shop.rs"]
#[allow(dead_code)] // the other binary uses the rest
mod shop;
#[path = "engines/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use domain::orders::OrderStatus;
use event_bus::delete_groups;
use events::Context;
use fault::trial::{Verdict, check, finds};
use serde_json::json;
use stage::Stage;
use testkit::eventually;

const REACTOR: &str = "sagas.inventory";

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_is_done_twice_is_found() {
    finds("compensation::release_forgotten", the_reactors_checkpoints_are_lost).await;
}

/// Where the reactor stands: the next offset of each partition.
async fn offsets(stage: &Stage) -> BTreeMap<(String, i32), i64> {
    let checkpoints = stage.store(Context::Inventory).checkpoints(REACTOR).await.expect("readable");
    checkpoints.into_iter().map(|at| ((at.topic, at.partition), at.next_offset)).collect()
}

/// A reactor whose checkpoint lies before what Kafka was told takes the database for a restored one, and stops.
async fn forget_what_kafka_was_told(stage: &Stage) {
    eventually("the sagas have left their group, and it is forgotten", async || {
        delete_groups(&stage.bus, sagas::READERS).await.ok()
    })
    .await;
}

/// One order was declined and its piece released; another has its piece still. Then everything comes again.
async fn the_reactors_checkpoints_are_lost() -> Verdict {
    let stage = Stage::set().await;
    stage.start_provider(&["--outcome", "decline"]).await;
    let playing = stage.play(&[]);
    stage.receive(&["TEA"], 5).await;
    let declined = stage.place(&["TEA"], 500).await;
    stage.until_status(declined, OrderStatus::Rejected).await;
    stage.tell_provider(json!({})).await;
    let confirmed = stage.place(&["TEA"], 500).await;
    stage.until_status(confirmed, OrderStatus::Confirmed).await;
    playing.end().await;
    let before = offsets(&stage).await;
    stage.as_owner(&format!("DELETE FROM inventory.checkpoints WHERE consumer = '{REACTOR}'")).await;
    forget_what_kafka_was_told(&stage).await;
    let playing = stage.play(&[]);
    eventually("all of it was read again", async || {
        let now = offsets(&stage).await;
        before.iter().all(|(partition, offset)| now.get(partition) >= Some(offset)).then_some(())
    })
    .await;
    playing.end().await;
    let tea = stage.stock(&["TEA"]).await.remove(0);
    let (available, reserved) = (tea.available(), tea.reserved());
    check("what is reserved is what the reservations hold", (available, reserved) == (4, 1), || {
        format!("5 pieces, 1 of them held by an order; {available} are available and {reserved} reserved")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_repeated_under_another_key_is_found() {
    finds("payments::charged_again_with_a_new_key", the_provider_takes_the_money_and_says_nothing).await;
}

async fn the_provider_takes_the_money_and_says_nothing() -> Verdict {
    let stage = Stage::set().await;
    stage.start_provider(&["--fault", "time_out_after_acceptance"]).await;
    let playing = stage.play(&["--payment-provider-timeout-ms", "300"]);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    playing.end().await;
    let entries = stage.provider_entries().await;
    check("the provider's ledger is what the payments say", entries == json!({"authorised": 1}), || {
        format!("one payment of one order; the provider has {entries}")
    })
}
