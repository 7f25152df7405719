//! One reader with several handlers on a real Kafka and a real Postgres: each handler's effects happen once and in
//! order, whatever delays the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{Entry, GROUP, Keeper, Ledger, assert_once_and_in_order, bus, publish, start_reader};
use event_bus::{committed_offsets, delete_groups, group_members, reader_groups};
use events::Context;
use testkit::eventually;

/// More than a handler's buffer holds.
pub const MANY: i64 = 5_000;
pub const MANY_ENTRIES: usize = MANY as usize;

/// Two handlers, each with its own ledger.
pub async fn two() -> (Ledger, Arc<Keeper>, Ledger, Arc<Keeper>) {
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    let first = Keeper::named("keepers.one", &one, "one");
    let second = Keeper::named("keepers.other", &other, "other");
    (one, first, other, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_get_every_record_once_and_in_order_by_one_group_with_one_member() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    publish(&bus, 1..=2_000).await;
    let running = start_reader(&bus, &[&first, &second], false);
    assert_once_and_in_order(&one.when_entries(2_000).await, 1..=2_000);
    assert_once_and_in_order(&other.when_entries(2_000).await, 1..=2_000);
    for index in 0..2 {
        running
            .when_health(index, "no lag, no trouble", |health| {
                health.lag_records == Some(0) && health.trouble.is_none() && health.assigned == 12
            })
            .await;
    }
    assert_eq!(reader_groups(&bus, GROUP).await.expect("Kafka answers"), [GROUP]);
    assert_eq!(group_members(&bus, GROUP).await.expect("Kafka answers"), 1);
    running.stop().await;
    let committed = committed_offsets(&bus, &Context::NAMES, "keepers.other").await.expect("Kafka answers");
    assert_eq!(committed.iter().map(|(_, _, offset)| offset).sum::<i64>(), 2_000);
    eventually("its group can be deleted", || async { delete_groups(&bus, GROUP).await.ok() }).await;
    assert_eq!(reader_groups(&bus, GROUP).await.expect("Kafka answers"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_handler_delays_only_itself_and_gets_everything_when_it_recovers() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    first.stuck.store(true, Ordering::SeqCst);
    let running = start_reader(&bus, &[&first, &second], false);
    publish(&bus, 1..=MANY).await;
    assert_once_and_in_order(&other.when_entries(MANY_ENTRIES).await, 1..=MANY);
    running
        .when_health(0, "the reason is reported", |health| {
            health.trouble.as_deref() == Some("retry: it is stuck")
        })
        .await;
    running.when_health(1, "the other has no trouble", |health| health.trouble.is_none()).await;
    assert_eq!(one.entries().await, []);
    first.stuck.store(false, Ordering::SeqCst);
    publish(&bus, MANY + 1..=MANY + 500).await;
    assert_once_and_in_order(&one.when_entries(MANY_ENTRIES + 500).await, 1..=MANY + 500);
    assert_once_and_in_order(&other.when_entries(MANY_ENTRIES + 500).await, 1..=MANY + 500);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_delays_only_itself_and_catches_up() {
    let bus = bus().await;
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    let slow = Keeper::slow("keepers.slow", &one, "slow");
    let fast = Keeper::named("keepers.fast", &other, "fast");
    let running = start_reader(&bus, &[&slow, &fast], false);
    publish(&bus, 1..=MANY).await;
    assert_once_and_in_order(&other.when_entries(MANY_ENTRIES).await, 1..=MANY);
    // Batch by batch: it falls behind repeatedly while the topic grows.
    for round in 0..20 {
        slow.release(3);
        let from = MANY + round * 100;
        publish(&bus, from + 1..=from + 100).await;
    }
    let all = MANY + 2_000;
    assert_once_and_in_order(&other.when_entries(all as usize).await, 1..=all);
    assert!(one.entries().await.len() < all as usize, "it is slow");
    slow.release(10_000);
    assert_once_and_in_order(&one.when_entries(all as usize).await, 1..=all);
    running.when_health(0, "no lag", |health| health.lag_records == Some(0)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_whose_checkpoints_are_far_apart_each_start_at_their_own() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    publish(&bus, 1..=20_000).await;
    let alone = start_reader(&bus, &[&first], false);
    one.when_entries(20_000).await;
    alone.stop().await;
    let third_ledger = Ledger::new().await;
    let third = Keeper::named("keepers.third", &third_ledger, "third");
    let running = start_reader(&bus, &[&first, &second, &third], false);
    publish(&bus, 20_001..=20_500).await;
    // The handler at the end does not wait for the others.
    let early = one.when_entries(20_500).await;
    assert_once_and_in_order(&early, 1..=20_500);
    assert_once_and_in_order(&other.when_entries(20_500).await, 1..=20_500);
    assert_once_and_in_order(&third_ledger.when_entries(20_500).await, 1..=20_500);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_killed_in_the_middle_neither_lose_nor_repeat_an_effect_of_any_handler() {
    let bus = bus().await;
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    publish(&bus, 1..=6_000).await;
    for life in 1..=5_usize {
        let by = format!("life {life}");
        let first = Keeper::named("keepers.one", &one, &by);
        let second = Keeper::named("keepers.other", &other, &by);
        // In every other run one of them handles nothing.
        second.stuck.store(life % 2 == 0, Ordering::SeqCst);
        let running = start_reader(&bus, &[&first, &second], true);
        one.when_entries(life * 1_000).await;
        running.kill().await;
    }
    let first = Keeper::named("keepers.one", &one, "last");
    let second = Keeper::named("keepers.other", &other, "last");
    let running = start_reader(&bus, &[&first, &second], true);
    assert_once_and_in_order(&one.when_entries(6_000).await, 1..=6_000);
    assert_once_and_in_order(&other.when_entries(6_000).await, 1..=6_000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_readers_share_the_partitions_under_load_and_one_leaves() {
    let bus = bus().await;
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    let keepers =
        |by: &str| (Keeper::named("keepers.one", &one, by), Keeper::named("keepers.other", &other, by));
    let (a_one, a_other) = keepers("a");
    let a = start_reader(&bus, &[&a_one, &a_other], true);
    publish(&bus, 1..=2_000).await;
    one.when_entries(500).await;
    let (b_one, b_other) = keepers("b");
    let b = start_reader(&bus, &[&b_one, &b_other], true);
    for chunk in 0..20 {
        publish(&bus, 2_000 + chunk * 200 + 1..=2_000 + (chunk + 1) * 200).await;
    }
    b.when_health(0, "the second reader has its share", |health| health.assigned == 6).await;
    publish(&bus, 6_001..=8_000).await;
    one.when_entries(7_000).await;
    a.stop().await;
    publish(&bus, 8_001..=9_000).await;
    for ledger in [&one, &other] {
        let entries = ledger.when_entries(9_000).await;
        assert_once_and_in_order(&entries, 1..=9_000);
        let had_part = |by: &str| entries.iter().any(|entry: &Entry| entry.by == by);
        assert!(had_part("a") && had_part("b"));
    }
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_revoked_while_a_handler_catches_up_continues_with_its_next_owner() {
    let bus = bus().await;
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    let slow = Keeper::slow("keepers.slow", &one, "a");
    let fast = Keeper::named("keepers.fast", &other, "a");
    let a = start_reader(&bus, &[&slow, &fast], true);
    publish(&bus, 1..=MANY).await;
    other.when_entries(MANY_ENTRIES).await;
    // Enough to have room for the missed records, and not enough to have handled all of them.
    slow.release(30);
    one.when_entries(600).await;
    let b_slow = Keeper::named("keepers.slow", &one, "b");
    let b_fast = Keeper::named("keepers.fast", &other, "b");
    let b = start_reader(&bus, &[&b_slow, &b_fast], true);
    slow.release(10_000);
    b.when_health(0, "the second reader has its share", |health| health.assigned == 6).await;
    publish(&bus, MANY + 1..=MANY + 1_000).await;
    for ledger in [&one, &other] {
        assert_once_and_in_order(&ledger.when_entries(MANY_ENTRIES + 1_000).await, 1..=MANY + 1_000);
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_whose_database_is_unreachable_at_the_start_delays_the_others_only_briefly() {
    let bus = bus().await;
    let (one, first, other, second) = two().await;
    second.away.store(true, Ordering::SeqCst);
    publish(&bus, 1..=MANY).await;
    let running = start_reader(&bus, &[&first, &second], false);
    assert_once_and_in_order(&one.when_entries(MANY_ENTRIES).await, 1..=MANY);
    running
        .when_health(1, "the reason is reported", |health| {
            health.trouble.as_deref() == Some("retry: its database is unreachable")
        })
        .await;
    second.away.store(false, Ordering::SeqCst);
    assert_once_and_in_order(&other.when_entries(MANY_ENTRIES).await, 1..=MANY);
    running.when_health(1, "the trouble is over", |health| health.trouble.is_none()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_only_handler_is_late_is_read_from_that_handlers_checkpoint() {
    let bus = bus().await;
    let (one, other) = (Ledger::new().await, Ledger::new().await);
    let late = Keeper::named("keepers.late", &one, "late");
    let elsewhere = Keeper::subscribed_to(Context::Orders, "keepers.elsewhere", &other, "elsewhere");
    late.away.store(true, Ordering::SeqCst);
    publish(&bus, 1..=1_000).await;
    let running = start_reader(&bus, &[&late, &elsewhere], false);
    running
        .when_health(1, "the other has its checkpoints", |health| {
            health.assigned == 12 && health.trouble.is_none()
        })
        .await;
    publish(&bus, 1_001..=1_500).await;
    late.away.store(false, Ordering::SeqCst);
    assert_once_and_in_order(&one.when_entries(1_500).await, 1..=1_500);
    running.stop().await;
    assert_eq!(other.entries().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_partitions_is_healthy() {
    let bus = bus().await;
    let ledger = Ledger::new().await;
    let keeper = Keeper::named("keepers.one", &ledger, "a");
    let readers: Vec<_> = (0..13).map(|_| start_reader(&bus, &[&keeper], false)).collect();
    for reader in &readers {
        reader
            .when_health(0, "it has its checkpoints", |health| {
                health.assigned <= 1 && health.trouble.is_none()
            })
            .await;
    }
    publish(&bus, 1..=200).await;
    assert_once_and_in_order(&ledger.when_entries(200).await, 1..=200);
    for reader in readers {
        reader.stop().await;
    }
}
