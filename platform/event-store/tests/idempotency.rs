//! A repeated request gets its first answer and is executed once.

use std::time::Duration;

use crate::support::{fresh_log, receipts};
use event_store::{Answer, Append, AppendError, EventStore, IdempotencyClaim};
use futures::future::join_all;
use serde_json::json;

fn claimed(key: &str, request: u8, append: Append) -> Append {
    let answer = Answer { status: 201, body: json!({ "request": request }) };
    let claim = IdempotencyClaim { key: key.to_owned(), fingerprint: [request; 32], answer };
    Append { claim: Some(claim), ..append }
}

#[tokio::test]
async fn fifty_repetitions_at_once_append_once_and_get_equal_answers() {
    let log = fresh_log("fifty").await;
    // Two stores stand for two processes: some repetitions share a batch, others do not.
    let stores: Vec<EventStore> = vec![log.store().await, log.store().await];
    let names: Vec<String> = (0..50).map(|n| format!("A{n}")).collect();
    let attempts = names.iter().enumerate().map(|(n, name)| {
        let append = claimed("the key", 1, receipts(&[(name, 0), (&format!("B{n}"), 0)]));
        let store = &stores[n % 2];
        async move { store.append(append).await }
    });
    let outcomes = join_all(attempts).await;
    let appended: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(appended.len(), 1);
    for outcome in &outcomes {
        match outcome {
            Ok(_) => {}
            Err(AppendError::AlreadyAnswered(stored)) => {
                assert_eq!(stored.answer, Answer { status: 201, body: json!({ "request": 1 }) });
                assert_eq!((stored.first_position, stored.last_position), (1, 2));
                assert_eq!(stored.answered_at, appended[0].recorded_at);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(log.count("events").await, 2);
    assert_eq!(log.count("idempotency_keys").await, 1);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused() {
    let log = fresh_log("reused").await;
    let store = log.store().await;
    store.append(claimed("k", 1, receipts(&[("A", 0)]))).await.expect("the key is new");
    let other = store.append(claimed("k", 2, receipts(&[("B", 0)]))).await;
    assert!(matches!(other, Err(AppendError::KeyReused { ref key }) if key == "k"), "{other:?}");
    // The same when both arrive at once.
    let (one, two) = tokio::join!(
        store.append(claimed("l", 1, receipts(&[("C", 0)]))),
        store.append(claimed("l", 2, receipts(&[("D", 0)]))),
    );
    one.expect("it came first");
    assert!(matches!(two, Err(AppendError::KeyReused { .. })), "{two:?}");
    assert_eq!(log.count("events").await, 2);
}

#[tokio::test]
async fn a_repetition_is_answered_even_where_it_would_conflict() {
    let log = fresh_log("repetition").await;
    let store = log.store().await;
    let append = claimed("k", 1, receipts(&[("A", 0)]));
    store.append(append.clone()).await.expect("the key is new");
    assert!(matches!(store.append(append).await, Err(AppendError::AlreadyAnswered(_))));
}

#[tokio::test]
async fn a_key_is_not_used_up_by_a_conflict() {
    let log = fresh_log("not_used").await;
    let store = log.store().await;
    let refused = store.append(claimed("k", 1, receipts(&[("A", 5)]))).await;
    assert!(refused.is_err_and(|error| error.is_conflict()));
    assert_eq!(store.answer("k").await.expect("readable"), None);
    store.append(claimed("k", 1, receipts(&[("A", 0)]))).await.expect("the key is still free");
}

#[tokio::test]
async fn a_refusal_is_an_answer_too() {
    let log = fresh_log("refusal").await;
    let store = log.store().await;
    let refusal = claimed("k", 1, Append::default());
    let appended = store.append(refusal.clone()).await.expect("it has no conflict");
    assert_eq!((appended.first_position, appended.last_position), (0, 0));
    let stored = store.answer("k").await.expect("readable").expect("it was answered");
    assert_eq!(stored.answer.body, json!({ "request": 1 }));
    assert_eq!((stored.fingerprint, stored.last_position), ([1; 32], 0));
    assert!(
        matches!(store.append(refusal).await, Err(AppendError::AlreadyAnswered(again)) if again == stored)
    );
}

#[tokio::test]
async fn a_batch_has_the_same_outcomes_whether_or_not_one_of_its_commands_fails() {
    // If nothing fails, append() checks the batch as a whole.
    let alone = batch_beside(None).await;
    let beside_a_conflict = batch_beside(Some(receipts(&[("G", 5)]))).await;
    let beside_a_repetition = batch_beside(Some(claimed("a", 1, receipts(&[("G", 0)])))).await;
    assert_eq!(alone.0, [(2, 2), (0, 0), (3, 4), (5, 6)]);
    assert_eq!(alone.1, [(2, 2), (0, 0), (5, 6)]);
    assert_eq!(alone, beside_a_conflict);
    assert_eq!(alone, beside_a_repetition);
}

/// The positions of one batch's commands, and the positions stored with their keys.
async fn batch_beside(failing: Option<Append>) -> (Vec<(i64, i64)>, Vec<(i64, i64)>) {
    let log = fresh_log("batch_beside").await;
    let store = log.store().await;
    let held = log.hold().await;
    // The first is sent alone and waits for the log; the others queue behind it and are sent together.
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.append(receipts(&[("first", 0)])).await }
    });
    log.until_waiting(1).await;
    let several = receipts(&[("C", 0), ("D", 0)]);
    let keyed =
        [("a", receipts(&[("A", 0)])), ("b", Append::default()), ("e", receipts(&[("E", 0), ("F", 0)]))];
    let [a, b, e] = keyed.map(|(key, append)| claimed(key, 1, append));
    let batch = [a, b, several, e].into_iter().chain(failing).map(|append| store.append(append));
    let outcomes = async { tokio::join!(join_all(batch), held.release()).0 }.await;
    first.await.expect("no panic").expect("its stream is empty");
    let (passed, failed) = outcomes.split_at(4);
    assert!(failed.iter().all(Result::is_err), "{failed:?}");
    let passed: Vec<_> = passed.iter().map(|outcome| outcome.as_ref().expect("it has no conflict")).collect();
    let mut answers = Vec::new();
    for key in ["a", "b", "e"] {
        let stored = store.answer(key).await.expect("readable").expect("it was claimed");
        assert_eq!(stored.answer, Answer { status: 201, body: json!({ "request": 1 }) });
        assert_eq!(stored.answered_at, passed[0].recorded_at, "they were one batch");
        answers.push((stored.first_position, stored.last_position));
    }
    (passed.iter().map(|appended| (appended.first_position, appended.last_position)).collect(), answers)
}

#[tokio::test]
async fn old_answers_are_pruned_and_recent_ones_are_kept() {
    let log = fresh_log("prune").await;
    let store = log.store().await;
    for key in ["a", "b", "c", "young"] {
        store.append(claimed(key, 1, Append::default())).await.expect("the key is new");
    }
    let age = "UPDATE idempotency_keys SET answered_at = now() - interval '8 days' WHERE key <> 'young'";
    log.admin.batch_execute(age).await.expect("the owner may");
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(store.prune_answers(week, 2).await.expect("the role may forget"), 2);
    assert_eq!(store.prune_answers(week, 2).await.expect("the role may forget"), 1);
    assert!(store.answer("young").await.expect("readable").is_some());
    assert_eq!(log.count("idempotency_keys").await, 1);
}
