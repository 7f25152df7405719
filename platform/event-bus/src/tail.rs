//! The last records of a topic: what a relay that takes over must know so as not to publish it again.
//!
//! Never: a consumer group joined, or an offset committed. Read next: `platform/relay/src/takeover.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use event_log::{ContextName, Position, RawEvent, TOPIC_PARTITIONS, cloud_event, partition_of};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::BusConfig;
use crate::config::Logged;
use crate::halt::{epoch_in, halt_in};

/// So many records from the end of each partition are looked at: more than one, since what stands last may be
/// a duplicate or not a record of ours at all.
const TAIL_DEPTH: i64 = 16;
const TAIL_LIMIT: Duration = Duration::from_secs(20);

/// One partition's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTail {
    pub partition: i32,
    /// Whether there is no record at all.
    pub is_empty: bool,
    /// Whether the relay has halted it, and why.
    pub halted: Option<String>,
    /// The event with the highest position among the last records; none when none of them is an event of ours.
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

/// Why the end of a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("the end of topic {topic} can't be read: {cause}")]
    Kafka { topic: String, cause: KafkaError },
    #[error("the end of topic {topic} was not read within {limit_ms} ms")]
    TooSlow { topic: String, limit_ms: u128 },
}

/// Reads the last records of every partition of the context's topic; the answer is in the partitions' order.
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
    let group = config.group("relay-tail");
    let client = config.client(
        &[("fetch.wait.max.ms", "10"), ("fetch.error.backoff.ms", "20")],
        &[
            ("group.id", group.as_str()), // librdkafka wants one for assign; nothing joins or commits
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
        ],
    );
    let consumer: StreamConsumer<Logged> = client.create_with_context(Logged).map_err(kafka)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..TOPIC_PARTITIONS {
        assignment.add_partition_offset(&topic, partition, Offset::OffsetTail(TAIL_DEPTH)).map_err(kafka)?;
    }
    consumer.assign(&assignment).map_err(kafka)?;
    let read = tokio::time::timeout(TAIL_LIMIT, read_to_ends(&consumer, context)).await;
    // Closing blocks, and a broker that is gone must not hold up the caller.
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
        .map(|partition| PartitionTail { partition, is_empty: true, halted: None, last: None })
        .collect();
    let mut unread: BTreeSet<i32> = (0..TOPIC_PARTITIONS).collect();
    while !unread.is_empty() {
        match consumer.recv().await {
            Ok(message) => {
                let tail = &mut tails[message.partition() as usize];
                tail.is_empty = false;
                tail.halted = tail.halted.take().or(halt_in(&message));
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
            // librdkafka goes on by itself; the caller's limit ends it.
            Err(KafkaError::MessageConsumption(cause)) => {
                tracing::debug!(%cause, "while reading the end of a topic");
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(tails)
}

/// The event, when the record is one and lies on its own partition.
fn event_of(context: ContextName, message: &BorrowedMessage<'_>) -> Option<RawEvent> {
    let event = cloud_event::decode_raw(context, message.payload()?).ok()?;
    (partition_of(event.stream.as_str(), TOPIC_PARTITIONS) == message.partition()).then_some(event)
}
