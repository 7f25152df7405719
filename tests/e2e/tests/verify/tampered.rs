//! What was done by hand to a platform at rest is found, and named.

use e2e::WAIT_MAX;
use events::Context;
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::filled::{admin, filled};

/// The position of some event of the orders' log that is neither the first nor the last of its stream.
const ANY: i64 = 7;

#[tokio::test]
async fn one_record_missing_in_a_copy_of_a_topic_is_found() {
    let copy = filled().await.copy_all(|record| {
        let is_it = record.context == Context::Orders && record.position() == ANY;
        if is_it { Vec::new() } else { vec![record] }
    });
    let verdict = copy.await.verify(&[]).await;
    let offender = verdict.offender("topics");
    assert_eq!(offender["at"]["context"], json!("orders"), "{offender:#}");
    assert_eq!(offender["at"]["position"], json!(ANY.to_string()), "{offender:#}");
    assert!(offender["what"].as_str().is_some_and(|what| what.contains("missing")), "{offender:#}");
}

#[tokio::test]
async fn a_record_deleted_from_the_beginning_of_a_partition_is_found() {
    let copy = filled().await.copy_all(|record| vec![record]).await;
    let first = "SELECT stream FROM orders.events WHERE position = 1";
    let stream = copy.text(first).await;
    let partition = events::partition_of(&stream, events::TOPIC_PARTITIONS);
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&copy.topic(Context::Orders), partition, Offset::Offset(1))
        .expect("an offset");
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    admin().delete_records(&before, &options).await.expect("the record is deleted");
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("topics");
    assert_eq!(offender["at"]["position"], json!("1"), "{offender:#}");
    assert_eq!(offender["at"]["stream"], json!(stream), "{offender:#}");
}

#[tokio::test]
async fn one_record_repeated_with_another_body_is_found() {
    let copy = filled().await.copy_all(|record| {
        if record.context == Context::Payments && record.position() == ANY {
            let mut other = record.clone();
            other.value = String::from_utf8_lossy(&record.value).replace("order_id", "order_ix").into();
            return vec![record, other];
        }
        vec![record]
    });
    let verdict = copy.await.verify(&[]).await;
    let offender = verdict.offender("topics");
    assert_eq!(offender["at"]["context"], json!("payments"), "{offender:#}");
    assert_eq!(offender["at"]["position"], json!(ANY.to_string()), "{offender:#}");
    assert!(offender["given"].as_str().is_some_and(|given| given.contains("order_ix")), "{offender:#}");
}

#[tokio::test]
async fn two_records_swapped_are_found() {
    let moved = std::sync::Mutex::new(None);
    let copy = filled().await.copy_all(|record| {
        let mut kept = moved.lock().expect("nobody panics holding it");
        match kept.take() {
            Some(first) => vec![record, first],
            None if record.context == Context::Inventory && record.position() == 2 => {
                *kept = Some(record);
                Vec::new()
            }
            None => vec![record],
        }
    });
    let verdict = copy.await.verify(&[]).await;
    let offender = verdict.offender("topics");
    assert_eq!(offender["at"]["position"], json!("2"), "{offender:#}");
}

#[tokio::test]
async fn a_record_that_is_no_event_is_found() {
    let copy = filled().await.copy_all(|record| {
        let is_it = record.context == Context::Shipping && record.position() == 1;
        let mut foreign = record.clone();
        foreign.value = b"hello".to_vec();
        if is_it { vec![foreign, record] } else { vec![record] }
    });
    let verdict = copy.await.verify(&[]).await;
    let offender = verdict.offender("foreign-records");
    assert_eq!(offender["given"], json!("hello"), "{offender:#}");
}

#[tokio::test]
async fn one_row_of_a_read_model_changed_is_found() {
    let filled = filled().await;
    for (table, key, change, column) in [
        ("orders", "order_id", "status = 'confirmed'", "status"),
        ("processes", "order_id", "state = 'running'", "state"),
        ("payments", "order_id", "captured_minor = captured_minor + 1", "captured_minor"),
        ("sales", "order_id", "placed_on = placed_on + 1", "placed_on"),
    ] {
        let copy = filled.copy_database().await;
        let id = filled.delivered;
        copy.execute(&format!("UPDATE readmodel.{table} SET {change} WHERE {key} = '{id}'")).await;
        let verdict = copy.verify(&[]).await;
        let offender = verdict.offender(&format!("read-model-{table}"));
        assert_eq!(offender["at"]["row"], json!(id), "{offender:#}");
        assert_eq!(offender["at"]["column"], json!(column), "{offender:#}");
        assert_eq!(verdict.failing(), [format!("read-model-{table}")]);
    }
}

#[tokio::test]
async fn one_row_of_a_read_model_gone_or_made_up_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.rejected;
    copy.execute(&format!("DELETE FROM readmodel.orders WHERE order_id = '{id}'")).await;
    copy.execute(
        "UPDATE readmodel.order_events SET event_id = 'made-up' WHERE position = 3 AND context = 'orders'",
    )
    .await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.failing(), ["read-model-order-events", "read-model-orders"]);
    assert_eq!(verdict.offender("read-model-orders")["at"]["row"], json!(id));
    assert_eq!(verdict.json["properties"]["read-model-order-events"]["violations"], json!(2));
}

#[tokio::test]
async fn one_stock_number_changed_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("UPDATE readmodel.stock SET available = available - 1 WHERE sku = 'TEAPOT'").await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("read-model-stock");
    assert_eq!((&offender["at"]["row"], &offender["at"]["column"]), (&json!("TEAPOT"), &json!("available")));
    assert_eq!((&offender["given"], &offender["wanted"]), (&json!("92"), &json!("93")));
}

#[tokio::test]
async fn stock_that_breaks_its_law_in_the_log_is_found_with_the_version_that_breaks_it() {
    let copy = filled().await.copy_database().await;
    let change = "UPDATE inventory.events SET payload = replace(payload::text, '\"quantity\":100', '\"quantity\":1')::json
                   WHERE type = 'StockReceived'";
    copy.execute(change).await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("stock");
    assert_eq!(offender["at"]["sku"], json!("TEAPOT"), "{offender:#}");
    assert!(offender["given"].as_str().is_some_and(|given| given.contains("available -")), "{offender:#}");
}

#[tokio::test]
async fn a_reservation_that_its_stock_items_do_not_tell_of_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    let change = "UPDATE inventory.events SET payload = replace(payload::text, '\"quantity\":2', '\"quantity\":3')::json
                   WHERE type = 'ReservationMade' AND stream = 'reservation-{id}'";
    copy.execute(&change.replace("{id}", &id.to_string())).await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("stock");
    assert_eq!(offender["at"]["order"], json!(id), "{offender:#}");
}

#[tokio::test]
async fn one_event_altered_by_a_superuser_is_found() {
    let copy = filled().await.copy_database().await;
    let change = "UPDATE orders.events SET payload = replace(payload::text, 'Bristol', 'Bath')::json
                   WHERE position = (SELECT min(position) FROM orders.events WHERE type = 'OrderPlaced')";
    copy.execute(change).await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("topics");
    assert_eq!(offender["at"]["position"], json!("1"), "{offender:#}");
    assert!(offender["wanted"].as_str().is_some_and(|wanted| wanted.contains("Bath")), "{offender:#}");
    assert!(verdict.failing().contains(&"read-model-orders"), "{verdict:#?}");
}

#[tokio::test]
async fn a_gap_in_the_positions_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("DELETE FROM shipping.events WHERE position = 2").await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("log");
    assert_eq!(offender["at"]["context"], json!("shipping"), "{offender:#}");
    assert_eq!((&offender["given"], &offender["wanted"]), (&json!("3"), &json!("2")));
}

#[tokio::test]
async fn a_gap_in_the_versions_of_a_stream_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    let change = format!(
        "UPDATE orders.events SET version = 9 WHERE stream = 'order-{id}' AND type = 'OrderDelivered'"
    );
    copy.execute(&change).await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("log");
    assert_eq!(offender["at"]["stream"], json!(format!("order-{id}")), "{offender:#}");
    assert_eq!((&offender["given"], &offender["wanted"]), (&json!("9"), &json!("4")));
}

#[tokio::test]
async fn an_event_that_does_not_decode_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("UPDATE payments.events SET payload = '{}' WHERE position = 3").await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.offender("log")["at"]["position"], json!("3"), "{verdict:#?}");
}

#[tokio::test]
async fn an_event_id_that_is_there_twice_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "UPDATE orders.events SET event_id = (SELECT event_id FROM orders.events WHERE position = 2) WHERE position = 5",
    )
    .await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.offender("log")["at"]["position"], json!("5"), "{verdict:#?}");
}

/// Of some checkpoint of the read models in the orders' topic that has come somewhere.
const MOVED: &str = "(topic, partition) =
    (SELECT topic, min(partition) FROM readmodel.checkpoints
      WHERE consumer = 'query-side' AND topic LIKE '%orders.events' AND next_offset > 0 GROUP BY topic)";

#[tokio::test]
async fn a_checkpoint_moved_backward_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!("UPDATE readmodel.checkpoints SET next_offset = next_offset - 1 WHERE {MOVED}"))
        .await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("checkpoints");
    assert_eq!(offender["at"]["consumer"], json!("query-side"), "{offender:#}");
    assert_eq!(verdict.failing(), ["checkpoints"]);
}

#[tokio::test]
async fn a_checkpoint_moved_forward_beyond_its_partition_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!("UPDATE readmodel.checkpoints SET next_offset = next_offset + 1 WHERE {MOVED}"))
        .await;
    let offender = copy.verify(&[]).await;
    let offender = offender.offender("checkpoints");
    assert!(offender["what"].as_str().is_some_and(|what| what.contains("outside")), "{offender:#}");
}

/// Both numbers are moved, so that they agree with the topic: then the effect tells, and what the read models say of it.
#[tokio::test]
async fn a_checkpoint_moved_with_its_position_is_found_by_the_rows_that_it_left_behind() {
    let copy = filled().await.copy_database().await;
    copy.execute(&format!(
        "UPDATE readmodel.checkpoints SET next_offset = 0, last_position = 0 WHERE {MOVED}"
    ))
    .await;
    let verdict = copy.verify(&[]).await;
    let offender = verdict.offender("read-model-orders");
    assert_eq!(offender["what"], json!("a row that the log does not give"), "{offender:#}");
    let offender = verdict.offender("progress");
    let what = "a position is told as applied that no checkpoint has passed";
    assert_eq!(offender["what"], json!(what), "{offender:#}");
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
            "a checkpoint has passed a position that is not told as applied",
            ANY.to_string(),
            "position",
        ),
        (
            "+ int8multirange(int8range((SELECT max(position) + 1 FROM payments.events), NULL))".to_owned(),
            "positions are told as applied that the log does not have",
            "payments".to_owned(),
            "context",
        ),
    ] {
        let copy = filled.copy_database().await;
        copy.execute(&change.replace("CHANGE", &change_of)).await;
        let verdict = copy.verify(&[]).await;
        let offender = verdict.offender("progress");
        assert_eq!((&offender["what"], &offender["at"][name]), (&json!(what), &json!(place)), "{offender:#}");
        assert_eq!(verdict.failing(), ["progress"]);
    }
}

#[tokio::test]
async fn progress_that_has_seen_less_than_what_is_shown_depends_on_or_more_than_there_is_is_found() {
    let filled = filled().await;
    for (seen, what) in [
        ("seen - 1", "what is told as seen ends before what is shown depends on"),
        ("seen + 1", "a position is told as seen that the log does not have"),
    ] {
        let copy = filled.copy_database().await;
        copy.execute(&format!("UPDATE readmodel.progress SET seen = {seen} WHERE context = 'inventory'"))
            .await;
        let verdict = copy.verify(&[]).await;
        let offender = verdict.offender("progress");
        assert_eq!(offender["what"], json!(what), "{offender:#}");
        assert_eq!(offender["at"]["context"], json!("inventory"), "{offender:#}");
        assert_eq!(verdict.failing(), ["progress"]);
    }
}

/// The read models are behind in the orders, and show what came of one: it must be covered all the same.
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
    let offender = verdict.offender("progress");
    assert_eq!(offender["at"]["context"], json!("orders"), "{offender:#}");
    assert!(
        offender["at"]["shown"].as_str().is_some_and(|shown| !shown.starts_with("orders:")),
        "{offender:#}"
    );
}

#[tokio::test]
async fn an_event_that_depends_on_what_is_not_there_or_leaves_its_trigger_out_is_found() {
    let filled = filled().await;
    for (depends_on, what, given) in [
        ("orders:99999", "an event that depends on one that is not there", "orders:99999"),
        ("inventory:99999", "an event that depends on itself or on a later one", "inventory:99999"),
        (
            "tea:1",
            "an event that does not say what it depends on",
            "\"tea:1\" is no position of a log of ours",
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
        let offender = verdict.offender("log");
        assert_eq!((&offender["what"], &offender["given"]), (&json!(what), &json!(given)), "{offender:#}");
        assert_eq!(offender["at"]["stream"], json!(stream), "{offender:#}");
    }
}
