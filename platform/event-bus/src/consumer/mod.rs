//! Consumers: every record takes effect once, in the order of its partition, through restarts, redeliveries and
//! rebalances.
//!
//! A reader is one Kafka consumer with one or more handlers. It fetches and decodes each record once, and each handler
//! applies it with a checkpoint of its own. The checkpoint in Postgres is the truth. A handler gets no record before
//! its checkpoint is known. A batch's effect and its checkpoint moves are one transaction of the handler. The consumer
//! drops a redelivered record, whose offset is before `next_offset`, and a duplicate of the relay, whose `position <=
//! last_position`. A zombie's compare-and-set fails, and it reads its checkpoint again.
//!
//! Never: a read that depends on an offset committed to Kafka, a skipped record, a poll delayed beyond Kafka's limit by
//! a handler, an unbounded buffer, a handler that waits for another. Files: `positions` (which offset comes next;
//! pure), `partition_buffer` (a handler's buffered records; pure), `worker`, `in_flight` and `pause` (one handler and its
//! batch), `assignment` and `commits` (partitions, checkpoints, committed offsets), `run` (the loop), `catch_up`
//! (handlers behind the reader), `group`, `membership` and `received` (librdkafka), `offset_metadata` (pure). Read
//! next: [`crate::BatchHandler`], then `run.rs`.

mod assignment;
mod backoff;
mod catch_up;
mod commits;
mod group;
mod in_flight;
mod membership;
pub(crate) mod offset_metadata;
mod partition_buffer;
mod pause;
mod positions;
mod received;
mod run;
mod seeks;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use event_log::ContextName;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use crate::{BatchHandler, BusConfig};

/// What a handler consumes, and its batch sizes.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The consumer's name in its checkpoints.
    pub name: String,
    pub topics: Vec<ContextName>,
    /// The most records in one batch. Some more batches may be buffered.
    pub batch_max: usize,
    /// A batch is closed when its payloads reach this size.
    pub batch_bytes_max: usize,
    /// The pause after a batch, in percent of its duration and at most 50 ms, so that records which arrive in between share a
    /// transaction. Up to 50 ms of idle time before the batch count for it, so an occasional batch has no pause. A full batch
    /// starts at once. 0: no pause.
    pub pause_percent: u32,
    /// Whether to stop if a checkpoint is before the offset committed to Kafka: the database was restored to an older
    /// state, and the following records were handled before. Not for a consumer whose checkpoints an operator may set
    /// back.
    pub detect_rewind: bool,
}

impl ConsumerOptions {
    pub fn new<C: Into<ContextName>>(name: impl Into<String>, topics: impl IntoIterator<Item = C>) -> Self {
        Self {
            name: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            batch_max: 500,
            batch_bytes_max: 4 << 20,
            pause_percent: 0,
            detect_rewind: false,
        }
    }
}

/// A consumer's health, at most about a second old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHealth {
    /// Partitions that this process reads; 0 is normal if other members have them all.
    pub assigned: usize,
    /// Records after the checkpoints of the assigned partitions; none before Kafka's first response.
    pub lag_records: Option<i64>,
    /// The partition with the largest lag, and that lag.
    pub furthest_behind: Option<(String, i32, i64)>,
    /// How long the consumer has had records to handle without handling one.
    pub without_progress: Duration,
    /// The current obstacle: the consumer is joining the group, the handler's reason for a retry, or a broker's error.
    pub trouble: Option<String>,
}

impl ConsumerHealth {
    /// The reason why the consumer is stuck, if it has handled none of its pending records for longer than `max`; it
    /// names the partition.
    pub fn stuck(&self, max: Duration) -> Option<String> {
        let lag = self.lag_records.unwrap_or_default();
        if lag == 0 || self.without_progress <= max {
            return None;
        }
        let seconds = self.without_progress.as_secs();
        let place = self.furthest_behind.as_ref().map_or_else(String::new, |(topic, partition, lag)| {
            format!(", {lag} of them in {topic}/{partition}")
        });
        Some(format!("{lag} records wait{place}, and nothing was done for {seconds} s"))
    }
}

/// Called about once a second and when `trouble` changes. Must not block.
pub type HealthReport = Arc<dyn Fn(&ConsumerHealth) + Send + Sync>;

/// The reason why a consumer stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error("consumer {consumer}: {reason}")]
    Fatal { consumer: String, reason: String },
    #[error(
        "consumer {consumer}: its checkpoint in {topic}/{partition} is at offset {next_offset}, and the topic has \
         the offsets {low} to {high}: the topic was recreated or has lost records; run `tradewind reconcile`"
    )]
    OutOfRange { consumer: String, topic: String, partition: i32, next_offset: i64, low: i64, high: i64 },
    #[error("consumer {consumer}: {reason}; run `tradewind reconcile`")]
    Restored { consumer: String, reason: String },
    #[error("consumer {consumer}: Kafka refuses: {cause}")]
    Kafka { consumer: String, cause: KafkaError },
}

impl ConsumerError {
    /// The handler that the error concerns, or the reader's group.
    pub fn consumer(&self) -> &str {
        match self {
            Self::Fatal { consumer, .. }
            | Self::OutOfRange { consumer, .. }
            | Self::Restored { consumer, .. }
            | Self::Kafka { consumer, .. } => consumer,
        }
    }

    /// Whether log and topic disagree, so that only `tradewind reconcile` helps.
    pub fn wants_reconciliation(&self) -> bool {
        matches!(self, Self::Restored { .. } | Self::OutOfRange { .. })
    }
}

/// One handler of a reader.
pub struct Subscription {
    pub options: ConsumerOptions,
    pub handler: Arc<dyn BatchHandler>,
    pub health: HealthReport,
}

/// Reads the topics of all subscriptions as one member of the consumer group `group`, and passes each handler its
/// batches until `shutdown`. Then it finishes the batches in flight and leaves the group. All members of a group must
/// have the same subscriptions.
///
/// [`ConsumerError`]: an operator must act. One handler's error stops all.
pub async fn run_reader(
    config: &BusConfig,
    group: &str,
    subscriptions: Vec<Subscription>,
    shutdown: CancellationToken,
) -> Result<(), ConsumerError> {
    let contexts: BTreeSet<ContextName> =
        subscriptions.iter().flat_map(|subscription| subscription.options.topics.iter().copied()).collect();
    let workers = subscriptions.into_iter().enumerate().map(|(index, subscription)| {
        let topics = received::topics_of(config, subscription.options.topics.iter().copied());
        worker::Worker::new(index, subscription, topics)
    });
    let workers: Vec<worker::Worker> = workers.collect();
    let joined = group::Group::join(config, group, received::topics_of(config, contexts.iter().copied()))
        .map_err(|cause| ConsumerError::Kafka { consumer: group.to_owned(), cause })?;
    tracing::info!(group, topics = ?contexts, handlers = workers.len(), "consuming");
    let outcome = run::Reader::new(group.to_owned(), config.clone(), joined, workers).run(shutdown).await;
    match &outcome {
        Ok(()) => tracing::info!(group, "stopped consuming"),
        Err(error) => tracing::error!(group, %error, "stopped consuming"),
    }
    outcome
}

/// A reader with one handler, whose group has the handler's name.
///
/// [`ConsumerError`]: an operator must act.
pub async fn run_consumer(
    config: &BusConfig,
    options: ConsumerOptions,
    handler: Arc<dyn BatchHandler>,
    health: HealthReport,
    shutdown: CancellationToken,
) -> Result<(), ConsumerError> {
    let group = options.name.clone();
    run_reader(config, &group, vec![Subscription { options, handler, health }], shutdown).await
}
