//! Each change by hand to topics, read models or logs is found and named.

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
    let violation = verdict.violation("topics");
    assert_eq!(violation["at"]["context"], json!("orders"), "{violation:#}");
    assert_eq!(violation["at"]["position"], json!(ANY.to_string()), "{violation:#}");
    assert!(violation["what"].as_str().is_some_and(|what| what.contains("missing")), "{violation:#}");
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
    let violation = verdict.violation("topics");
    assert_eq!(violation["at"]["position"], json!("1"), "{violation:#}");
    assert_eq!(violation["at"]["stream"], json!(stream), "{violation:#}");
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
    let violation = verdict.violation("topics");
    assert_eq!(violation["at"]["context"], json!("payments"), "{violation:#}");
    assert_eq!(violation["at"]["position"], json!(ANY.to_string()), "{violation:#}");
    assert!(violation["given"].as_str().is_some_and(|given| given.contains("order_ix")), "{violation:#}");
}

#[tokio::test]
async fn two_records_swapped_are_found() {
    let moved = std::sync::Mutex::new(None);
    let copy = filled().await.copy_all(|record| {
        let mut kept = moved.lock().expect("no test panics while it holds the lock");
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
    let violation = verdict.violation("topics");
    assert_eq!(violation["at"]["position"], json!("2"), "{violation:#}");
}

#[tokio::test]
async fn a_record_that_is_not_an_event_is_found() {
    let copy = filled().await.copy_all(|record| {
        let is_it = record.context == Context::Shipping && record.position() == 1;
        let mut foreign = record.clone();
        foreign.value = b"hello".to_vec();
        if is_it { vec![foreign, record] } else { vec![record] }
    });
    let verdict = copy.await.verify(&[]).await;
    let violation = verdict.violation("foreign-records");
    assert_eq!(violation["given"], json!("hello"), "{violation:#}");
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
        let violation = verdict.violation(&format!("read-model-{table}"));
        assert_eq!(violation["at"]["row"], json!(id), "{violation:#}");
        assert_eq!(violation["at"]["column"], json!(column), "{violation:#}");
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
    assert_eq!(verdict.violation("read-model-orders")["at"]["row"], json!(id));
    assert_eq!(verdict.json["properties"]["read-model-order-events"]["violations"], json!(2));
}

#[tokio::test]
async fn one_stock_number_changed_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("UPDATE readmodel.stock SET available = available - 1 WHERE sku = 'TEAPOT'").await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("read-model-stock");
    assert_eq!(
        (&violation["at"]["row"], &violation["at"]["column"]),
        (&json!("TEAPOT"), &json!("available"))
    );
    assert_eq!((&violation["given"], &violation["wanted"]), (&json!("92"), &json!("93")));
}

#[tokio::test]
async fn stock_that_breaks_its_invariant_in_the_log_is_found_with_the_version_that_breaks_it() {
    let copy = filled().await.copy_database().await;
    let change = "UPDATE inventory.events SET payload = replace(payload::text, '\"quantity\":100', '\"quantity\":1')::json
                   WHERE type = 'StockReceived'";
    copy.execute(change).await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("stock");
    assert_eq!(violation["at"]["sku"], json!("TEAPOT"), "{violation:#}");
    assert!(violation["given"].as_str().is_some_and(|given| given.contains("available -")), "{violation:#}");
}

#[tokio::test]
async fn a_reservation_that_does_not_agree_with_its_stock_items_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    let change = "UPDATE inventory.events SET payload = replace(payload::text, '\"quantity\":2', '\"quantity\":3')::json
                   WHERE type = 'ReservationMade' AND stream = 'reservation-{id}'";
    copy.execute(&change.replace("{id}", &id.to_string())).await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("stock");
    assert_eq!(violation["at"]["order"], json!(id), "{violation:#}");
}

#[tokio::test]
async fn one_event_altered_by_a_superuser_is_found() {
    let copy = filled().await.copy_database().await;
    let change = "UPDATE orders.events SET payload = replace(payload::text, 'Bristol', 'Bath')::json
                   WHERE position = (SELECT min(position) FROM orders.events WHERE type = 'OrderPlaced')";
    copy.execute(change).await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("topics");
    assert_eq!(violation["at"]["position"], json!("1"), "{violation:#}");
    assert!(violation["wanted"].as_str().is_some_and(|wanted| wanted.contains("Bath")), "{violation:#}");
    assert!(verdict.failing().contains(&"read-model-orders"), "{verdict:#?}");
}

#[tokio::test]
async fn a_gap_in_the_positions_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("DELETE FROM shipping.events WHERE position = 2").await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("log");
    assert_eq!(violation["at"]["context"], json!("shipping"), "{violation:#}");
    assert_eq!((&violation["given"], &violation["wanted"]), (&json!("3"), &json!("2")));
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
    let violation = verdict.violation("log");
    assert_eq!(violation["at"]["stream"], json!(format!("order-{id}")), "{violation:#}");
    assert_eq!((&violation["given"], &violation["wanted"]), (&json!("9"), &json!("4")));
}

/// No fold of the shop reads such a stream: its version and its type are checked all the same.
#[tokio::test]
async fn a_stream_that_no_fold_reads_is_checked_too() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "INSERT INTO orders.events
         SELECT max(position) + 1, 'tea-1', 2, gen_random_uuid(), 'TeaPoured', 1, '{}',
                '{\"correlation_id\": \"00000000-0000-7000-8000-000000000001\", \"actor\": \"by hand\"}', now()
           FROM orders.events",
    )
    .await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("log");
    assert_eq!(violation["what"], json!("a stream of another context"), "{violation:#}");
    let violations = &verdict.json["properties"]["log"]["violations"];
    assert_eq!(violations, &json!(3), "its context, its version, its type: {verdict:#?}");
    assert_eq!(verdict.failing(), ["log"]);
}

#[tokio::test]
async fn an_event_that_does_not_decode_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute("UPDATE payments.events SET payload = '{}' WHERE position = 3").await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.violation("log")["at"]["position"], json!("3"), "{verdict:#?}");
}

#[tokio::test]
async fn an_event_id_that_occurs_twice_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "UPDATE orders.events SET event_id = (SELECT event_id FROM orders.events WHERE position = 2) WHERE position = 5",
    )
    .await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.violation("log")["at"]["position"], json!("5"), "{verdict:#?}");
}
