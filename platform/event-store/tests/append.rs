//! One command's append: all or nothing, in order, and without an effect on other commands.

use crate::support::{fresh_log, metadata, receipts, sku, stock};
use event_store::{
    Append, AppendError, CheckpointMove, DeadlineChange, EVENT_BYTES_MAX, NewEvent, ParkedEvent, StreamWrite,
};
use events::StockEvent;
use events::inventory::StockReceived;
use futures::future::join_all;

#[tokio::test]
async fn positions_are_1_2_3_over_all_streams() {
    let log = fresh_log("positions").await;
    let store = log.store().await;
    let first = store.append(receipts(&[("A", 0), ("B", 0)])).await.expect("both streams are empty");
    let second = store.append(receipts(&[("A", 1)])).await.expect("A is at version 1");
    assert_eq!((first.first_position, first.last_position), (1, 2));
    assert_eq!((second.first_position, second.last_position), (3, 3));
    let log: Vec<_> = store.scan(0, 10).await.expect("the log is readable");
    let places: Vec<_> = log.iter().map(|e| (e.position, e.stream.as_str(), e.version)).collect();
    assert_eq!(places, [(1, "stock-A", 1), (2, "stock-B", 1), (3, "stock-A", 2)]);
}

#[tokio::test]
async fn a_conflict_names_the_actual_version() {
    let log = fresh_log("conflict").await;
    let store = log.store().await;
    store.append(receipts(&[("A", 0)])).await.expect("A is empty");
    let refused = store.append(receipts(&[("A", 7)])).await;
    let Err(AppendError::Conflict { stream, expected, actual }) = refused else { panic!("{refused:?}") };
    assert_eq!((stream, expected, actual), (stock("A"), 7, 1));
}

#[tokio::test]
async fn an_append_over_several_streams_is_all_or_nothing() {
    let log = fresh_log("several").await;
    let store = log.store().await;
    store.append(receipts(&[("B", 0)])).await.expect("B is empty");
    let refused = store.append(receipts(&[("A", 0), ("B", 0), ("C", 0)])).await;
    assert!(
        matches!(refused, Err(AppendError::Conflict { ref stream, actual: 1, .. }) if *stream == stock("B"))
    );
    assert_eq!(log.count("events").await, 1);
    let whole = store
        .append(receipts(&[("A", 0), ("B", 1), ("C", 0)]))
        .await
        .expect("the failed append left nothing");
    assert_eq!((whole.first_position, whole.last_position), (2, 4));
}

#[tokio::test]
async fn a_stream_written_twice_in_one_command_keeps_the_order_of_its_decisions() {
    let log = fresh_log("twice").await;
    let store = log.store().await;
    store.append(receipts(&[("A", 0), ("B", 0), ("A", 1)])).await.expect("A is at 1 by then");
    let places: Vec<_> =
        store.scan(0, 10).await.expect("readable").into_iter().map(|e| (e.stream, e.version)).collect();
    assert_eq!(places, [(stock("A"), 1), (stock("B"), 1), (stock("A"), 2)]);
    // If the last of them fails, the first was not appended either.
    assert!(store.append(receipts(&[("A", 2), ("A", 3), ("B", 9)])).await.is_err());
    store.append(receipts(&[("A", 2)])).await.expect("A is still at 2");
}

#[tokio::test]
async fn a_write_without_events_checks_the_version_and_writes_nothing() {
    let log = fresh_log("check").await;
    let store = log.store().await;
    store.append(receipts(&[("A", 0)])).await.expect("A is empty");
    let check = |expected_version| Append {
        writes: vec![StreamWrite { stream: stock("A"), expected_version, events: Vec::new() }],
        ..receipts(&[])
    };
    let holds = store.append(check(1)).await.expect("A is at 1");
    assert_eq!((holds.first_position, holds.last_position), (0, 0));
    assert!(matches!(store.append(check(0)).await, Err(AppendError::Conflict { actual: 1, .. })));
    assert_eq!(log.count("events").await, 1);
}

#[tokio::test]
async fn a_conflict_inside_a_batch_does_not_affect_the_other_commands() {
    let log = fresh_log("neighbours").await;
    let store = log.store().await;
    let held = log.hold().await;
    // The first is sent alone and waits for the log; the others queue behind it and are sent together.
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.append(receipts(&[("first", 0)])).await }
    });
    log.until_waiting(1).await;
    let (a, b, c) = (receipts(&[("A", 0)]), receipts(&[("B", 3), ("A", 1)]), receipts(&[("A", 1), ("C", 0)]));
    let together = join_all([a, b, c].map(|append| store.append(append)));
    let together = async { tokio::join!(together, held.release()).0 };
    let outcomes = together.await;
    first.await.expect("no panic").expect("its stream is empty");
    let [Ok(a), Err(AppendError::Conflict { actual: 0, .. }), Ok(c)] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!((a.first_position, c.first_position, c.last_position), (2, 3, 4));
    assert_eq!(a.recorded_at, c.recorded_at, "they were one batch");
}

#[tokio::test]
async fn an_event_that_does_not_fit_the_broker_is_refused_alone() {
    let log = fresh_log("oversize").await;
    let store = log.store().await;
    let of_size = |name: &str, bytes| {
        let received = StockReceived {
            sku: sku(name),
            quantity: 1.try_into().expect("a quantity"),
            reference: Some("x".repeat(bytes)),
        };
        let events = vec![NewEvent::new(&StockEvent::from(received), metadata())];
        Append {
            writes: vec![StreamWrite { stream: stock(name), expected_version: 0, events }],
            ..Append::default()
        }
    };
    let large = of_size("large", EVENT_BYTES_MAX - 1000);
    let (fits, refused, neighbour) = tokio::join!(
        store.append(large),
        store.append(of_size("larger", EVENT_BYTES_MAX)),
        store.append(receipts(&[("A", 0)])),
    );
    fits.expect("a large event is an event");
    neighbour.expect("A's size does not affect it");
    let Err(AppendError::EventTooLarge { event_type, bytes, max }) = refused else { panic!("{refused:?}") };
    assert_eq!((event_type, max), ("StockReceived", EVENT_BYTES_MAX));
    assert!(bytes > max);
    assert_eq!(log.count("events").await, 2);
}

#[tokio::test]
async fn a_command_that_the_database_refuses_does_not_fail_the_others() {
    let log = fresh_log("refused").await;
    let store = log.store().await;
    let held = log.hold().await;
    let names: Vec<String> =
        (0..10).map(|n| if n == 4 { "x".repeat(300) } else { format!("S{n}") }).collect();
    let appends = names.iter().map(|name| {
        let mut append = receipts(&[("A", 0)]);
        // A stream's name of 300 characters breaks the constraint events_stream_named.
        append.writes[0].stream = format!("stock-{name}").into();
        store.append(append)
    });
    let (outcomes, ()) = tokio::join!(join_all(appends), held.release());
    let refused: Vec<usize> = (0..10).filter(|&n| outcomes[n].is_err()).collect();
    assert_eq!(refused, [4]);
    let message = outcomes[4].as_ref().expect_err("it is the fifth").to_string();
    assert!(message.contains("events_stream_named") && message.contains("SQLSTATE 23514"), "{message}");
    assert!(!message.contains("xxx"), "no row is quoted: {message}");
    assert_eq!(log.count("events").await, 9);
}

#[tokio::test]
async fn a_checkpoint_moves_from_the_expected_offset_or_not_at_all() {
    let log = fresh_log("checkpoint").await;
    let store = log.store().await;
    let moving = |name: &str, from_offset, to_offset| Append {
        checkpoints: vec![CheckpointMove {
            consumer: "inventory".to_owned(),
            topic: "orders.events".to_owned(),
            partition: 3,
            from_offset,
            to_offset,
            last_position: to_offset * 10,
        }],
        ..receipts(&[(name, 0)])
    };
    store.append(moving("A", 0, 5)).await.expect("a new consumer begins at 0");
    store.append(moving("B", 5, 9)).await.expect("it was at 5");
    let zombie = store.append(moving("C", 5, 8)).await;
    let Err(AppendError::CheckpointLost { topic, partition, actual_offset, .. }) = zombie else {
        panic!("{zombie:?}")
    };
    assert_eq!((topic.as_str(), partition, actual_offset), ("orders.events", 3, 9));
    assert_eq!(log.count("events").await, 2, "the zombie wrote nothing");
    let checkpoints = store.checkpoints("inventory").await.expect("readable");
    assert_eq!(checkpoints.len(), 1);
    assert_eq!((checkpoints[0].next_offset, checkpoints[0].last_position), (9, 90));
    // A conflict does not move the checkpoint.
    assert!(store.append(moving("A", 9, 12)).await.is_err_and(|error| error.is_conflict()));
    assert_eq!(store.checkpoints("inventory").await.expect("readable")[0].next_offset, 9);
}

#[tokio::test]
async fn deadlines_come_due_by_the_databases_clock_oldest_first() {
    let log = fresh_log("deadlines").await;
    let store = log.store().await;
    let now = store.append(receipts(&[("A", 0)])).await.expect("A is empty").recorded_at;
    let set = |id: &str, seconds: i64| DeadlineChange::Set {
        id: id.to_owned(),
        stream: stock("A"),
        due_at: now + chrono::Duration::seconds(seconds),
        command: serde_json::json!({ "expire": id }),
    };
    let clear = |id: &str| DeadlineChange::Clear { id: id.to_owned() };
    let changing = |deadlines: Vec<DeadlineChange>| Append { deadlines, ..Append::default() };
    let changes =
        vec![set("younger", -1), set("older", -60), set("later", 3600), set("moved", -30), set("moved", 60)];
    store.append(changing(changes)).await.expect("it has no conflict");
    let due = store.due_deadlines(None, 10).await.expect("readable");
    assert_eq!(due.iter().map(|due| due.id.as_str()).collect::<Vec<_>>(), ["older", "younger"]);
    assert_eq!(due[0].command, serde_json::json!({ "expire": "older" }));
    assert_eq!(store.due_deadlines(None, 1).await.expect("readable").len(), 1);

    store
        .append(changing(vec![set("later", -5), clear("older"), clear("absent")]))
        .await
        .expect("no conflict");
    let due = store.due_deadlines(None, 10).await.expect("readable");
    assert_eq!(due.iter().map(|due| due.id.as_str()).collect::<Vec<_>>(), ["later", "younger"]);

    let refused = Append { deadlines: vec![clear("later")], ..receipts(&[("A", 0)]) };
    assert!(store.append(refused).await.is_err_and(|error| error.is_conflict()));
    assert_eq!(
        store.due_deadlines(None, 10).await.expect("readable").len(),
        2,
        "a refused command clears nothing"
    );
}

#[tokio::test]
async fn a_parked_record_is_stored_byte_for_byte_with_its_checkpoint() {
    let log = fresh_log("parked").await;
    let store = log.store().await;
    let parked = |offset| ParkedEvent {
        consumer: "inventory".to_owned(),
        topic: "orders.events".to_owned(),
        partition: 0,
        offset,
        stream: stock("A"),
        position: None,
        key: b"stock-A".to_vec(),
        payload: vec![0, 159, 146, 150],
        reason: "the payload does not parse".to_owned(),
    };
    store
        .append(Append { parked: vec![parked(1), parked(2)], ..Append::default() })
        .await
        .expect("no conflict");
    store.append(Append { parked: vec![parked(2)], ..Append::default() }).await.expect("the same record");
    assert_eq!(log.count("parked_events").await, 2);
    assert!(store.parked_streams("inventory").await.expect("readable").contains(&stock("A")));
    assert!(store.parked_streams("payments").await.expect("readable").is_empty());
    let kept = log
        .admin
        .query_one("SELECT payload, parked_at FROM parked_events WHERE record_offset = 1", &[])
        .await;
    assert_eq!(kept.expect("it is there").get::<_, Vec<u8>>("payload"), [0, 159, 146, 150]);
}
