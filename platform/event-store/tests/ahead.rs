//! Decisions on appends in flight: they are appended with these, and fail with these.

use std::pin::Pin;

use crate::support::{TestLog, fresh_log, metadata, received_event, sku, stock};
use domain::{StockCommand, StockItem};
use event_store::{
    Answer, AppendError, Committed, EventStore, IdempotencyClaim, StoreError, UnitOfWork, retry_conflicts,
};
use events::StreamId;
use futures::future::{join_all, try_join_all};
use futures::poll;
use uuid::Uuid;

type Committing = Pin<Box<dyn Future<Output = Result<Committed, AppendError>>>>;

/// A unit that receives one piece.
async fn receiving(store: &EventStore, name: &str) -> UnitOfWork {
    let quantity = events::Quantity::try_from(1).expect("one piece is some");
    let command = StockCommand::ReceiveStock { sku: sku(name), quantity, reference: None };
    let mut work = store.unit_of_work_ahead();
    let decided = work.decide::<StockItem>(&stock(name), &command, &metadata()).await;
    decided.expect("the stream can be read").expect("there is room");
    work
}

/// Queues the unit's append; the returned future resolves to its outcome.
async fn submitted(work: UnitOfWork) -> Committing {
    let mut committing: Committing = Box::pin(work.commit());
    assert!(poll!(&mut committing).is_pending(), "the log is held");
    committing
}

/// The first append waits for the log's lock; later ones wait behind it.
async fn first_waits(log: &TestLog, store: &EventStore, name: &str) -> Committing {
    let committing = submitted(receiving(store, name).await).await;
    log.until_waiting(1).await;
    committing
}

#[tokio::test]
async fn decisions_that_depend_on_one_another_are_one_batch_and_none_conflicts() {
    let log = fresh_log("chained").await;
    let store = log.store().await;
    let held = log.hold().await;
    let mut committing = vec![first_waits(&log, &store, "A").await];
    for version in 3..=9 {
        let work = receiving(&store, "A").await;
        assert_eq!(work.version(&stock("A")), version, "it depends on the one before");
        committing.push(submitted(work).await);
    }
    held.release().await;
    let committed = try_join_all(committing).await.expect("none conflicts");
    let positions: Vec<_> =
        committed.iter().map(|c| (c.appended.first_position, c.appended.last_position)).collect();
    // The first one registers the SKU too.
    assert_eq!(positions, [(1, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9)]);
    let loaded = log.store().await.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.received()), (9, 8));
}

#[tokio::test]
async fn an_append_that_depends_on_a_failed_one_fails_even_if_the_version_is_the_expected_one() {
    let log = fresh_log("chain_fails").await;
    let store = log.store().await;
    let held = log.hold().await;
    let first = first_waits(&log, &store, "A").await;
    let second = receiving(&store, "A").await;
    assert_eq!(second.version(&stock("A")), 3);
    let second = submitted(second).await;
    // Another process brings the stream to version 2, which the second decision expects, by other events.
    held.append(&stock("A"), 0, Uuid::now_v7()).await;
    held.append(&stock("A"), 1, Uuid::now_v7()).await;
    held.release().await;
    let (first, second) = (first.await, second.await);
    assert!(matches!(first, Err(AppendError::Conflict { expected: 0, actual: 2, .. })), "{first:?}");
    assert!(matches!(second, Err(AppendError::DependencyFailed)), "{second:?}");
    assert_eq!(log.count("events").await, 2, "only the other process's events");
}

/// The same within one batch, where only the database can find it. Independent commands of the batch succeed.
#[tokio::test]
async fn in_one_batch_too_only_the_dependents_of_a_failed_append_fail() {
    let log = fresh_log("failed_dependency").await;
    let store = log.store().await;
    let held = log.hold().await;
    let other = first_waits(&log, &store, "OTHER").await;
    let first = submitted(receiving(&store, "A").await).await;
    let second = submitted(receiving(&store, "A").await).await;
    let third = submitted(receiving(&store, "A").await).await;
    let beside = submitted(receiving(&store, "B").await).await;
    let on_other = submitted(receiving(&store, "OTHER").await).await;
    held.append(&stock("A"), 0, Uuid::now_v7()).await;
    held.append(&stock("A"), 1, Uuid::now_v7()).await;
    held.release().await;
    let (first, second, third) = (first.await, second.await, third.await);
    assert!(matches!(first, Err(AppendError::Conflict { expected: 0, actual: 2, .. })), "{first:?}");
    for dependent in [second, third] {
        assert!(matches!(dependent, Err(AppendError::DependencyFailed)), "{dependent:?}");
    }
    other.await.expect("it has the stream to itself");
    beside.await.expect("it depends on nothing");
    on_other.await.expect("what it depends on was appended");
    assert_eq!(log.count("events WHERE stream = 'stock-A'").await, 2, "only the other process's events");
}

#[tokio::test]
async fn commands_with_keys_depend_on_one_another_too_and_a_repeated_key_fails_its_dependents() {
    let log = fresh_log("keyed_ahead").await;
    let store = log.store().await;
    keyed(&store, "first").await.commit().await.expect("it is new");
    let held = log.hold().await;
    let other = first_waits(&log, &store, "OTHER").await;
    let second = submitted(keyed(&store, "second").await).await;
    let repeated = submitted(keyed(&store, "first").await).await;
    let follower = submitted(keyed(&store, "third").await).await;
    held.release().await;
    other.await.expect("it has the stream to itself");
    second.await.expect("it depends on nothing");
    let repeated = repeated.await;
    assert!(matches!(repeated, Err(AppendError::AlreadyAnswered(_))), "{repeated:?}");
    let follower = follower.await;
    assert!(matches!(follower, Err(AppendError::DependencyFailed)), "{follower:?}");
    assert_eq!(log.count("events WHERE stream = 'stock-A'").await, 3, "registered, and received twice");
    keyed(&store, "third").await.commit().await.expect("the second attempt succeeds");
}

/// A repeated request: the same key, a new decision.
async fn keyed(store: &EventStore, key: &str) -> UnitOfWork {
    let mut work = receiving(store, "A").await;
    let answer = Answer { status: 200, body: serde_json::json!({}) };
    work.claim(IdempotencyClaim { key: key.to_owned(), fingerprint: [7; 32], answer });
    work
}

#[tokio::test]
async fn a_unit_that_does_not_run_ahead_only_sees_the_log() {
    let log = fresh_log("not_ahead").await;
    let store = log.store().await;
    let held = log.hold().await;
    let in_flight = first_waits(&log, &store, "A").await;
    let mut plain = store.unit_of_work();
    assert_eq!(plain.load::<StockItem>(&stock("A")).await.expect("readable").received(), 0);
    let mut ahead = store.unit_of_work_ahead();
    assert_eq!(ahead.load::<StockItem>(&stock("A")).await.expect("readable").received(), 1);
    let dependencies = tokio::spawn(async move { ahead.await_dependencies().await });
    held.release().await;
    in_flight.await.expect("it has the stream to itself");
    dependencies.await.expect("it does not panic").expect("what it read is in the log");
}

#[tokio::test]
async fn an_append_that_the_database_refuses_fails_only_its_dependents() {
    let log = fresh_log("chain_refused").await;
    let store = log.store().await;
    let held = log.hold().await;
    let other = first_waits(&log, &store, "OTHER").await;
    let good = submitted(receiving(&store, "A").await).await;
    let mut bad = receiving(&store, "A").await;
    let too_long = StreamId::from(format!("stock-{}", "x".repeat(300)));
    bad.load::<StockItem>(&too_long).await.expect("it is empty");
    bad.write::<StockItem>(&too_long, vec![received_event("A", 1)], &metadata());
    let bad = submitted(bad).await;
    let after = submitted(receiving(&store, "A").await).await;
    held.release().await;
    other.await.expect("it has the stream to itself");
    good.await.expect("it does not depend on the refused one");
    let bad = bad.await;
    assert!(matches!(bad, Err(AppendError::Store(StoreError::Database { .. }))), "{bad:?}");
    let after = after.await;
    assert!(matches!(after, Err(AppendError::DependencyFailed)), "{after:?}");
    assert_eq!(log.count("events WHERE stream = 'stock-A'").await, 2, "registered and received, once");
}

#[tokio::test]
async fn a_stale_decision_is_not_sent_and_is_made_again() {
    let log = fresh_log("stale").await;
    let store = log.store().await;
    let held = log.hold().await;
    let (slow, fast) = (receiving(&store, "A").await, receiving(&store, "A").await);
    let fast = submitted(fast).await;
    let stale = slow.commit().await;
    assert!(matches!(stale, Err(AppendError::StaleDecision)), "{stale:?}");
    let again = submitted(receiving(&store, "A").await).await;
    held.release().await;
    let (fast, again) = (fast.await.expect("it came first"), again.await.expect("it depends on the first"));
    assert_eq!((fast.appended.last_position, again.appended.last_position), (2, 3));

    let slow = receiving(&store, "A").await;
    receiving(&store, "A").await.commit().await.expect("it has the stream to itself");
    let stale = slow.commit().await;
    assert!(matches!(stale, Err(AppendError::StaleDecision)), "in the log already: {stale:?}");
}

/// On several threads, too: no unit of this process waits for a conflict that the database has to find.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_of_one_process_on_one_stream_never_conflict() {
    let log = fresh_log("line").await;
    let store = log.store().await;
    let callers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                // A single attempt: a stale decision does not count as a conflict here.
                retry_conflicts(1, async || receiving(&store, "A").await.commit().await).await?;
            }
            Ok::<_, AppendError>(())
        })
    });
    for caller in join_all(callers).await {
        caller.expect("it does not panic").expect("no conflict");
    }
    let loaded = log.store().await.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.received()), (401, 400));
}

#[tokio::test]
async fn many_callers_of_two_processes_on_one_stream_all_succeed_once() {
    let log = fresh_log("chain_crowd").await;
    let stores = [log.store().await, log.store().await];
    let caller = |number: usize| {
        let store = &stores[number % 2];
        async move {
            for _ in 0..25 {
                retry_conflicts(1_000, async || receiving(store, "A").await.commit().await)
                    .await
                    .expect("in the end it succeeds");
            }
        }
    };
    join_all((0..8).map(caller)).await;
    let loaded = log.store().await.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.received()), (201, 200));
}
