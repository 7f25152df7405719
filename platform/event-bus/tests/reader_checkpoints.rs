//! The checkpoints and committed offsets of the handlers of one reader: each handler has its own.

use std::sync::atomic::Ordering;

use crate::reader::{MANY, MANY_ENTRIES, two};
use crate::support::{CONTEXT, assert_once_and_in_order, bus, event, home, publish, start_reader};
use event_bus::committed_offsets;
use events::Context;

#[tokio::test(flavor = "multi_thread")]
async fn a_rewound_checkpoint_stops_the_reader_and_the_error_names_its_handler() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    publish(&bus, 1..=200).await;
    let running = start_reader(&bus, &[&first, &second], true);
    one.when_entries(200).await;
    other.when_entries(200).await;
    running.stop().await;
    // Both continue: each is compared with its own committed offset.
    let again = start_reader(&bus, &[&first, &second], true);
    again
        .when_health(1, "it has its checkpoints", |health| health.assigned == 12 && health.trouble.is_none())
        .await;
    again.stop().await;
    other.execute("UPDATE checkpoints SET next_offset = next_offset - 1 WHERE next_offset > 0").await;
    let error = start_reader(&bus, &[&first, &second], true).ended().await.expect_err("the reader must stop");
    assert!(error.wants_reconciliation(), "{error}");
    assert!(error.to_string().starts_with("consumer keepers.other: its checkpoint in"), "{error}");
    assert_eq!(other.entries().await.len(), 200, "no effect happened twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_has_its_own_committed_offset() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    second.stuck.store(true, Ordering::SeqCst);
    publish(&bus, 1..=MANY).await;
    let running = start_reader(&bus, &[&first, &second], true);
    one.when_entries(MANY_ENTRIES).await;
    running.stop().await;
    let sum = async |consumer: &str| {
        let committed = committed_offsets(&bus, &Context::NAMES, consumer).await.expect("Kafka answers");
        committed.iter().map(|(_, _, offset)| offset).sum::<i64>()
    };
    assert_eq!((sum("keepers.one").await, sum("keepers.other").await), (MANY, 0));
    second.stuck.store(false, Ordering::SeqCst);
    let running = start_reader(&bus, &[&first, &second], true);
    assert_once_and_in_order(&other.when_entries(MANY_ENTRIES).await, 1..=MANY);
    running.stop().await;
    assert_eq!(sum("keepers.other").await, MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_handler_follows_a_checkpoint_that_was_set_back() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    publish(&bus, 1..=500).await;
    let running = start_reader(&bus, &[&first, &second], false);
    one.when_entries(500).await;
    other.when_entries(500).await;
    let partition = home(&event(1));
    *second.interfere.lock().expect("no panic") = Some(format!(
        "BEGIN; DELETE FROM ledger WHERE partition = {partition};
         UPDATE checkpoints SET next_offset = 0, last_position = 0 WHERE partition = {partition}; COMMIT"
    ));
    publish(&bus, 501..=600).await;
    assert_once_and_in_order(&other.when_entries(600).await, 1..=600);
    assert_once_and_in_order(&one.when_entries(600).await, 1..=600);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beyond_the_topic_is_named_while_the_other_handler_is_near_before_it() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    publish(&bus, 1..=100).await;
    let partition = home(&event(1));
    let topic = bus.topic(CONTEXT);
    other
        .execute(&format!("INSERT INTO checkpoints VALUES ('keepers.other', '{topic}', {partition}, 500, 9)"))
        .await;
    let error =
        start_reader(&bus, &[&first, &second], false).ended().await.expect_err("the reader must stop");
    assert!(error.to_string().starts_with("consumer keepers.other: its checkpoint in"), "{error}");
    assert!(error.wants_reconciliation(), "{error}");
    assert!(one.entries().await.len() <= 100);
}
