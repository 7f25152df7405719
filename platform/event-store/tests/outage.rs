//! The connection breaks during an append: before the server has it, after the commit, or so that the request arrives
//! after its own repetition. The caller gets a definite and true answer.

use std::time::Duration;

use crate::support::proxy::{Cut, Proxy};
use crate::support::{TestLog, fresh_log, open, receipts, stock};
use event_store::{Answer, Append, AppendError, EventStore, IdempotencyClaim, StoreError, StoreOptions};
use futures::future::join_all;
use serde_json::json;
use testkit::eventually;

/// A store whose connection can be cut, with its statement already prepared.
async fn through_proxy(log: &TestLog) -> (Proxy, EventStore) {
    let proxy = Proxy::before(&log.role_url).await;
    let store = open(&proxy.url, StoreOptions::default()).await;
    store.append(receipts(&[("warm", 0)])).await.expect("the stream is empty");
    (proxy, store)
}

#[tokio::test]
async fn an_append_that_never_reached_the_server_is_sent_again() {
    let log = fresh_log("lost_request").await;
    let (proxy, store) = through_proxy(&log).await;
    proxy.cut(Cut::Request);
    let appended = store.append(receipts(&[("A", 0)])).await.expect("it is sent again");
    assert_eq!(proxy.pending(), Cut::None, "the connection was cut");
    assert_eq!((appended.first_position, appended.last_position), (2, 2));
    assert_eq!(log.count("events").await, 2);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_in_the_log() {
    let log = fresh_log("lost_answer").await;
    let (proxy, store) = through_proxy(&log).await;
    proxy.cut(Cut::Answer);
    let claim = IdempotencyClaim {
        key: "k".to_owned(),
        fingerprint: [7; 32],
        answer: Answer { status: 201, body: json!({}) },
    };
    let claimed = Append { claim: Some(claim), ..receipts(&[("A", 0), ("B", 0)]) };
    let (whole, plain) = tokio::join!(store.append(claimed), store.append(receipts(&[("C", 0)])));
    assert_eq!(proxy.pending(), Cut::None, "the connection was cut");
    let (whole, plain) = (whole.expect("it was committed"), plain.expect("it has no conflict"));
    assert_eq!((whole.first_position, whole.last_position, plain.first_position), (2, 3, 4));
    assert_eq!(log.count("events").await, 4, "no event is there twice");
}

#[tokio::test]
async fn a_conflict_behind_a_lost_answer_is_still_a_conflict() {
    let log = fresh_log("lost_conflict").await;
    let (proxy, store) = through_proxy(&log).await;
    proxy.cut(Cut::Answer);
    let refused = store.append(receipts(&[("warm", 0)])).await;
    assert_eq!(proxy.pending(), Cut::None, "the connection was cut");
    assert!(matches!(refused, Err(AppendError::Conflict { actual: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn an_append_that_arrives_later_than_its_repetition_happens_once() {
    let log = fresh_log("ghost").await;
    let (proxy, store) = through_proxy(&log).await;
    proxy.cut(Cut::LateRequest);
    let appended = store.append(receipts(&[("A", 0), ("B", 0)])).await.expect("the repetition is appended");
    assert_eq!((appended.first_position, appended.last_position), (2, 3));
    proxy.deliver_late().await;
    assert_eq!(log.count("events").await, 3, "the late request conflicted with its own events");
    store.append(receipts(&[("A", 1)])).await.expect("the log goes on");
}

#[tokio::test]
async fn appends_whose_backend_is_killed_again_and_again_happen_once() {
    let log = fresh_log("killed").await;
    let store = log.store().await;
    for round in 0..10 {
        let held = log.hold().await;
        let names: Vec<String> = (0..20).map(|n| format!("S{n}")).collect();
        let appends = join_all(names.iter().map(|name| store.append(receipts(&[(name, round)]))));
        let (outcomes, ()) = tokio::join!(appends, async {
            log.until_waiting(1).await;
            assert_eq!(log.kill_appending_backends(1).await, 1);
            held.release().await;
        });
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(log.count("events").await, i64::from(20 * (round + 1)));
    }
    assert_eq!(store.head().await.expect("readable"), 200);
    assert_eq!(store.read_stream(&stock("S7"), 0, 100).await.expect("readable").len(), 10);
}

#[tokio::test]
async fn an_unreachable_database_is_reported_and_an_unsent_append_is_not_written() {
    let log = fresh_log("away").await;
    let options = StoreOptions { outage_wait_max: Duration::from_millis(300), ..StoreOptions::default() };
    let store = open(&log.role_url, options).await;
    store.append(receipts(&[("A", 0)])).await.expect("A is empty");
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND usename = 'tradewind_inventory'";
    let database: String =
        log.admin.query_one("SELECT current_database()", &[]).await.expect("readable").get(0);
    let close = format!("ALTER DATABASE {database} CONNECTION LIMIT 0");
    log.admin.batch_execute(&close).await.expect("the owner may close the database");
    log.admin.batch_execute(kill).await.expect("the owner may end backends");
    // At first the appender may not know that its connection is closed; then it reports that append's outcome as
    // unknown.
    eventually("the append is refused as unavailable", async || {
        let refused = store.append(receipts(&[("B", 0)])).await.expect_err("the database is closed");
        matches!(refused, AppendError::Store(StoreError::Unavailable { .. }))
    })
    .await;
    let reopen = format!("ALTER DATABASE {database} CONNECTION LIMIT -1");
    log.admin.batch_execute(&reopen).await.expect("the owner may open the database");
    assert_eq!(log.count("events").await, 1);
    store.append(receipts(&[("B", 0)])).await.expect("the appender reconnects");
}
