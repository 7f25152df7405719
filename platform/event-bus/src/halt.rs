//! The last record of a topic whose log was restored to an older state: whoever reads that far stops.
//!
//! The relay sees what no consumer can see: that the topic holds events which the log no longer has. It says so at the end
//! of every partition, for those consumers whose own checkpoints are as new as the topic. `tradewind reconcile` makes
//! the topic anew. Never: a halt on a topic that agrees with its log. Read next: docs/decisions/0012.

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::Duration;

use crate::BusConfig;
use crate::config::Logged;

/// The header of a halt; its value is the reason.
pub const HALT_HEADER: &str = "tradewind-halt";
/// The header of every record of the relay's: the epoch of the log that its position belongs to.
pub const EPOCH_HEADER: &str = "ce_epoch";
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Puts a halt at the end of each of the partitions.
///
/// # Errors
/// Kafka's: try again.
pub async fn put_halt(
    config: &BusConfig,
    topic: &str,
    partitions: &[i32],
    reason: &str,
) -> Result<(), KafkaError> {
    let client = config.client(&[], &[("acks", "all"), ("enable.idempotence", "true")]);
    let producer: FutureProducer<Logged> = client.create_with_context(Logged)?;
    for partition in partitions {
        let headers = rdkafka::message::OwnedHeaders::new()
            .insert(rdkafka::message::Header { key: HALT_HEADER, value: Some(reason) });
        let record =
            FutureRecord::<str, str>::to(topic).partition(*partition).key("").payload("").headers(headers);
        producer.send(record, ANSWER_LIMIT).await.map_err(|(cause, _)| cause)?;
    }
    Ok(())
}

/// The reason, when the record is a halt.
pub(crate) fn halt_in(message: &BorrowedMessage<'_>) -> Option<String> {
    header(message, HALT_HEADER)
}

/// The epoch of the log that the record's position belongs to.
pub(crate) fn epoch_in(message: &BorrowedMessage<'_>) -> i64 {
    // Records from before there was such a header are of the first.
    header(message, EPOCH_HEADER).and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn header(message: &BorrowedMessage<'_>, key: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == key)?;
    Some(String::from_utf8_lossy(found.value.unwrap_or_default()).into_owned())
}
