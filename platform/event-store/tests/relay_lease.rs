//! One relay at a time, and a cursor that moves only under its lease.

use std::time::Duration;

use crate::support::{fresh_log, receipts};
use event_store::{LEASE_TERM_MAX, RECONCILER};

const TERM: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_lease_has_one_holder_until_it_expires() {
    let log = fresh_log("lease").await;
    let store = log.store().await;
    let first = store.acquire_lease("one", TERM).await.expect("readable").expect("the lease is free");
    assert_eq!((first.epoch, first.cursor, first.holder.as_str()), (1, 0, "one"));
    assert_eq!(store.acquire_lease("two", TERM).await.expect("readable"), None);
    let renewed = store.renew_lease(&first, TERM).await.expect("readable").expect("the lease is unchanged");
    assert!(renewed.expires_at >= first.expires_at);

    let expire = "UPDATE relay SET lease_expires_at = clock_timestamp()";
    log.admin.batch_execute(expire).await.expect("the owner may");
    let second = store.acquire_lease("two", TERM).await.expect("readable").expect("it expired");
    assert_eq!(second.epoch, 2);
    assert_eq!(store.renew_lease(&first, TERM).await.expect("readable"), None, "the first must stop");
}

/// As after the database's clock was set back by an hour after the lease was acquired.
#[tokio::test]
async fn a_lease_that_expires_later_than_the_longest_term_is_void() {
    let log = fresh_log("lease_ahead").await;
    let store = log.store().await;
    let gone =
        store.acquire_lease("gone", LEASE_TERM_MAX).await.expect("readable").expect("the lease is free");
    assert_eq!(
        store.acquire_lease("next", TERM).await.expect("readable"),
        None,
        "the longest is none too long"
    );
    let ahead = "UPDATE relay SET lease_expires_at = clock_timestamp() + interval '1 hour'";
    log.admin.batch_execute(ahead).await.expect("the owner may");
    let next = store.acquire_lease("next", TERM).await.expect("readable").expect("no lease lasts an hour");
    assert_eq!(next.epoch, gone.epoch + 1);
    assert_eq!(
        store.renew_lease(&gone, TERM).await.expect("readable"),
        None,
        "a holder that still runs stops"
    );

    let reconciling = format!("{ahead}, holder = '{RECONCILER}'");
    log.admin.batch_execute(&reconciling).await.expect("the owner may");
    assert_eq!(
        store.acquire_lease("another", TERM).await.expect("readable"),
        None,
        "a reconciliation may last"
    );
}

#[tokio::test]
async fn of_many_simultaneous_requests_for_the_lease_one_succeeds() {
    let log = fresh_log("lease_race").await;
    let store = log.store().await;
    let names: Vec<String> = (0..20).map(|n| format!("relay {n}")).collect();
    let wanted = futures::future::join_all(names.iter().map(|name| store.acquire_lease(name, TERM))).await;
    assert_eq!(wanted.iter().filter(|lease| matches!(lease, Ok(Some(_)))).count(), 1);
    assert!(wanted.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_zombie_moves_no_cursor() {
    let log = fresh_log("zombie").await;
    let store = log.store().await;
    let zombie = store.acquire_lease("zombie", TERM).await.expect("readable").expect("the lease is free");
    assert!(store.advance_cursor(&zombie, 0, 5).await.expect("readable"));
    store.release_lease(&zombie).await.expect("readable");
    assert!(!store.advance_cursor(&zombie, 5, 6).await.expect("readable"), "it released the lease");
    let successor = store.acquire_lease("successor", TERM).await.expect("readable").expect("it was released");
    assert_eq!(successor.cursor, 5);
    assert!(!store.advance_cursor(&zombie, 5, 6).await.expect("readable"));
    assert!(store.advance_cursor(&successor, 5, 7).await.expect("readable"));
}

#[tokio::test]
async fn the_cursor_moves_only_from_its_current_position_and_never_back() {
    let log = fresh_log("cursor").await;
    let store = log.store().await;
    let lease = store.acquire_lease("one", TERM).await.expect("readable").expect("the lease is free");
    assert!(store.advance_cursor(&lease, 0, 3).await.expect("readable"));
    assert!(!store.advance_cursor(&lease, 0, 4).await.expect("readable"), "it is at 3");
    assert!(!store.advance_cursor(&lease, 3, 2).await.expect("readable"), "never back");
    assert_eq!(store.relay_status().await.expect("readable").cursor, 3);
}

#[tokio::test]
async fn the_status_has_the_lag_and_the_age_of_the_oldest_unrelayed_event() {
    let log = fresh_log("status").await;
    let store = log.store().await;
    let idle = store.relay_status().await.expect("readable");
    assert_eq!((idle.lag(), idle.lease_is_held, idle.oldest_unrelayed_age), (0, false, None));
    store.append(receipts(&[("A", 0), ("B", 0), ("C", 0)])).await.expect("they are empty");
    let lease = store.acquire_lease("one", TERM).await.expect("readable").expect("the lease is free");
    assert!(store.advance_cursor(&lease, 0, 1).await.expect("readable"));
    let status = store.relay_status().await.expect("readable");
    assert_eq!((status.cursor, status.head, status.lag()), (1, 3, 2));
    assert!(status.lease_is_held);
    assert_eq!(status.holder, "one");
    assert!(status.oldest_unrelayed_age.is_some());
}
