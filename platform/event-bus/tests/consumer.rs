//! The consumer on a real Kafka and a real Postgres: every effect once, in order, through restarts, retries,
//! duplicates, poison records and checkpoints that others moved.

use std::time::{Duration, Instant};

use crate::support::{
    CONTEXT, Keeper, Ledger, assert_once_and_in_order, bus, event, event_of, home, outgoing, publish,
    put_by_hand,
};
use event_bus::HandlerError;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_takes_effect_once_and_in_order_in_batches() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=3_000).await;
    let keeper = Keeper::new(&ledger, "a");
    let running = keeper.start(&bus);
    assert_once_and_in_order(&ledger.when_entries(3_000).await, 1..=3_000);
    running
        .when_health("no lag, no trouble", |health| {
            health.lag_records == Some(0) && health.trouble.is_none() && health.assigned == 12
        })
        .await;
    running.stop().await;
    let batches = keeper.batches.lock().expect("no panic").clone();
    assert!(batches.iter().all(|&records| records <= 50), "{batches:?}");
    assert!(batches.iter().any(|&records| records > 1), "{batches:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_started_before_any_record_gets_the_first() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    let running = Keeper::new(&ledger, "a").start(&bus);
    running.when_health("all partitions are assigned", |health| health.assigned == 12).await;
    publish(&bus, 1..=100).await;
    assert_once_and_in_order(&ledger.when_entries(100).await, 1..=100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_at_the_checkpoint() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=500).await;
    let first = Keeper::new(&ledger, "a").start(&bus);
    ledger.when_entries(500).await;
    first.stop().await;
    publish(&bus, 501..=1_000).await;
    let second = Keeper::new(&ledger, "b").start(&bus);
    assert_once_and_in_order(&ledger.when_entries(1_000).await, 1..=1_000);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_killed_in_the_middle_neither_lose_nor_repeat_an_effect() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=4_000).await;
    for life in 1..=3 {
        let running = Keeper::new(&ledger, &format!("life {life}")).start(&bus);
        ledger.when_entries(life * 1_000).await;
        running.kill().await;
    }
    let last = Keeper::new(&ledger, "last").start(&bus);
    assert_once_and_in_order(&ledger.when_entries(4_000).await, 1..=4_000);
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_irrelevant_record_is_skipped_and_its_checkpoint_follows() {
    let tenth = |position| position % 10 == 0;
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=3_000).await;
    for life in 1..=2 {
        let running = Keeper::relevant_if(tenth, &ledger, &format!("life {life}")).start(&bus);
        ledger.when_entries(life * 100).await;
        running.kill().await;
    }
    let keeper = Keeper::relevant_if(tenth, &ledger, "last");
    let running = keeper.start(&bus);
    assert_once_and_in_order(&ledger.when_entries(300).await, (1..=3_000).filter(|at| tenth(*at)));
    ledger.when_passed(3_000).await;
    running.kill().await;
    let everything = Keeper::new(&ledger, "everything").start(&bus);
    publish(&bus, 3_001..=3_100).await;
    let expected = (1..=3_000).filter(|at| tenth(*at)).chain(3_001..=3_100);
    assert_once_and_in_order(&ledger.when_entries(400).await, expected);
    everything.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_stops_commits_the_checkpoints_of_what_it_skipped() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    let keeper = Keeper::relevant_if(|_| false, &ledger, "a");
    let running = keeper.start(&bus);
    publish(&bus, 1..=200).await;
    let asked = || async { (keeper.asked.lock().expect("no panic").len() >= 200).then_some(()) };
    eventually("the handler was asked about all of them", asked).await;
    running.stop().await;
    assert_eq!(ledger.passed().await, 200);
    assert_eq!(ledger.entries().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_under_load_neither_loses_nor_repeats_an_effect() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    let first = Keeper::new(&ledger, "first").start(&bus);
    publish(&bus, 1..=2_000).await;
    ledger.when_entries(500).await;
    let second = Keeper::new(&ledger, "second").start(&bus);
    for chunk in 1..=20 {
        publish(&bus, 2_000 + (chunk - 1) * 200 + 1..=2_000 + chunk * 200).await;
    }
    second.when_health("the second has its share", |health| health.assigned == 6).await;
    publish(&bus, 6_001..=8_000).await;
    ledger.when_entries(7_000).await;
    first.stop().await;
    publish(&bus, 8_001..=9_000).await;
    let entries = ledger.when_entries(9_000).await;
    assert_once_and_in_order(&entries, 1..=9_000);
    for by in ["first", "second"] {
        assert!(entries.iter().any(|entry| entry.by == by), "{by} had no record");
    }
    second.when_health("the second has all partitions", |health| health.assigned == 12).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_to_retry_is_passed_again_complete_and_in_order() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=500).await;
    let busy = || HandlerError::Retry("the provider is unreachable".to_owned());
    let keeper = Keeper::new(&ledger, "a").fails_with((0..5).map(|_| busy()));
    let running = keeper.start(&bus);
    running
        .when_health("the reason is reported", |health| {
            health.trouble.as_deref() == Some("retry: the provider is unreachable")
        })
        .await;
    assert_once_and_in_order(&ledger.when_entries(500).await, 1..=500);
    running.when_health("the trouble is over", |health| health.trouble.is_none()).await;
    publish(&bus, 501..=600).await;
    assert_once_and_in_order(&ledger.when_entries(600).await, 1..=600);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_another_consumer_moved_is_read_again_and_followed() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=1_000).await;
    let keeper = Keeper::new(&ledger, "a");
    let partition = home(&event(1));
    // Another consumer has handled the first 30 records of the partition and commits that before our first batch.
    let done = &crate::support::expected(1..=1_000)[&partition][..30];
    *keeper.interfere.lock().expect("no panic") = Some(format!(
        "INSERT INTO checkpoints VALUES ('keeper', '{}', {partition}, 30, {})",
        bus.topic(CONTEXT),
        done[29]
    ));
    let running = keeper.start(&bus);
    let ours: Vec<i64> = (1..=1_000).filter(|position| !done.contains(position)).collect();
    let entries = ledger.when_entries(ours.len()).await;
    assert_once_and_in_order(&entries, ours);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_follows_a_checkpoint_that_was_set_back() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=500).await;
    let keeper = Keeper::new(&ledger, "a");
    let running = keeper.start(&bus);
    ledger.when_entries(500).await;
    let partition = home(&event(1));
    let again = crate::support::expected(1..=500)[&partition].clone();
    // Like a restore: effects and checkpoint of one partition are gone.
    *keeper.interfere.lock().expect("no panic") = Some(format!(
        "BEGIN; DELETE FROM ledger WHERE partition = {partition};
         UPDATE checkpoints SET next_offset = 0, last_position = 0 WHERE partition = {partition}; COMMIT"
    ));
    publish(&bus, 501..=600).await;
    let entries = ledger.when_entries(600).await;
    assert_once_and_in_order(&entries, 1..=600);
    assert!(!again.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_with_old_positions_have_no_effect_and_are_skipped() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=200).await;
    publish(&bus, 101..=200).await;
    let running = Keeper::new(&ledger, "a").start(&bus);
    ledger.when_passed(300).await;
    publish(&bus, 150..=250).await;
    ledger.when_passed(401).await;
    assert_once_and_in_order(&ledger.entries().await, 1..=250);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_and_foreign_records_are_passed_on_as_errors_and_later_records_are_read() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=50).await;
    let partition = home(&event(1));
    put_by_hand(&bus, partition, "stock-SKU1", b"{\"not\": \"an event\"}").await;
    // A record of another partition's stream, with a position that would hide all later records here.
    let foreign =
        (0..).map(|n| event_of(9_999, &format!("stock-S{n}"))).find(|event| home(event) != partition);
    let foreign = foreign.expect("some stream has another partition");
    put_by_hand(&bus, partition, foreign.stream.as_str(), &outgoing(&foreign).value).await;
    publish(&bus, 51..=100).await;
    let running = Keeper::new(&ledger, "a").start(&bus);
    let entries = ledger.when_entries(102).await;
    running.stop().await;
    let (poison, good): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.position == 0);
    assert_once_and_in_order(&good, 1..=100);
    assert_eq!(poison.iter().map(|entry| entry.partition).collect::<Vec<_>>(), [partition, partition]);
}

/// The partitions of a slow handler are paused; librdkafka keeps a partition paused that is revoked in this state.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_revoked_while_paused_is_read_when_it_is_assigned_again() {
    let (bus, ledger) = (bus().await, Ledger::new().await);
    publish(&bus, 1..=200).await;
    let first = Keeper::new(&ledger, "a").start(&bus);
    ledger.when_entries(200).await;

    let lock = ledger.pool.get().await.expect("a connection");
    lock.batch_execute("BEGIN; LOCK TABLE ledger IN EXCLUSIVE MODE").await.expect("locked");
    publish(&bus, 201..=300).await;
    let second = Keeper::new(&ledger, "b").start(&bus);
    // Partitions are paused when a handler has not returned after 5 s; the second consumer waits for what the first
    // gives up.
    let locked_at = Instant::now();
    eventually("the handler is slow", || async {
        (locked_at.elapsed() > Duration::from_secs(8)).then_some(())
    })
    .await;
    lock.batch_execute("COMMIT").await.expect("unlocked");
    second.when_health("a share of the partitions", |health| health.assigned == 6).await;
    second.stop().await;
    first.when_health("all partitions are assigned again", |health| health.assigned == 12).await;
    publish(&bus, 301..=800).await;
    assert_once_and_in_order(&ledger.when_entries(800).await, 1..=800);
    first.stop().await;
}
