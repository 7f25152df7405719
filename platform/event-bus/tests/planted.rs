//! Removes a guard of the consumer: a scenario that finds nothing with the guard finds the fault without it.
#![cfg(debug_assertions)] // a release build has no switches

mod support;

use fault::trial::{Verdict, check, finds};
use support::{Keeper, Ledger, bus, expected, publish};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_passes_on_duplicates_is_found() {
    finds("consumer::duplicates_handed_on", a_relay_begins_again).await;
}

/// A relay died before its cursor moved: the next one publishes the last hundred events again.
async fn a_relay_begins_again() -> Verdict {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=300).await;
    publish(&bus, 201..=400).await;
    let running = Keeper::new(&ledger, "a").start(&bus);
    ledger.when_passed(500).await;
    running.stop().await;
    let mut effects = std::collections::BTreeMap::<i32, Vec<i64>>::new();
    for entry in ledger.entries().await {
        effects.entry(entry.partition).or_default().push(entry.position);
    }
    let count: usize = effects.values().map(Vec::len).sum();
    check("every effect once, in order", effects == expected(1..=400), || {
        format!("400 events took effect {count} times")
    })
}
