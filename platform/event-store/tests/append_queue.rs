//! The queue before the log: its limits, its shutdown, and the batches that it fills.

use event_store::{AppendError, StoreOptions};
use futures::future::join_all;
use testkit::eventually;

use crate::support::{fresh_log, open, receipts};

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let log = fresh_log("overload").await;
    let store = open(&log.role_url, StoreOptions { queue_commands_max: 2, ..StoreOptions::default() }).await;
    let held = log.hold().await;
    let appends = ["A", "B", "C", "D", "E", "F"].map(|name| store.append(receipts(&[(name, 0)])));
    let (outcomes, ()) = tokio::join!(join_all(appends), async {
        log.until_waiting(1).await;
        held.release().await;
    });
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(AppendError::Overloaded { max: 2, .. }));
    let overloaded = outcomes.iter().filter(|outcome| refused(outcome)).count();
    let appended = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(overloaded >= 3, "{outcomes:?}");
    assert_eq!(overloaded + appended, 6);
    assert_eq!(log.count("events").await, i64::try_from(appended).expect("few"));
}

#[tokio::test]
async fn a_queue_that_is_full_of_bytes_refuses_at_once() {
    let log = fresh_log("overload_bytes").await;
    let store = open(&log.role_url, StoreOptions { queue_bytes_max: 1_000, ..StoreOptions::default() }).await;
    let held = log.hold().await;
    let appends = ["A", "B", "C"].map(|name| store.append(receipts(&[(name, 0)])));
    let (outcomes, ()) = tokio::join!(join_all(appends), async {
        log.until_waiting(1).await;
        held.release().await;
    });
    assert!(
        matches!(outcomes[2], Err(AppendError::Overloaded { what: "bytes", max: 1_000, .. })),
        "{outcomes:?}"
    );
    store.append(receipts(&[("D", 0)])).await.expect("there is room again");
}

#[tokio::test]
async fn an_append_whose_caller_was_cancelled_still_happens() {
    let log = fresh_log("dropped").await;
    let store = log.store().await;
    let held = log.hold().await;
    let callers: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store.append(receipts(&[(&format!("A{n}"), 0), (&format!("B{n}"), 0)])).await
            })
        })
        .collect();
    log.until_waiting(1).await;
    for caller in &callers {
        caller.abort();
    }
    let cancelled = join_all(callers).await;
    held.release().await;
    eventually("40 events", async || log.count("events").await == 40).await;
    assert!(cancelled.iter().all(Result::is_err), "every caller was cancelled before its answer");
}

#[tokio::test]
async fn a_shutdown_finishes_the_queued_appends_and_refuses_new_ones() {
    let log = fresh_log("shutdown").await;
    let store = log.store().await;
    let held = log.hold().await;
    let names: Vec<String> = (0..10).map(|n| format!("S{n}")).collect();
    let appends = join_all(names.iter().map(|name| store.append(receipts(&[(name, 0)]))));
    let (outcomes, ()) = tokio::join!(appends, async {
        log.until_waiting(1).await;
        tokio::join!(store.clone().shutdown(), held.release());
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(store.append(receipts(&[("late", 0)])).await.is_err());
    assert_eq!(log.count("events").await, 10);
}

#[tokio::test]
async fn many_callers_at_once_share_batches() {
    let log = fresh_log("shared").await;
    let store = log.store().await;
    let names: Vec<String> = (0..500).map(|n| format!("S{n}")).collect();
    let appended = join_all(names.iter().map(|name| store.append(receipts(&[(name, 0)])))).await;
    let mut positions: Vec<i64> =
        appended.iter().map(|one| one.as_ref().expect("no conflict").first_position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=500).collect::<Vec<i64>>());
    let times: std::collections::HashSet<_> = appended.iter().flatten().map(|one| one.recorded_at).collect();
    assert!(times.len() < 100, "{} batches for 500 commands", times.len());
    assert!(times.len() >= 2, "a batch has at most 256 commands");
}
