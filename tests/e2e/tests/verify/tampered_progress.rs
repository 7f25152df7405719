//! Each change by hand to checkpoints, recorded progress or the dependencies of events is found and named.

use serde_json::json;

use super::filled::filled;

/// Some position in the middle of a log.
const ANY: i64 = 7;

/// Selects a checkpoint of the read models in the orders' topic that is not at 0.
const MOVED: &str = "(topic, partition) =
    (SELECT topic, min(partition) FROM readmodel.checkpoints
      WHERE consumer = 'query-side' AND topic LIKE '%orders.events' AND next_offset > 0 GROUP BY topic)";

#[tokio::test]
async fn a_checkpoint_moved_backward_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!("UPDATE readmodel.checkpoints SET next_offset = next_offset - 1 WHERE {MOVED}"))
        .await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("checkpoints");
    assert_eq!(violation["at"]["consumer"], json!("query-side"), "{violation:#}");
    assert_eq!(verdict.failing(), ["checkpoints"]);
}

#[tokio::test]
async fn a_checkpoint_moved_forward_beyond_its_partition_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!("UPDATE readmodel.checkpoints SET next_offset = next_offset + 1 WHERE {MOVED}"))
        .await;
    let violation = copy.verify(&[]).await;
    let violation = violation.violation("checkpoints");
    assert!(violation["what"].as_str().is_some_and(|what| what.contains("outside")), "{violation:#}");
}

/// Both numbers are moved, so that they agree with the topic: the rows and the recorded progress still show the change.
#[tokio::test]
async fn a_checkpoint_moved_with_its_position_is_found_by_the_rows_that_it_left_behind() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!(
        "UPDATE readmodel.checkpoints SET next_offset = 0, last_position = 0 WHERE {MOVED}"
    ))
    .await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("read-model-orders");
    assert_eq!(violation["what"], json!("a row that the log does not give"), "{violation:#}");
    let violation = verdict.violation("progress");
    let what = "a position is recorded as applied that no checkpoint has passed";
    assert_eq!(violation["what"], json!(what), "{violation:#}");
    let failing = verdict.failing();
    let others = failing.iter().filter(|name| !name.starts_with("read-model-")).collect::<Vec<_>>();
    assert_eq!(others, [&"progress"], "{failing:?}");
}

#[tokio::test]
async fn progress_with_a_position_missing_or_too_many_is_found() {
    let filled = filled().await;
    let change = "UPDATE readmodel.progress SET applied = applied CHANGE WHERE context = 'payments'";
    for (change_of, what, place, name) in [
        (
            format!("- int8multirange(int8range({ANY}, {ANY}, '[]'))"),
            "a checkpoint has passed a position that is not recorded as applied",
            ANY.to_string(),
            "position",
        ),
        (
            "+ int8multirange(int8range((SELECT max(position) + 1 FROM payments.events), NULL))".to_owned(),
            "positions are recorded as applied that the log does not have",
            "payments".to_owned(),
            "context",
        ),
    ] {
        let copy = filled.copy_database().await;
        copy.execute(&change.replace("CHANGE", &change_of)).await;
        let verdict = copy.verify(&[]).await;
        let violation = verdict.violation("progress");
        assert_eq!(
            (&violation["what"], &violation["at"][name]),
            (&json!(what), &json!(place)),
            "{violation:#}"
        );
        assert_eq!(verdict.failing(), ["progress"]);
    }
}

#[tokio::test]
async fn progress_that_has_seen_less_than_what_is_shown_depends_on_or_more_than_there_is_is_found() {
    let filled = filled().await;
    for (seen, what) in [
        ("seen - 1", "what is recorded as seen ends before what is shown depends on"),
        ("seen + 1", "a position is recorded as seen that the log does not have"),
    ] {
        let copy = filled.copy_database().await;
        copy.execute(&format!("UPDATE readmodel.progress SET seen = {seen} WHERE context = 'inventory'"))
            .await;
        let verdict = copy.verify(&[]).await;
        let violation = verdict.violation("progress");
        assert_eq!(violation["what"], json!(what), "{violation:#}");
        assert_eq!(violation["at"]["context"], json!("inventory"), "{violation:#}");
        assert_eq!(verdict.failing(), ["progress"]);
    }
}

/// The read models are behind in the orders, and show effects of an order: `seen` must cover the order all the same.
#[tokio::test]
async fn progress_that_does_not_cover_what_applied_events_name_in_another_context_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "UPDATE readmodel.checkpoints SET next_offset = 0, last_position = 0
          WHERE consumer = 'query-side' AND topic LIKE '%orders.events';
         UPDATE readmodel.progress SET applied = '{}', seen = 0 WHERE context = 'orders'",
    )
    .await;
    let verdict = copy.verify(&["--only", "progress"]).await;
    let violation = verdict.violation("progress");
    assert_eq!(violation["at"]["context"], json!("orders"), "{violation:#}");
    assert!(
        violation["at"]["shown"].as_str().is_some_and(|shown| !shown.starts_with("orders:")),
        "{violation:#}"
    );
}

#[tokio::test]
async fn an_event_that_depends_on_what_does_not_exist_or_leaves_its_trigger_out_is_found() {
    let filled = filled().await;
    for (depends_on, what, given) in [
        ("orders:99999", "an event that depends on one that does not exist", "orders:99999"),
        ("inventory:99999", "an event that depends on itself or on a later one", "inventory:99999"),
        (
            "tea:1",
            "an event whose dependencies cannot be read",
            "\"tea:1\" is not a position of a known context",
        ),
        ("shipping:1", "an event that does not name its trigger, or what that depends on", "shipping:1"),
    ] {
        let copy = filled.copy_database().await;
        let stream = format!("reservation-{}", filled.delivered);
        copy.execute(&format!(
            "UPDATE inventory.events
                SET metadata = (metadata::jsonb || '{{\"depends_on\": \"{depends_on}\"}}')::json
              WHERE stream = '{stream}' AND version = 1"
        ))
        .await;
        let verdict = copy.verify(&["--only", "log"]).await;
        let violation = verdict.violation("log");
        assert_eq!((&violation["what"], &violation["given"]), (&json!(what), &json!(given)), "{violation:#}");
        assert_eq!(violation["at"]["stream"], json!(stream), "{violation:#}");
    }
}
