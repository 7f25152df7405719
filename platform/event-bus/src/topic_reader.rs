//! Readers of a topic outside of any consumer group: of a whole topic, for `tradewind reconcile`, and the client that `tail.rs` uses.

use std::collections::BTreeSet;
use std::time::Duration;

use event_log::{ContextName, RawEvent, TOPIC_PARTITIONS, cloud_event};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::BusConfig;
use crate::config::Logged;
use crate::stop_marker::{epoch_in, stop_marker_in};
use crate::topic_admin::TopicAdminError;

/// A topic that returns nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A consumer of all partitions of a topic, from `from` on. It joins no group, commits nothing, and reports the end of each
/// partition. `name`: librdkafka needs a group name for an assignment.
pub(crate) fn reader(
    config: &BusConfig,
    name: &str,
    topic: &str,
    from: Offset,
    tuning: &[(&str, &str)],
) -> KafkaResult<StreamConsumer<Logged>> {
    let group = config.group(name);
    let client = config.client(
        tuning,
        &[
            ("group.id", group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
        ],
    );
    let consumer: StreamConsumer<Logged> = client.create_with_context(Logged)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..TOPIC_PARTITIONS {
        assignment.add_partition_offset(topic, partition, from)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// What a topic contains besides events of ours, and its number of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSummary {
    pub records: u64,
    pub stop_markers: u64,
    /// Records that are not events of this topic.
    pub foreign_records: u64,
    /// The highest epoch of any record; 0 if there is none.
    pub epoch: i64,
}

/// Passes every event of the context's topic to `each`, in the order of its partition, up to the ends at the time of
/// the call.
///
/// # Errors
/// [`TopicAdminError`]: try again.
pub async fn read_topic(
    config: &BusConfig,
    context: impl Into<ContextName>,
    mut each: impl FnMut(i32, RawEvent),
) -> Result<TopicSummary, TopicAdminError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| TopicAdminError::Kafka { topic: topic.clone(), cause };
    let consumer = reader(config, "reconcile", &topic, Offset::Beginning, &[]).map_err(kafka)?;
    let mut summary = TopicSummary::default();
    let mut unread: BTreeSet<i32> = (0..TOPIC_PARTITIONS).collect();
    while !unread.is_empty() {
        match tokio::time::timeout(SILENCE_MAX, consumer.recv()).await {
            Ok(Ok(message)) => {
                summary.records += 1;
                if stop_marker_in(&message).is_some() {
                    summary.stop_markers += 1;
                    continue;
                }
                summary.epoch = summary.epoch.max(epoch_in(&message));
                match cloud_event::decode_raw(context, message.payload().unwrap_or_default()) {
                    Ok(event) => each(message.partition(), event),
                    Err(_) => summary.foreign_records += 1,
                }
            }
            Ok(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Ok(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition))) => break,
            Ok(Err(KafkaError::MessageConsumption(cause))) => {
                tracing::debug!(%cause, "while reading a whole topic");
            }
            Ok(Err(cause)) => return Err(kafka(cause)),
            Err(_) => {
                return Err(TopicAdminError::Silent {
                    topic: topic.clone(),
                    waited_ms: SILENCE_MAX.as_millis(),
                });
            }
        }
    }
    // Closing blocks.
    std::thread::spawn(move || drop(consumer));
    Ok(summary)
}
