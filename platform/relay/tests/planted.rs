//! Removes the guards of the relay one at a time: a scenario that finds nothing with the guard finds the fault without
//! it.
#![cfg(debug_assertions)] // a release build has no switches

mod support;

use std::collections::BTreeSet;

use fault::trial::{Verdict, check, finds};
use support::{set_max_message_bytes, start, world_with_topic};
use testkit::eventually;

const EVENTS: i64 = 201;
/// The event that Kafka refuses while its limit is low.
const LARGE: i64 = 101;

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_does_not_wait_for_the_acknowledgement_is_found() {
    finds("relay::cursor_before_acknowledgement", kafka_refuses_one_event_for_a_while).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_goes_on_after_an_error_is_found() {
    finds("publisher::next_after_an_error", kafka_refuses_one_event_for_a_while).await;
}

/// The relay notices the refusal, or a mutant does not. Then it is started again, and Kafka accepts everything.
async fn kafka_refuses_one_event_for_a_while() -> Verdict {
    let mut world = world_with_topic(&[("max.message.bytes", "30000")]).await;
    world.append(100).await;
    world.append_noted(1, Some("x".repeat(60_000))).await;
    world.append(100).await;
    let running = start(&world.config);
    eventually("the relay has noticed, or is past it", async || {
        let failing = running.health.readiness().err();
        let noticed = failing.is_some_and(|failing| failing[0].reason.contains("not delivered"));
        (noticed || world.status().await.cursor >= EVENTS).then_some(())
    })
    .await;
    running.stop().await;
    set_max_message_bytes(&world, "1000000").await;
    let running = start(&world.config);
    // A relay whose topic and log disagree stays up and reports it.
    let gave_up = || {
        let apart = |failing: &Vec<runtime::Failing>| failing[0].reason.contains("tradewind reconcile");
        running.task.is_finished() || running.health.readiness().as_ref().is_err_and(apart)
    };
    eventually("the cursor is at the end, or the relay gave up", async || {
        (world.status().await.cursor >= EVENTS || gave_up()).then_some(())
    })
    .await;
    running.shutdown.cancel();
    let ended = running.ended().await;
    check("the relay goes on", ended.is_ok(), || format!("{ended:?}"))?;
    let mut there = BTreeSet::new();
    for records in world.on_topic().await.values() {
        let mut last = 0;
        for record in records.iter().filter(|record| there.insert(record.position)) {
            let (position, before) = (record.position, last);
            check("first occurrences are in order", position > before, || {
                format!("position {position} first comes after {before}")
            })?;
            last = position;
        }
    }
    let missing: Vec<i64> = (1..=EVENTS).filter(|position| !there.contains(position)).collect();
    check("every event of the log is on its topic", missing.is_empty(), || {
        format!("the cursor is at {EVENTS}; {} are missing, {LARGE} among them: {missing:?}", missing.len())
    })
}
