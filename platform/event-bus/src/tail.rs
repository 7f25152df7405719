//! Reads the last records of a topic, so that a relay that takes over does not publish them again. It joins no consumer
//! group and commits no offset.

use std::collections::BTreeSet;
use std::time::Duration;

use event_log::{ContextName, Position, RawEvent, TOPIC_PARTITIONS, cloud_event, partition_of};
use rdkafka::Offset;
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use uuid::Uuid;

use crate::BusConfig;
use crate::config::Logged;
use crate::stop_marker::{epoch_in, stop_marker_in};
use crate::topic_reader::reader;

/// The number of records that are read from the end of each partition. More than one, because the last record may be a
/// duplicate or not an event of ours.
const TAIL_DEPTH: i64 = 16;
const TAIL_LIMIT: Duration = Duration::from_secs(20);
const TAIL_TUNING: &[(&str, &str)] = &[("fetch.wait.max.ms", "10"), ("fetch.error.backoff.ms", "20")];

/// The end of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTail {
    pub partition: i32,
    /// Whether the partition has no record.
    pub is_empty: bool,
    /// The reason of the relay's stop marker, if there is one.
    pub stop_marker: Option<String>,
    /// The event with the highest position among the last records; none if none of them is an event of ours.
    pub last: Option<TailRecord>,
}

/// An event at the end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailRecord {
    pub offset: i64,
    pub position: Position,
    pub event_id: Uuid,
    pub epoch: i64,
}

/// The reason why the end of a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("the end of topic {topic} cannot be read: {cause}")]
    Kafka { topic: String, cause: KafkaError },
    #[error("the end of topic {topic} was not read within {limit_ms} ms")]
    TooSlow { topic: String, limit_ms: u128 },
}

/// Reads the last records of every partition of the context's topic. The result is in the order of the partitions.
///
/// # Errors
/// [`TailError`]: try again.
pub async fn read_tail(
    config: &BusConfig,
    context: impl Into<ContextName>,
) -> Result<Vec<PartitionTail>, TailError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| TailError::Kafka { topic: topic.clone(), cause };
    let from = Offset::OffsetTail(TAIL_DEPTH);
    let consumer = reader(config, "relay-tail", &topic, from, TAIL_TUNING).map_err(kafka)?;
    let read = tokio::time::timeout(TAIL_LIMIT, read_to_ends(&consumer, context)).await;
    // Closing blocks, and an unreachable broker must not delay the caller.
    std::thread::spawn(move || drop(consumer));
    match read {
        Ok(Ok(tails)) => Ok(tails),
        Ok(Err(cause)) => Err(kafka(cause)),
        Err(_) => Err(TailError::TooSlow { topic, limit_ms: TAIL_LIMIT.as_millis() }),
    }
}

async fn read_to_ends(
    consumer: &StreamConsumer<Logged>,
    context: ContextName,
) -> Result<Vec<PartitionTail>, KafkaError> {
    let mut tails: Vec<PartitionTail> = (0..TOPIC_PARTITIONS)
        .map(|partition| PartitionTail { partition, is_empty: true, stop_marker: None, last: None })
        .collect();
    let mut unread: BTreeSet<i32> = (0..TOPIC_PARTITIONS).collect();
    while !unread.is_empty() {
        match consumer.recv().await {
            Ok(message) => {
                let tail = &mut tails[message.partition() as usize];
                tail.is_empty = false;
                tail.stop_marker = tail.stop_marker.take().or(stop_marker_in(&message));
                if let Some(event) = event_of(context, &message)
                    && tail.last.is_none_or(|last| last.position < event.position)
                {
                    tail.last = Some(TailRecord {
                        offset: message.offset(),
                        position: event.position,
                        event_id: event.event_id,
                        epoch: epoch_in(&message),
                    });
                }
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                unread.remove(&partition);
            }
            // librdkafka retries by itself; the caller's limit ends it.
            Err(KafkaError::MessageConsumption(cause)) => {
                tracing::debug!(%cause, "while reading the end of a topic");
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(tails)
}

/// The event, if the record is one and is on its stream's partition.
fn event_of(context: ContextName, message: &BorrowedMessage<'_>) -> Option<RawEvent> {
    let event = cloud_event::decode_raw(context, message.payload()?).ok()?;
    (partition_of(event.stream.as_str(), TOPIC_PARTITIONS) == message.partition()).then_some(event)
}
