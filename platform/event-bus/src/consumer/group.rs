//! librdkafka's side of a consumer: membership of the group, and records as they come.
//!
//! A rebalance is not answered in librdkafka's callback, which must not wait: it is laid aside, and the loop answers
//! it when it knows the checkpoints (assign) or when the batch in hand is settled (revoke). Until then librdkafka
//! holds the partitions still. At most one rebalance is unanswered at a time.
//!
//! Never: a partition assigned that is read from anywhere but a checkpoint. Read next: `run.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::membership::{Membership, Rebalance, answer};
use super::positions::Partition;
use super::received::{Received, Topics, received};
use super::told::told_of;
use crate::BusConfig;

/// A seek or a query that takes longer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Leaving the group takes at most this; then the broker finds out by itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

const JOINING: &[(&str, &str)] = &[
    ("session.timeout.ms", "6000"), // a killed process's partitions move on after this
    ("heartbeat.interval.ms", "1500"),
    ("max.poll.interval.ms", "300000"),
    ("statistics.interval.ms", "2000"), // lag and connection, for health
];
/// A fetch covers all partitions of a broker, and is answered as soon as there is anything (`fetch.min.bytes` 1). librdkafka has
/// one under way for each broker, and sends none while enough records lie in its queue (`queued.min.messages`): under load
/// a reader whose handlers are busy leaves them there. A queue that is emptied at the moment of the decision makes a fetch of
/// some partitions alone, and the others wait until it is answered: hence a short `fetch.wait.max.ms`.
pub(super) const FETCHING: &[(&str, &str)] = &[
    ("queued.min.messages", "8"),
    ("queued.max.messages.kbytes", "16384"), // what librdkafka reads ahead of our buffers, all partitions together
    ("fetch.max.bytes", "8388608"),          // one fetch may not overshoot that by much
    ("max.partition.fetch.bytes", "524288"), // the share of one partition in a fetch: fairness
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "50"),
];
const GUARANTEES: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"), // a checkpoint that the topic does not have is never passed over
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
];

/// What Kafka is told of a partition.
pub(super) struct Told {
    pub partition: Partition,
    pub offset: i64,
    pub metadata: String,
}

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

    /// Serves librdkafka, and waits for what it has. May be dropped at any time.
    pub async fn receive(&self) -> Received {
        received(&self.topics, self.consumer().recv().await)
    }

    /// What is there already.
    pub fn receive_now(&self) -> Option<Received> {
        self.receive().now_or_never()
    }

    /// Waits for a rebalance. May be dropped at any time.
    pub async fn rebalance(&self) -> Rebalance {
        loop {
            self.membership().changed.notified().await;
            if let Some(rebalance) = self.membership().unanswered().clone() {
                return rebalance;
            }
        }
    }

    /// The partitions of a rebalance, in our terms.
    pub fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        list.elements()
            .iter()
            .filter_map(|element| {
                self.topics.get(element.topic()).map(|(_, topic)| (Arc::clone(topic), element.partition()))
            })
            .collect()
    }

    /// Answers a rebalance; an assignment's list carries the offsets to begin at.
    pub fn answer(&self, rebalance: &Rebalance) -> KafkaResult<()> {
        *self.membership().unanswered() = None;
        answer(self.consumer().as_ref(), rebalance)
    }

    /// Reads the partitions from these offsets on, and gives those back for which that failed.
    pub async fn seek(&self, offsets: Vec<(Partition, i64)>) -> Vec<(Partition, i64, KafkaError)> {
        let consumer = Arc::clone(self.consumer());
        let mut list = TopicPartitionList::new();
        for ((topic, number), offset) in &offsets {
            list.add_partition_offset(topic, *number, Offset::Offset(*offset)).expect("an offset of Kafka's");
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

    /// The first offset that the partition has, and the one that its next record will have.
    pub async fn watermarks(&self, partition: &Partition) -> KafkaResult<(i64, i64)> {
        let consumer = Arc::clone(self.consumer());
        let (topic, number) = partition.clone();
        blocking(move || consumer.fetch_watermarks(&topic, number, ANSWER_LIMIT)).await
    }

    /// How far Kafka was told that a handler is in these partitions; those of which it was never told left out. The future
    /// does not keep the group from being left.
    pub fn told(
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
            let told = blocking(move || consumer.committed_offsets(list, ANSWER_LIMIT)).await?;
            let offset = |partition: Partition| {
                let found = told.find_partition(&partition.0, partition.1)?;
                let Offset::Offset(offset) = found.offset() else { return None };
                Some((told_of(&handler, offset, found.metadata())?, partition))
            };
            Ok(partitions.into_iter().filter_map(offset).map(|(told, partition)| (partition, told)).collect())
        }
    }

    pub fn pause(&self) -> KafkaResult<()> {
        self.consumer().pause(&self.consumer().assignment()?)
    }

    pub fn resume(&self) -> KafkaResult<()> {
        self.consumer().resume(&self.consumer().assignment()?)
    }

    /// Tells Kafka, for those who look at lag there. No record is read because of it.
    pub fn commit(&self, told: &[Told]) {
        if told.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for Told { partition: (topic, number), offset, metadata } in told {
            let mut element = list.add_partition(topic, *number);
            element
                .set_offset(Offset::Offset(*offset))
                .expect("an offset of Kafka's fits an offset of Kafka's");
            element.set_metadata(metadata);
        }
        if let Err(error) = self.consumer().commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets were not committed to Kafka");
        }
    }

    /// Leaves the group.
    pub async fn close(mut self) {
        let left = self.leave();
        if tokio::time::timeout(CLOSE_LIMIT, left).await.is_err() {
            tracing::warn!(
                "the consumer group was not left in time; its other members wait for the session to end"
            );
        }
    }

    /// Closing blocks, and serves a rebalance of its own meanwhile: it gets a thread.
    fn leave(&mut self) -> oneshot::Receiver<()> {
        let (done, left) = oneshot::channel();
        if let Some(consumer) = self.consumer.take() {
            let membership = consumer.context();
            membership.closing.store(true, Ordering::SeqCst);
            let unanswered = membership.unanswered().take();
            if let Some(rebalance) = unanswered
                && let Err(error) = answer(consumer.as_ref(), &rebalance)
            {
                tracing::debug!(%error, "a rebalance was not answered before closing");
            }
            std::thread::spawn(move || {
                drop(consumer);
                let _ = done.send(()); // nobody waits when the loop itself was dropped
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
