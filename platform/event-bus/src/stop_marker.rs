//! The stop marker: the last record of each partition of a topic whose log was restored to an older state. A consumer
//! that reads it stops.
//!
//! Only the relay can see that the topic has events which the log no longer has. It writes stop markers for those
//! consumers whose own checkpoints are as new as the topic. `tradewind reconcile` deletes and rebuilds the topic
//! (docs/decisions/0012). No stop marker is written to a topic that agrees with its log.

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::Duration;

use crate::BusConfig;
use crate::config::Logged;

/// The header of a stop marker; its value is the reason.
pub const STOP_MARKER_HEADER: &str = "tradewind-halt";
/// A header of every record of the relay: the epoch of the log that its position belongs to.
pub const EPOCH_HEADER: &str = "ce_epoch";
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Writes a stop marker to the end of each of the partitions.
///
/// Kafka's error: try again.
pub async fn put_stop_markers(
    config: &BusConfig,
    topic: &str,
    partitions: &[i32],
    reason: &str,
) -> Result<(), KafkaError> {
    let client = config.client(&[], &[("acks", "all"), ("enable.idempotence", "true")]);
    let producer: FutureProducer<Logged> = client.create_with_context(Logged)?;
    for partition in partitions {
        let headers = rdkafka::message::OwnedHeaders::new()
            .insert(rdkafka::message::Header { key: STOP_MARKER_HEADER, value: Some(reason) });
        let record =
            FutureRecord::<str, str>::to(topic).partition(*partition).key("").payload("").headers(headers);
        producer.send(record, ANSWER_LIMIT).await.map_err(|(cause, _)| cause)?;
    }
    Ok(())
}

/// The reason, if the record is a stop marker.
pub(crate) fn stop_marker_in(message: &BorrowedMessage<'_>) -> Option<String> {
    header(message, STOP_MARKER_HEADER)
}

/// The epoch of the log that the record's position belongs to.
pub(crate) fn epoch_in(message: &BorrowedMessage<'_>) -> i64 {
    // Records without this header are older than the header and belong to the first epoch.
    header(message, EPOCH_HEADER).and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn header(message: &BorrowedMessage<'_>, key: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == key)?;
    Some(String::from_utf8_lossy(found.value.unwrap_or_default()).into_owned())
}
