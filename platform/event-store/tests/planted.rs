//! Removes the guards of the log one at a time: a scenario that finds nothing with the guard finds the fault without
//! it.
//!
//! A guard that is SQL is replaced in the test's database by its owner, because no process role can.
#![cfg(debug_assertions)] // a release build has no switches

mod support;

use std::time::Duration;

use domain::{StockCommand, StockItem};
use event_store::{Answer, Append, AppendError, CheckpointMove, EventStore, IdempotencyClaim, UnitOfWork};
use events::{Event, OrderId, StockEvent};
use fault::mutant;
use fault::trial::{Verdict, check, finds};
use serde_json::json;
use support::{TestLog, append_statement, connect, fresh_log, metadata, receipts, sku, stock};
use testkit::eventually;
use uuid::Uuid;

/// Replaces parts of the function `append` in this test's database.
async fn replace_in_append(log: &TestLog, parts: &[(&str, &str)]) {
    let query = "SELECT pg_get_functiondef('append'::regproc)";
    let mut sql: String = log.admin.query_one(query, &[]).await.expect("the function is there").get(0);
    for (part, replacement) in parts {
        assert_eq!(sql.matches(part).count(), 1, "append() has this once: {part}");
        sql = sql.replace(part, replacement);
    }
    log.admin.batch_execute(&sql).await.expect("the owner may replace it");
}

async fn reserve_five(store: &EventStore) -> UnitOfWork {
    let mut work = store.unit_of_work();
    let quantity = 5.try_into().expect("a quantity");
    let reserve = StockCommand::Reserve { sku: sku("A"), order_id: OrderId(Uuid::now_v7()), quantity };
    let decided = work.decide::<StockItem>(&stock("A"), &reserve, &metadata()).await.expect("readable");
    decided.expect("this process sees 5 pieces");
    work
}

#[tokio::test]
async fn an_append_without_its_version_check_is_found() {
    finds("append::version_not_checked", two_sell_the_same_pieces).await;
}

/// Two processes decide on the same five pieces before either has committed.
async fn two_sell_the_same_pieces() -> Verdict {
    let log = fresh_log("planted_version").await;
    if mutant!("append::version_not_checked") {
        let next = "((SELECT coalesce(max(v.version), 0) FROM events v WHERE v.stream = streams[e.stream])
                     + row_number() OVER (PARTITION BY e.stream ORDER BY e.command, e.ordinal))::integer";
        let parts = [
            ("IF versions[s] <> write_versions[w] THEN", "IF false THEN"),
            ("streams[e.stream], e.version, e.id", &format!("streams[e.stream], {next}, e.id")),
        ];
        replace_in_append(&log, &parts).await;
    }
    let (here, elsewhere) = (log.store().await, log.store().await);
    for version in 0..5 {
        here.append(receipts(&[("A", version)])).await.expect("there is no other writer");
    }
    let (one, other) = (reserve_five(&here).await, reserve_five(&elsewhere).await);
    one.commit().await.expect("the first");
    let second = other.commit().await;
    assert!(matches!(second, Ok(_) | Err(AppendError::Conflict { .. })), "{:?}", second.err());
    let (mut received, mut reserved) = (0, 0);
    for raw in here.scan(0, 100).await.expect("readable") {
        match raw.decode(support::CONTEXT).expect("an event of this build").event {
            Event::StockItem(StockEvent::StockReceived(event)) => received += event.quantity.get(),
            Event::StockItem(StockEvent::StockReserved(event)) => reserved += event.quantity.get(),
            other => panic!("{other:?}"),
        }
    }
    check("stock is conserved", reserved <= received, || {
        format!("{reserved} pieces are reserved of {received} received")
    })
}

#[tokio::test]
async fn positions_from_a_sequence_are_found() {
    finds("append::position_from_a_sequence", a_reader_continues_while_an_append_commits_late).await;
}

/// One append takes its position and commits after a later one, while a reader continues from the positions it has
/// seen.
async fn a_reader_continues_while_an_append_commits_late() -> Verdict {
    let log = fresh_log("planted_sequence").await;
    if mutant!("append::position_from_a_sequence") {
        log.admin.batch_execute("CREATE SEQUENCE positions").await.expect("the owner may");
        let parts = [
            ("PERFORM pg_advisory_xact_lock(x'5457'::integer, 'events'::regclass::oid::integer);", ""),
            (
                "SELECT coalesce(max(e.position), 0) INTO head FROM events e;",
                "head := nextval('positions') - 1;",
            ),
        ];
        replace_in_append(&log, &parts).await;
    }
    let slow = connect(&log.role_url).await;
    slow.batch_execute("BEGIN").await.expect("a transaction");
    let append = append_statement(&stock("SLOW"), 0, Uuid::now_v7());
    slow.batch_execute(&append).await.expect("the first position");
    let store = log.store().await;
    let fast = tokio::spawn(async move { store.append(receipts(&[("FAST", 0)])).await });
    // Either it has overtaken the slow append, or it waits for it.
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()";
    eventually("the fast append is done, or waits for the slow one", async || {
        let waits: i64 = log.admin.query_one(waiting, &[]).await.expect("pg_locks is readable").get(0);
        waits == 1 || fast.is_finished()
    })
    .await;
    let mut read = positions_after(&log, 0).await;
    slow.batch_execute("COMMIT").await.expect("the commit");
    fast.await.expect("no panic").expect("appended");
    let after = read.last().copied().unwrap_or(0);
    read.extend(positions_after(&log, after).await);
    check("a reader sees every position, in order", read == [1, 2], || format!("it saw {read:?} of 1 and 2"))
}

/// Reads as every reader of the log does.
async fn positions_after(log: &TestLog, after: i64) -> Vec<i64> {
    let query = "SELECT position FROM events WHERE position > $1 ORDER BY position LIMIT 10";
    let rows = log.admin.query(query, &[&after]).await.expect("the log is readable");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_reactor_that_does_not_compare_its_checkpoint_is_found() {
    finds("append::checkpoint_not_compared", a_zombie_commits_its_batch).await;
}

/// A replaced reactor does not know that it was replaced: it commits a reaction to the same record, decided on the
/// current log.
async fn a_zombie_commits_its_batch() -> Verdict {
    let log = fresh_log("planted_zombie").await;
    if mutant!("append::checkpoint_not_compared") {
        let part = "IF offsets[move_checkpoints[m]] <> move_from_offsets[m] THEN";
        replace_in_append(&log, &[(part, "IF false THEN")]).await;
    }
    let store = log.store().await;
    let step = |from_offset, to_offset| CheckpointMove {
        consumer: "sagas.inventory".to_owned(),
        topic: "orders.events".to_owned(),
        partition: 0,
        from_offset,
        to_offset,
        last_position: to_offset,
    };
    let reaction = |version, step| Append { checkpoints: vec![step], ..receipts(&[("A", version)]) };
    store.append(reaction(0, step(0, 1))).await.expect("the owner of the partition");
    store.append(reaction(1, step(1, 9))).await.expect("the owner continues");
    let zombie = store.append(reaction(2, step(0, 1))).await;
    assert!(matches!(zombie, Ok(_) | Err(AppendError::CheckpointLost { .. })), "{zombie:?}");
    let at = store.checkpoints("sagas.inventory").await.expect("readable")[0].next_offset;
    check("a checkpoint never goes back", at == 9, || format!("it went from 9 to {at}"))?;
    let events = log.count("events").await;
    check("a record is reacted to once", events == 2, || format!("{events} events came of 2 records"))
}

#[tokio::test]
async fn a_cursor_that_moves_without_its_lease_is_found() {
    finds("relay::cursor_without_its_lease", a_relay_wakes_past_its_lease).await;
}

async fn a_relay_wakes_past_its_lease() -> Verdict {
    let log = fresh_log("planted_lease").await;
    let store = log.store().await;
    let term = Duration::from_secs(60);
    let sleeper = store.acquire_lease("sleeper", term).await.expect("readable").expect("the lease is free");
    let expire = "UPDATE relay SET lease_expires_at = clock_timestamp()";
    log.admin.batch_execute(expire).await.expect("the owner may");
    store.acquire_lease("successor", term).await.expect("readable").expect("it expired");
    let moved = store.advance_cursor(&sleeper, 0, 5).await.expect("readable");
    check("only the holder of the lease moves the cursor", !moved, || {
        "the sleeper moved it from 0 to 5 under the successor's lease".to_owned()
    })
}

#[tokio::test]
async fn a_key_that_is_claimed_apart_from_its_append_is_found() {
    finds("unit_of_work::key_claimed_apart", one_request_arrives_twice_at_once).await;
}

/// A client library repeats a request whose first attempt is still running.
async fn one_request_arrives_twice_at_once() -> Verdict {
    let log = fresh_log("planted_key").await;
    let store = log.store().await;
    let request = async |name: &str| {
        let mut work = store.unit_of_work();
        work.load::<StockItem>(&stock(name)).await.expect("readable");
        work.write::<StockItem>(&stock(name), vec![support::received_event(name, 1)], &metadata());
        let answer = Answer { status: 201, body: json!({ "made": name }) };
        work.claim(IdempotencyClaim { key: "the key".to_owned(), fingerprint: [1; 32], answer });
        work.commit().await
    };
    // The two attempts write different streams, as two generated order ids would.
    let (one, other) = tokio::join!(request("A"), request("B"));
    for outcome in [one, other] {
        let definite = matches!(outcome, Ok(_) | Err(AppendError::AlreadyAnswered(_)));
        assert!(definite, "{:?}", outcome.err());
    }
    let events = log.count("events").await;
    check("a key is answered once, for one append", events == 1, || {
        format!("{events} appends were made under one key")
    })
}
