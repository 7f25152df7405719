//! What stops a consumer: fatal errors, and everything that shows that log and topic disagree.

use std::sync::Arc;

use crate::support::{CONTEXT, Keeper, Ledger, bus, event, home, outgoing, publish};
use event_bus::{ConsumerError, EPOCH_HEADER, HandlerError, OrderedPublisher, put_stop_markers};

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beyond_the_topic_stops_the_consumer_and_is_named() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=100).await;
    let topic = bus.topic(CONTEXT);
    let partition = home(&event(1));
    ledger
        .execute(&format!("INSERT INTO checkpoints VALUES ('keeper', '{topic}', {partition}, 5000, 9)"))
        .await;
    let error = Keeper::new(&ledger, "a").start(&bus).ended().await.expect_err("the consumer must stop");
    match error {
        ConsumerError::OutOfRange {
            topic: named, partition: at, next_offset: 5_000, low: 0, high, ..
        } => {
            assert_eq!((named, at), (topic, partition));
            assert_eq!(high, crate::support::expected(1..=100)[&partition].len() as i64);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_stops_the_consumer_with_its_reason() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=10).await;
    let keeper =
        Keeper::new(&ledger, "a").fails_with([HandlerError::Fatal("the log has a new epoch".to_owned())]);
    let error = keeper.start(&bus).ended().await.expect_err("the consumer must stop");
    assert!(
        matches!(&error, ConsumerError::Fatal { consumer, reason }
            if consumer == "keeper" && reason == "the log has a new epoch"),
        "{error}"
    );
    assert_eq!(ledger.entries().await, []);
    assert_eq!(Arc::strong_count(&keeper), 1, "no task of it still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_before_the_committed_offset_stops_a_consumer_that_detects_rewinds() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=100).await;
    let keeper = Keeper::new(&ledger, "a");
    let running = keeper.start_detecting_rewinds(&bus);
    ledger.when_entries(100).await;
    running.stop().await;
    // Like its database after a restore: without its last effects.
    ledger.execute("UPDATE checkpoints SET next_offset = 0, last_position = 0").await;
    let error = keeper.start_detecting_rewinds(&bus).ended().await.expect_err("the consumer must stop");
    assert!(error.wants_reconciliation(), "{error}");
    assert!(error.to_string().contains("the database was restored to an older state"), "{error}");
    assert_eq!(ledger.entries().await.len(), 100, "no effect happened twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_epoch_stops_the_consumer_and_has_no_effect() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=100).await;
    let running = Keeper::new(&ledger, "a").start(&bus);
    ledger.when_entries(100).await;
    running.stop().await;
    let mut record = outgoing(&event(101));
    record.headers.push((EPOCH_HEADER, "2".to_owned()));
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    publisher.publish(&[record]).await.expect("acknowledged");
    let error = Keeper::new(&ledger, "b").start(&bus).ended().await.expect_err("the consumer must stop");
    assert!(error.wants_reconciliation(), "{error}");
    assert!(error.to_string().contains("holds records of epoch 2"), "{error}");
    assert_eq!(ledger.entries().await.len(), 100, "its position belongs to another log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_marker_stops_the_consumer_with_the_relays_reason() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=100).await;
    put_stop_markers(&bus, &bus.topic(CONTEXT), &[home(&event(1))], "the log was restored")
        .await
        .expect("acknowledged");
    let error = Keeper::new(&ledger, "a").start(&bus).ended().await.expect_err("the consumer must stop");
    assert!(error.wants_reconciliation(), "{error}");
    assert!(error.to_string().contains("the log was restored"), "{error}");
    assert!(ledger.entries().await.iter().all(|entry| entry.position > 0), "a stop marker is not an event");
}
