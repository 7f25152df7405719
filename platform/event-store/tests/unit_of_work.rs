//! Load, decide, commit, with a cache that may be stale.

use crate::support::{fresh_log, metadata, receipts, received, received_event, sku, stock};
use domain::{StockCommand, StockItem, StockRefusal};
use event_store::{
    Append, AppendError, EventStore, ParkedEvent, ParkedPlace, StoreError, StreamWrite, retry_conflicts,
};
use events::OrderId;
use futures::future::join_all;
use uuid::Uuid;

fn receive(name: &str, quantity: i64) -> StockCommand {
    let quantity = quantity.try_into().expect("a quantity");
    StockCommand::ReceiveStock { sku: sku(name), quantity, reference: None }
}

fn reserve(name: &str, quantity: i64) -> StockCommand {
    let quantity = quantity.try_into().expect("a quantity");
    StockCommand::Reserve { sku: sku(name), order_id: OrderId(Uuid::now_v7()), quantity }
}

/// Decides one command and commits it.
async fn one(store: &EventStore, name: &str, command: StockCommand) -> Result<(), AppendError> {
    let mut work = store.unit_of_work();
    work.decide::<StockItem>(&stock(name), &command, &metadata()).await?.expect("the command is allowed");
    work.commit().await.map(|_| ())
}

#[tokio::test]
async fn a_later_decision_of_a_unit_sees_the_earlier_one() {
    let log = fresh_log("overlay").await;
    let store = log.store().await;
    let mut work = store.unit_of_work();
    let decided =
        work.decide::<StockItem>(&stock("A"), &receive("A", 5), &metadata()).await.expect("readable");
    assert_eq!(decided.expect("allowed").version, 2, "registered and received");
    work.decide::<StockItem>(&stock("A"), &reserve("A", 4), &metadata())
        .await
        .expect("readable")
        .expect("5 are there");
    let refused =
        work.decide::<StockItem>(&stock("A"), &reserve("A", 2), &metadata()).await.expect("readable");
    assert_eq!(refused, Err(StockRefusal::NotEnough { sku: sku("A"), wanted: 2, available: 1 }));
    assert_eq!(log.count("events").await, 0, "nothing is in the log before the commit");
    let committed = work.commit().await.expect("there is no other writer");
    assert_eq!((committed.appended.first_position, committed.appended.last_position), (1, 3));
    assert_eq!(committed.versions[&stock("A")], 3);
    let loaded = store.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.available(), loaded.state.reserved()), (3, 1, 4));
}

#[tokio::test]
async fn events_of_several_streams_are_in_the_order_of_their_decisions() {
    let log = fresh_log("decisions").await;
    let store = log.store().await;
    let mut work = store.unit_of_work();
    for name in ["A", "B", "A"] {
        work.load::<StockItem>(&stock(name)).await.expect("readable");
        work.write::<StockItem>(&stock(name), vec![received_event(name, 1)], &metadata());
    }
    assert_eq!((work.version(&stock("A")), work.version(&stock("unknown"))), (2, 0));
    work.commit().await.expect("there is no other writer");
    let places: Vec<_> =
        store.scan(0, 9).await.expect("readable").into_iter().map(|e| (e.stream, e.version)).collect();
    assert_eq!(places, [(stock("A"), 1), (stock("B"), 1), (stock("A"), 2)]);
}

#[tokio::test]
async fn a_stream_that_was_wrongly_assumed_empty_is_found_by_the_conflict() {
    let log = fresh_log("assumed_empty").await;
    let (here, elsewhere) = (log.store().await, log.store().await);
    let receiving = async |store: &EventStore| {
        let mut work = store.unit_of_work();
        work.assume_empty::<StockItem>(&stock("A"));
        work.decide::<StockItem>(&stock("A"), &receive("A", 5), &metadata())
            .await
            .expect("nothing is read")
            .expect("there is room");
        work.commit().await
    };
    let committed = receiving(&here).await.expect("it is new");
    assert_eq!(committed.versions[&stock("A")], 2);
    let conflict = receiving(&elsewhere).await.expect_err("it is there");
    assert!(matches!(conflict, AppendError::Conflict { expected: 0, actual: 2, .. }), "{conflict}");
    let again = receiving(&here).await.expect("a cached stream is not assumed empty");
    assert_eq!(again.versions[&stock("A")], 3);
}

#[tokio::test]
async fn a_stale_cache_is_found_by_the_conflict_and_updated() {
    let log = fresh_log("behind").await;
    let (here, elsewhere) = (log.store().await, log.store().await);
    one(&here, "A", receive("A", 5)).await.expect("A is empty");
    one(&elsewhere, "A", reserve("A", 5)).await.expect("5 are there");
    // By this process's cache 5 are still available, but not by the log.
    let stale = one(&here, "A", reserve("A", 1)).await;
    assert!(matches!(stale, Err(AppendError::Conflict { expected: 2, actual: 3, .. })), "{stale:?}");
    let loaded = here.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.available()), (3, 0));
}

#[tokio::test]
async fn a_refusal_that_depends_on_a_stale_state_is_not_committed() {
    let log = fresh_log("old_refusal").await;
    let (here, elsewhere) = (log.store().await, log.store().await);
    one(&here, "A", receive("A", 1)).await.expect("A is empty");
    one(&elsewhere, "A", receive("A", 9)).await.expect("more comes in");
    let mut work = here.unit_of_work();
    let refused =
        work.decide::<StockItem>(&stock("A"), &reserve("A", 5), &metadata()).await.expect("readable");
    assert!(refused.is_err(), "by the cache 1 is available");
    assert!(work.commit().await.is_err_and(|error| error.is_conflict()), "the refusal depends on version 2");
    one(&here, "A", reserve("A", 5)).await.expect("10 are there");
}

#[tokio::test]
async fn retried_commands_all_succeed() {
    let log = fresh_log("retried").await;
    let stores = [log.store().await, log.store().await, log.store().await];
    let attempts = (0..60).map(|n| {
        let store = &stores[n % 3];
        retry_conflicts(1000, move || one(store, "hot", receive("hot", 1)))
    });
    let outcomes = join_all(attempts).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    stores[0].invalidate(&[stock("hot")]);
    let loaded = stores[0].load::<StockItem>(&stock("hot")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.available()), (61, 60), "one registration, 60 receipts");
}

#[tokio::test]
async fn the_attempts_at_a_conflict_are_bounded_and_other_errors_are_not_repeated() {
    let log = fresh_log("bounded").await;
    let store = log.store().await;
    store.append(receipts(&[("A", 0)])).await.expect("A is empty");
    let mut attempts = 0;
    let refused = retry_conflicts(3, || {
        attempts += 1;
        store.append(receipts(&[("A", 0)]))
    })
    .await;
    assert!(refused.is_err_and(|error| error.is_conflict()));
    assert_eq!(attempts, 3);
    store.clone().shutdown().await;
    let mut attempts = 0;
    let refused = retry_conflicts(3, || {
        attempts += 1;
        store.append(receipts(&[("A", 1)]))
    })
    .await;
    assert!(refused.is_err_and(|error| !error.is_conflict()));
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn many_streams_are_loaded_at_once_from_cache_tail_and_log() {
    let log = fresh_log("load_many").await;
    let (here, elsewhere) = (log.store().await, log.store().await);
    one(&here, "cached", receive("cached", 3)).await.expect("it is empty");
    one(&here, "behind", receive("behind", 3)).await.expect("it is empty");
    one(&elsewhere, "behind", reserve("behind", 1)).await.expect("3 are there");
    one(&elsewhere, "unseen", receive("unseen", 7)).await.expect("it is empty");
    here.invalidate(&[stock("behind")]);
    let streams = ["cached", "behind", "unseen", "absent"].map(stock);
    let loaded = here.load_many::<StockItem>(&streams).await.expect("readable");
    let of = |name: &str| (loaded[&stock(name)].version, loaded[&stock(name)].state.available());
    assert_eq!((of("cached"), of("behind")), ((2, 3), (3, 2)));
    assert_eq!((of("unseen"), of("absent")), ((2, 7), (0, 0)));
}

#[tokio::test]
async fn a_cache_too_small_for_anything_changes_no_outcome() {
    let log = fresh_log("small_cache").await;
    let options = event_store::StoreOptions { cache_bytes_max: 1, ..Default::default() };
    let store = crate::support::open(&log.role_url, options).await;
    for _ in 0..5 {
        one(&store, "A", receive("A", 2)).await.expect("there is no other writer");
    }
    assert_eq!(store.load::<StockItem>(&stock("A")).await.expect("readable").state.available(), 10);
}

#[tokio::test]
async fn a_long_stream_folds_to_the_same_state_as_its_events() {
    let log = fresh_log("long").await;
    let store = log.store().await;
    let quantities: Vec<i64> = (1..=5_000).collect();
    let events = quantities.iter().map(|&quantity| received("A", quantity)).collect();
    let writes = vec![StreamWrite { stream: stock("A"), expected_version: 0, events }];
    store.append(Append { writes, ..Append::default() }).await.expect("A is empty");
    let loaded = store.load::<StockItem>(&stock("A")).await.expect("readable");
    assert_eq!((loaded.version, loaded.state.available()), (5_000, quantities.iter().sum()));
}

#[tokio::test]
async fn an_event_that_this_build_does_not_know_is_named_and_not_skipped() {
    let log = fresh_log("future").await;
    let store = log.store().await;
    let insert = "INSERT INTO events VALUES (1, 'stock-A', 1, gen_random_uuid(), 'StockTeleported', 1, '{}',
                      '{\"correlation_id\": \"00000000-0000-0000-0000-000000000000\", \"actor\": \"t\"}', now())";
    log.admin.batch_execute(insert).await.expect("the owner may");
    let unreadable = store.load::<StockItem>(&stock("A")).await.expect_err("a newer build wrote it");
    assert!(unreadable.to_string().contains("position 1 of inventory (stock-A)"), "{unreadable}");
    let raw = store.scan(0, 1).await.expect("the log can be read undecoded");
    assert_eq!(raw[0].event_type, "StockTeleported");
}

#[tokio::test]
async fn the_log_and_a_stream_are_read_in_pages() {
    let log = fresh_log("pages").await;
    let store = log.store().await;
    assert_eq!(
        (store.head().await.expect("readable"), store.epoch().await.expect("readable").number),
        (0, 1)
    );
    store.append(receipts(&[("A", 0), ("B", 0), ("A", 1), ("A", 2)])).await.expect("they are empty");
    let positions = |events: Vec<events::RawEvent>| events.iter().map(|e| e.position).collect::<Vec<_>>();
    assert_eq!(positions(store.scan(0, 3).await.expect("readable")), [1, 2, 3]);
    assert_eq!(positions(store.scan(3, 3).await.expect("readable")), [4]);
    assert_eq!(positions(store.read_stream(&stock("A"), 1, 9).await.expect("readable")), [3, 4]);
    let event = store.scan(0, 1).await.expect("readable").remove(0);
    let envelope = event.decode::<events::Event>(crate::support::CONTEXT).expect("this build wrote it");
    assert!(
        events::StockEvent::try_from(envelope.event.clone()).is_ok()
            && events::OrderEvent::try_from(envelope.event).is_err()
    );
}

fn parked(offset: i64, reason: &str) -> ParkedEvent {
    ParkedEvent {
        consumer: "sagas.inventory".to_owned(),
        topic: "orders.events".to_owned(),
        partition: 3,
        offset,
        stream: "order-7".to_owned().into(),
        position: None,
        key: b"order-7".to_vec(),
        payload: b"poison".to_vec(),
        reason: reason.to_owned(),
    }
}

fn place(offset: i64) -> ParkedPlace {
    ParkedPlace {
        consumer: "sagas.inventory".to_owned(),
        topic: "orders.events".to_owned(),
        partition: 3,
        offset,
    }
}

#[tokio::test]
async fn a_parked_record_is_removed_with_the_append_of_its_effect_and_in_order() {
    let log = fresh_log("unpark").await;
    let store = log.store().await;
    let behind = [parked(10, "poison"), parked(11, ParkedEvent::BEHIND), parked(12, ParkedEvent::BEHIND)];
    store.append(Append { parked: behind.to_vec(), ..Append::default() }).await.expect("they are parked");
    let attempt = async |offset| {
        let mut work = store.unit_of_work();
        let decided = work.decide::<StockItem>(&stock("A"), &receive("A", 1), &metadata()).await;
        decided.expect("readable").expect("allowed");
        work.commit_unparking(&place(offset)).await
    };
    attempt(11).await.expect_err("an earlier one is parked");
    assert_eq!((log.count("parked_events").await, log.count("events").await), (3, 0), "all or nothing");
    attempt(10).await.expect("the first may go");
    assert_eq!((log.count("parked_events").await, log.count("events").await), (2, 2));
    attempt(10).await.expect_err("it is gone");
    assert_eq!(log.count("events").await, 2, "and its effect does not happen twice");
}

#[tokio::test]
async fn no_record_is_parked_behind_one_that_was_removed() {
    let log = fresh_log("behind").await;
    let store = log.store().await;
    let park = async |offset, reason| {
        let append = Append { parked: vec![parked(offset, reason)], ..Append::default() };
        store.append(append).await
    };
    park(10, "poison").await.expect("the first");
    park(11, ParkedEvent::BEHIND).await.expect("behind it");
    for offset in [10, 11] {
        store.unit_of_work().commit_unparking(&place(offset)).await.expect("in its turn");
    }
    let refused = park(12, ParkedEvent::BEHIND).await.expect_err("no earlier record is parked");
    let AppendError::Store(StoreError::Database { cause, .. }) = &refused else { panic!("{refused}") };
    assert_eq!(cause.code(), Some(&tokio_postgres::error::SqlState::T_R_SERIALIZATION_FAILURE));
    park(12, "poison again").await.expect("a poison record may be parked alone");
}
