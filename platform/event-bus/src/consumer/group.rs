//! The consumer group member of a reader: its membership, and the records that Kafka returns.
//!
//! librdkafka's rebalance callback must not wait, so it only stores the rebalance. The loop answers it once the
//! checkpoints are known (assign), or once no batch touches the partitions (revoke). Until then librdkafka keeps the
//! partitions unchanged. At most one rebalance is unanswered at a time.
//!
//! Every partition is read from a checkpoint, never from an offset that Kafka stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::commits::CommittedOffset;
use super::membership::{Membership, Rebalance, answer};
use super::offset_metadata::committed_offset_of;
use super::positions::Partition;
use super::received::{Received, Topics, received};
use crate::BusConfig;

/// The time limit of a seek or a query.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The time limit for leaving the group; after it the broker's session timeout removes the member.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

const JOINING: &[(&str, &str)] = &[
    ("session.timeout.ms", "6000"), // a killed process's partitions move on after this
    ("heartbeat.interval.ms", "1500"),
    ("max.poll.interval.ms", "300000"),
    ("statistics.interval.ms", "2000"), // lag and connection, for health
];
/// A fetch covers all partitions of a broker, and the broker answers as soon as there is any record (`fetch.min.bytes` 1). librdkafka
/// has one fetch in flight per broker, and sends none while enough records are in its queue (`queued.min.messages`): under load
/// a reader whose handlers are busy leaves them there. If the queue is emptied while librdkafka decides, it fetches only some
/// partitions, and the others wait for that answer; hence a short `fetch.wait.max.ms`.
pub(super) const FETCHING: &[(&str, &str)] = &[
    ("queued.min.messages", "8"),
    ("queued.max.messages.kbytes", "16384"), // librdkafka's read-ahead before our buffers, for all partitions
    ("fetch.max.bytes", "8388608"),          // limits by how much one fetch exceeds that
    ("max.partition.fetch.bytes", "524288"), // the share of one partition in a fetch, for fairness
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "50"),
];
const GUARANTEES: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"), // a checkpoint outside of the topic is an error, never skipped
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
];

pub(super) struct Group {
    /// Some until closed.
    consumer: Option<Arc<StreamConsumer<Membership>>>,
    pub topics: Arc<Topics>,
}

impl Group {
    pub fn join(config: &BusConfig, name: &str, topics: Topics) -> KafkaResult<Self> {
        let mut client = config.client(&[JOINING, FETCHING].concat(), GUARANTEES);
        client.set("group.id", config.group(name));
        let consumer: StreamConsumer<Membership> = client.create_with_context(Membership::default())?;
        consumer.subscribe(&topics.keys().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self { consumer: Some(Arc::new(consumer)), topics: Arc::new(topics) })
    }

    fn consumer(&self) -> &Arc<StreamConsumer<Membership>> {
        self.consumer.as_ref().expect("only close and drop take the consumer")
    }

    pub fn membership(&self) -> &Membership {
        self.consumer().context()
    }

    /// Polls librdkafka and waits for a record. Cancel-safe.
    pub async fn receive(&self) -> Received {
        received(&self.topics, self.consumer().recv().await)
    }

    /// A record that has arrived already.
    pub fn receive_now(&self) -> Option<Received> {
        self.receive().now_or_never()
    }

    /// Waits for a rebalance. Cancel-safe.
    pub async fn rebalance(&self) -> Rebalance {
        loop {
            self.membership().changed.notified().await;
            if let Some(rebalance) = self.membership().unanswered().clone() {
                return rebalance;
            }
        }
    }

    /// The partitions of a rebalance as [`Partition`]s.
    pub fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        list.elements()
            .iter()
            .filter_map(|element| {
                self.topics.get(element.topic()).map(|(_, topic)| (Arc::clone(topic), element.partition()))
            })
            .collect()
    }

    /// Answers a rebalance. An assignment's list contains the offsets to start at.
    pub fn answer(&self, rebalance: &Rebalance) -> KafkaResult<()> {
        *self.membership().unanswered() = None;
        answer(self.consumer().as_ref(), rebalance)
    }

    /// Moves the partitions to these offsets, and returns those for which that failed.
    pub async fn seek(&self, offsets: Vec<(Partition, i64)>) -> Vec<(Partition, i64, KafkaError)> {
        let consumer = Arc::clone(self.consumer());
        let mut list = TopicPartitionList::new();
        for ((topic, number), offset) in &offsets {
            list.add_partition_offset(topic, *number, Offset::Offset(*offset)).expect("a valid offset");
        }
        let sought = blocking(move || consumer.seek_partitions(list, ANSWER_LIMIT)).await;
        let failed = |(partition, offset): (Partition, i64)| {
            let outcome = match &sought {
                Err(error) => Err(error.clone()),
                Ok(list) => {
                    list.find_partition(&partition.0, partition.1).map_or(Ok(()), |found| found.error())
                }
            };
            outcome.err().map(|error| (partition, offset, error))
        };
        offsets.into_iter().filter_map(failed).collect()
    }

    /// The first offset of the partition, and that of its next record.
    pub async fn watermarks(&self, partition: &Partition) -> KafkaResult<(i64, i64)> {
        let consumer = Arc::clone(self.consumer());
        let (topic, number) = partition.clone();
        blocking(move || consumer.fetch_watermarks(&topic, number, ANSWER_LIMIT)).await
    }

    /// The offsets that were committed to Kafka for a handler; partitions without one are left out. The future does not
    /// keep the group member alive.
    pub fn committed_offsets(
        &self,
        handler: String,
        partitions: Vec<Partition>,
    ) -> impl Future<Output = KafkaResult<Vec<(Partition, i64)>>> + Send + 'static {
        let consumer = Arc::downgrade(self.consumer());
        async move {
            let Some(consumer) = consumer.upgrade() else { return Ok(Vec::new()) };
            let mut list = TopicPartitionList::new();
            for (topic, partition) in &partitions {
                list.add_partition(topic, *partition);
            }
            let committed = blocking(move || consumer.committed_offsets(list, ANSWER_LIMIT)).await?;
            let offset = |partition: Partition| {
                let found = committed.find_partition(&partition.0, partition.1)?;
                let Offset::Offset(offset) = found.offset() else { return None };
                Some((committed_offset_of(&handler, offset, found.metadata())?, partition))
            };
            Ok(partitions
                .into_iter()
                .filter_map(offset)
                .map(|(offset, partition)| (partition, offset))
                .collect())
        }
    }

    pub fn pause(&self) -> KafkaResult<()> {
        self.consumer().pause(&self.consumer().assignment()?)
    }

    pub fn resume(&self) -> KafkaResult<()> {
        self.consumer().resume(&self.consumer().assignment()?)
    }

    /// Commits the offsets to Kafka, for tools that show lag. No record is read because of them.
    pub fn commit(&self, offsets: &[CommittedOffset]) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for CommittedOffset { partition: (topic, number), offset, metadata } in offsets {
            let mut element = list.add_partition(topic, *number);
            element.set_offset(Offset::Offset(*offset)).expect("a valid offset");
            element.set_metadata(metadata);
        }
        if let Err(error) = self.consumer().commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets not committed to Kafka");
        }
    }

    /// Leaves the group.
    pub async fn close(mut self) {
        let left = self.leave();
        if tokio::time::timeout(CLOSE_LIMIT, left).await.is_err() {
            tracing::warn!(
                "did not leave the consumer group in time; its other members wait for the session timeout"
            );
        }
    }

    /// Closing blocks and handles rebalances, so it runs on a thread.
    fn leave(&mut self) -> oneshot::Receiver<()> {
        let (done, left) = oneshot::channel();
        if let Some(consumer) = self.consumer.take() {
            let membership = consumer.context();
            membership.closing.store(true, Ordering::SeqCst);
            let unanswered = membership.unanswered().take();
            if let Some(rebalance) = unanswered
                && let Err(error) = answer(consumer.as_ref(), &rebalance)
            {
                tracing::debug!(%error, "rebalance not answered before closing");
            }
            std::thread::spawn(move || {
                drop(consumer);
                let _ = done.send(()); // the receiver is gone if the loop was dropped
            });
        }
        left
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a call of librdkafka does not panic")
}
