//! Guards of the sagas are taken away, one at a time: a scenario that finds nothing in sound code finds each.
//! `docs/reliability.md` lists them.
#![cfg(debug_assertions)] // a release build has no switches

#[path = "engines/environment.rs"]
mod environment;
#[path = "engines/shop.rs"]
#[allow(dead_code)] // the other binary uses the rest
mod shop;

use std::collections::BTreeMap;

use domain::orders::OrderStatus;
use environment::TestEnvironment;
use event_bus::delete_groups;
use events::Context;
use fault::trial::{Verdict, check, finds};
use serde_json::json;
use testkit::eventually;

const REACTOR: &str = "sagas.inventory";

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_is_done_twice_is_found() {
    finds("compensation::release_forgotten", the_reactors_checkpoints_are_lost).await;
}

/// The reactor's checkpoints: the next offset of each partition.
async fn offsets(environment: &TestEnvironment) -> BTreeMap<(String, i32), i64> {
    let checkpoints = environment.store(Context::Inventory).checkpoints(REACTOR).await.expect("readable");
    checkpoints.into_iter().map(|at| ((at.topic, at.partition), at.next_offset)).collect()
}

/// A reactor whose checkpoint is before the offset that was committed to Kafka takes the database for a restored one, and stops.
async fn forget_committed_offsets(environment: &TestEnvironment) {
    eventually("the sagas have left their group, and it is forgotten", async || {
        delete_groups(&environment.bus, sagas::READERS).await.ok()
    })
    .await;
}

/// One order was declined and its piece released; another has its piece still. Then everything comes again.
async fn the_reactors_checkpoints_are_lost() -> Verdict {
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--outcome", "decline"]).await;
    let running = environment.start_sagas(&[]);
    environment.receive(&["TEA"], 5).await;
    let declined = environment.place(&["TEA"], 500).await;
    environment.until_status(declined, OrderStatus::Rejected).await;
    environment.set_provider_behaviour(json!({})).await;
    let confirmed = environment.place(&["TEA"], 500).await;
    environment.until_status(confirmed, OrderStatus::Confirmed).await;
    running.stop().await;
    let before = offsets(&environment).await;
    environment.as_owner(&format!("DELETE FROM inventory.checkpoints WHERE consumer = '{REACTOR}'")).await;
    forget_committed_offsets(&environment).await;
    let running = environment.start_sagas(&[]);
    eventually("all of it was read again", async || {
        let now = offsets(&environment).await;
        before.iter().all(|(partition, offset)| now.get(partition) >= Some(offset)).then_some(())
    })
    .await;
    running.stop().await;
    let tea = environment.stock(&["TEA"]).await.remove(0);
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
    let environment = TestEnvironment::start().await;
    environment.start_provider(&["--fault", "time_out_after_acceptance"]).await;
    let running = environment.start_sagas(&["--payment-provider-timeout-ms", "300"]);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    running.stop().await;
    let entries = environment.provider_entries().await;
    check("the provider's ledger is what the payments say", entries == json!({"authorised": 1}), || {
        format!("one payment of one order; the provider has {entries}")
    })
}
