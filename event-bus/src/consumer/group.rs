//! librdkafka's side of a consumer: membership of the group, and records as they come.
//!
//! A rebalance is not answered in librdkafka's callback, which must not wait: it is laid aside, and the loop answers
//! it when it knows the checkpoints (assign) or when the batch in hand is settled (revoke). Until then librdkafka
//! holds the partitions still. At most one rebalance is unanswered at a time.
//!
//! Never: a partition assigned without an offset of ours. Read next: `run.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use events::Context;
use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::ConsumerOptions;
use super::intake::Partition;
use super::membership::{Membership, Rebalance, answer};
use crate::halt::{epoch_in, halt_in};
use crate::{BusConfig, Record};

/// A seek or a query that takes longer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Leaving the group takes at most this; then the broker finds out by itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

const TUNING: &[(&str, &str)] = &[
    ("session.timeout.ms", "6000"), // a killed process's partitions move on after this
    ("heartbeat.interval.ms", "1500"),
    ("max.poll.interval.ms", "300000"),
    ("queued.min.messages", "5000"),
    ("queued.max.messages.kbytes", "16384"), // what librdkafka reads ahead of our buffer
    ("max.partition.fetch.bytes", "524288"), // the share of one partition in a fetch: fairness
    ("fetch.wait.max.ms", "500"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "50"),
    ("statistics.interval.ms", "2000"), // lag and connection, for health
];
/// With so much to give, Kafka does not wait for more. A fetch costs the broker more than what is in it.
const GATHER_BYTES: &str = "65536";
const GUARANTEES: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"), // a checkpoint that the topic does not have is never passed over
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
];

/// What a poll gave: a record, or something else.
pub(super) type Received = Result<Arrived, Interruption>;

/// A record, and the epoch of the log that its position belongs to.
pub(super) struct Arrived {
    pub record: Record,
    pub epoch: i64,
}

pub(super) enum Interruption {
    /// Some partition's offset is not in the topic; librdkafka does not say which.
    OffsetOutOfRange,
    /// librdkafka goes on by itself.
    Trouble(KafkaError),
    /// The relay says that the topic holds what its log no longer has.
    Halted { topic: String, reason: String },
    /// librdkafka can't go on.
    Broken(KafkaError),
}

pub(super) struct Group {
    /// Some until closed.
    consumer: Option<Arc<StreamConsumer<Membership>>>,
    topics: HashMap<String, (Context, Arc<str>)>,
}

impl Group {
    pub fn join(config: &BusConfig, options: &ConsumerOptions) -> KafkaResult<Self> {
        let pace_ms = options.batch_pace.as_millis().to_string();
        let gathering = [("fetch.min.bytes", GATHER_BYTES), ("fetch.wait.max.ms", &pace_ms)];
        let gathering = if options.batch_pace.is_zero() { &[][..] } else { &gathering };
        let mut client = config.client(&[TUNING, gathering].concat(), GUARANTEES);
        client.set("group.id", config.group(&options.name));
        let consumer: StreamConsumer<Membership> = client.create_with_context(Membership::default())?;
        let topics: HashMap<_, _> = options
            .topics
            .iter()
            .map(|&context| (config.topic(context), (context, Arc::from(config.topic(context)))))
            .collect();
        consumer.subscribe(&topics.keys().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self { consumer: Some(Arc::new(consumer)), topics })
    }

    fn consumer(&self) -> &Arc<StreamConsumer<Membership>> {
        self.consumer.as_ref().expect("only close and drop take the consumer")
    }

    pub fn membership(&self) -> &Membership {
        self.consumer().context()
    }

    /// Serves librdkafka, and waits for what it has. May be dropped at any time.
    pub async fn receive(&self) -> Received {
        let outcome = self.consumer().recv().await;
        self.received(outcome)
    }

    /// What is there already.
    pub fn receive_now(&self) -> Option<Received> {
        self.consumer().recv().now_or_never().map(|outcome| self.received(outcome))
    }

    fn received(&self, outcome: KafkaResult<BorrowedMessage<'_>>) -> Received {
        match outcome {
            Ok(message) => match halt_in(&message) {
                Some(reason) => Err(Interruption::Halted { topic: message.topic().to_owned(), reason }),
                None => Ok(Arrived { record: self.record(&message), epoch: epoch_in(&message) }),
            },
            Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                Err(Interruption::OffsetOutOfRange)
            }
            Err(error @ (KafkaError::MessageConsumptionFatal(_) | KafkaError::Subscription(_))) => {
                Err(Interruption::Broken(error))
            }
            Err(error) => Err(Interruption::Trouble(error)),
        }
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Record {
        let (context, topic) =
            self.topics.get(message.topic()).expect("only topics that were subscribed to are assigned");
        Record::read(
            *context,
            Arc::clone(topic),
            (message.partition(), message.offset()),
            message.key().unwrap_or_default().to_vec(),
            message.payload().unwrap_or_default().to_vec(),
        )
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

    /// Reads the partition from `offset` on. What comes afterwards may still be from before: the intake knows.
    pub async fn seek(&self, partition: &Partition, offset: i64) -> KafkaResult<()> {
        let consumer = Arc::clone(self.consumer());
        let (topic, number) = partition.clone();
        blocking(move || consumer.seek(&topic, number, Offset::Offset(offset), ANSWER_LIMIT)).await
    }

    /// The first offset that the partition has, and the one that its next record will have.
    pub async fn watermarks(&self, partition: &Partition) -> KafkaResult<(i64, i64)> {
        let consumer = Arc::clone(self.consumer());
        let (topic, number) = partition.clone();
        blocking(move || consumer.fetch_watermarks(&topic, number, ANSWER_LIMIT)).await
    }

    /// Where Kafka was told that we are in these partitions; those of which it was never told left out.
    pub async fn told(&self, partitions: &[Partition]) -> KafkaResult<Vec<(Partition, i64)>> {
        let consumer = Arc::clone(self.consumer());
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let told = blocking(move || consumer.committed_offsets(list, ANSWER_LIMIT)).await?;
        let offset = |partition: &Partition| match told.find_partition(&partition.0, partition.1)?.offset() {
            Offset::Offset(offset) => Some((partition.clone(), offset)),
            _ => None,
        };
        Ok(partitions.iter().filter_map(offset).collect())
    }

    pub fn pause(&self) -> KafkaResult<()> {
        self.consumer().pause(&self.consumer().assignment()?)
    }

    pub fn resume(&self) -> KafkaResult<()> {
        self.consumer().resume(&self.consumer().assignment()?)
    }

    /// Tells Kafka, for those who look at lag there. Nothing rests on it.
    pub fn commit(&self, offsets: &HashMap<Partition, i64>) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .expect("an offset of Kafka's fits an offset of Kafka's");
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
