//! A long stream is read from its snapshot on, and no snapshot changes what is read.

use crate::support::{TestLog, fresh_log, stock};
use domain::{StockCommand, StockItem};
use event_store::EventStore;
use events::StreamId;
use testkit::eventually;

const RECEIPTS: i64 = 250;

/// A stream with some hundred receipts of one piece, and the first events of another.
async fn sold_often(log: &TestLog) -> StreamId {
    let (popular, store) = (stock("POPULAR"), log.store().await);
    for _ in 0..RECEIPTS {
        receive(&store, &popular).await;
    }
    receive(&store, &stock("RARE")).await;
    // The first receipt registers the SKU too: version 251, and the last snapshot is due at 200.
    eventually("a snapshot past version 200", async || snapshots(log, "version >= 200").await == 1).await;
    popular
}

async fn receive(store: &EventStore, stream: &StreamId) {
    let sku = stream.key().parse().expect("a stock stream ends in its SKU");
    let quantity = events::Quantity::try_from(1).expect("one piece is some");
    let command = StockCommand::ReceiveStock { sku, quantity, reference: None };
    let mut work = store.unit_of_work();
    work.decide::<StockItem>(stream, &command, &crate::support::metadata())
        .await
        .expect("the database answers")
        .expect("there is room");
    work.commit().await.expect("there is no other writer");
}

async fn snapshots(log: &TestLog, condition: &str) -> i64 {
    let query = format!("SELECT count(*) FROM snapshots WHERE {condition}");
    log.admin.query_one(&query, &[]).await.expect("the table is there").get(0)
}

async fn change(log: &TestLog, assignment: &str) {
    let changed = log.admin.execute(&format!("UPDATE snapshots SET {assignment}"), &[]).await;
    assert_eq!(changed.expect("the owner may change it"), 1, "{assignment}");
}

/// Loads the stream with an empty cache, as a new process does.
async fn read_cold(log: &TestLog, stream: &StreamId) -> (i32, i64) {
    let loaded = log.store().await.load::<StockItem>(stream).await.expect("the stream can be read");
    (loaded.version, loaded.state.received())
}

#[tokio::test]
async fn a_long_stream_is_read_from_its_snapshot_on_and_a_short_one_has_none() {
    let log = fresh_log("snapshot").await;
    let popular = sold_often(&log).await;
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS));
    assert_eq!(snapshots(&log, "stream <> 'stock-POPULAR'").await, 0);
    // A state that no history produces shows that it came from the snapshot.
    change(&log, "state = replace(state, '\"received\":', '\"received\":1000')").await;
    let (version, received) = read_cold(&log, &popular).await;
    assert_eq!(version, 251);
    assert!(received > 100_000, "{received} pieces: it was not read from the snapshot");
}

#[tokio::test]
async fn a_snapshot_that_other_sources_folded_is_not_read() {
    let log = fresh_log("snapshot_shape").await;
    let popular = sold_often(&log).await;
    change(&log, "shape = shape + 1, state = replace(state, '\"received\":', '\"received\":1000')").await;
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS));
}

#[tokio::test]
async fn a_snapshot_of_another_history_is_not_read() {
    let log = fresh_log("snapshot_history").await;
    let popular = sold_often(&log).await;
    let wrong_state = "state = replace(state, '\"received\":', '\"received\":1000')";
    change(&log, &format!("event_id = gen_random_uuid(), {wrong_state}")).await;
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS), "the log has another event there");
    change(&log, "version = 100000").await;
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS), "the log is not that long");
}

#[tokio::test]
async fn an_unreadable_snapshot_is_ignored() {
    let log = fresh_log("snapshot_unreadable").await;
    let popular = sold_often(&log).await;
    change(&log, "state = '{\"pieces\": 3}'").await;
    let store = log.store().await;
    let loaded =
        store.load_many::<StockItem>(&[stock("RARE"), popular.clone()]).await.expect("it can be read");
    assert_eq!((loaded[&popular].version, loaded[&popular].state.received()), (251, RECEIPTS));
    assert_eq!(loaded[&stock("RARE")].version, 2);
}

#[tokio::test]
async fn all_snapshots_may_be_deleted_and_are_made_again() {
    let log = fresh_log("snapshot_deleted").await;
    let popular = sold_often(&log).await;
    log.admin.execute("DELETE FROM snapshots", &[]).await.expect("the owner may delete them");
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS));
    eventually("a snapshot of version 251", async || snapshots(&log, "version = 251").await == 1).await;
    assert_eq!(read_cold(&log, &popular).await, (251, RECEIPTS));
}

#[tokio::test]
async fn a_command_decides_on_what_the_snapshot_and_the_events_after_it_say() {
    let log = fresh_log("snapshot_command").await;
    let popular = sold_often(&log).await;
    receive(&log.store().await, &popular).await;
    assert_eq!(read_cold(&log, &popular).await, (252, RECEIPTS + 1));
}
