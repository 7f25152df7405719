//! Consuming: every record's effect once, in the order of its partition, whatever restarts, repeats or rebalances.
//!
//! A reader is one Kafka consumer with one or more handlers. It fetches and decodes a record once, and each handler applies it
//! with a checkpoint of its own. The checkpoint in Postgres is the truth. A handler is not given a record before its checkpoint
//! is known; a batch's effect and the moves of its checkpoints are one transaction of the handler's; a redelivered record lies
//! before `next_offset`, a duplicate of the relay's has `position <= last_position`, and both are left out. A zombie's
//! compare-and-set fails, and it reads its checkpoint again.
//!
//! Never: an offset committed to Kafka and relied on, a record skipped, a poll that waits for a handler beyond Kafka's patience,
//! an unbounded buffer, a handler that waits for another.
//! Files: `positions` (which offset comes next; pure), `intake` (what a handler has still to do; pure), `worker`,
//! `handling` and `pause` (one handler and the batch in hand), `run` and `serving` (the loop, and what Kafka gives), `placing` (which partitions, from where), `behind` and `catch_up` (who has fallen
//! behind), `group`, `membership` and `received` (librdkafka), `told` (what Kafka is told; pure).
//! Read next: [`crate::BatchHandler`], then `run.rs`.

mod backoff;
mod behind;
mod catch_up;
mod group;
mod handling;
mod intake;
mod membership;
mod pause;
mod placing;
mod positions;
mod received;
mod report;
mod run;
mod serving;
pub(crate) mod told;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use event_log::ContextName;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use crate::{BatchHandler, BusConfig};

/// What a handler consumes, and how much at a time.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Names the checkpoints.
    pub name: String,
    pub topics: Vec<ContextName>,
    /// At most this many records in one batch; some batches more may be buffered meanwhile.
    pub batch_max: usize,
    /// A batch is closed when its payloads reach this size.
    pub batch_bytes_max: usize,
    /// The pause after a batch, in percent of what the batch took, and 50 ms at most: what comes meanwhile shares a
    /// transaction. The last 50 ms without a batch count for it, so what comes now and then does not pause. A full batch does
    /// not wait, nor what comes after the pause. 0: everything is handled at once.
    pub pause_percent: u32,
    /// Stop when a checkpoint lies before what Kafka was told: the database was restored to an older state, and what
    /// follows was done before. Not for a consumer whose checkpoints a person may set back.
    pub never_back: bool,
}

impl ConsumerOptions {
    pub fn new<C: Into<ContextName>>(name: impl Into<String>, topics: impl IntoIterator<Item = C>) -> Self {
        Self {
            name: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            batch_max: 500,
            batch_bytes_max: 4 << 20,
            pause_percent: 0,
            never_back: false,
        }
    }
}

/// How a consumer is doing, at most about a second old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHealth {
    /// Partitions that this process reads; 0 is fine when others have them all.
    pub assigned: usize,
    /// Records that lie beyond the checkpoints of the assigned partitions; none until Kafka has told.
    pub lag_records: Option<i64>,
    /// The partition that is the furthest behind, and by how many records.
    pub furthest_behind: Option<(String, i32, i64)>,
    /// How long there has been something to do and nothing was done.
    pub without_progress: Duration,
    /// What stands in the way now: the group is being joined, the handler's reason to try again, a broker's error.
    pub trouble: Option<String>,
}

impl ConsumerHealth {
    /// Why the consumer is stuck, when it has had something to do for longer than `max` and nothing was done: where, too.
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

/// Called about once a second and when `trouble` comes or goes. Must not block.
pub type HealthReport = Arc<dyn Fn(&ConsumerHealth) + Send + Sync>;

/// Why a consumer stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error("consumer {consumer}: {reason}")]
    Fatal { consumer: String, reason: String },
    #[error(
        "consumer {consumer}: its checkpoint in {topic}/{partition} is at offset {next_offset}, and the topic has \
         the offsets {low} to {high}: the topic was made anew or has lost records; run `tradewind reconcile`"
    )]
    OutOfRange { consumer: String, topic: String, partition: i32, next_offset: i64, low: i64, high: i64 },
    #[error("consumer {consumer}: {reason}; run `tradewind reconcile`")]
    Restored { consumer: String, reason: String },
    #[error("consumer {consumer}: Kafka refuses: {cause}")]
    Kafka { consumer: String, cause: KafkaError },
}

impl ConsumerError {
    /// The handler that it is about, or the reader's group.
    pub fn consumer(&self) -> &str {
        match self {
            Self::Fatal { consumer, .. }
            | Self::OutOfRange { consumer, .. }
            | Self::Restored { consumer, .. }
            | Self::Kafka { consumer, .. } => consumer,
        }
    }

    /// Whether log and topic have come apart, so that nothing but `tradewind reconcile` helps.
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

/// Reads the topics of all subscriptions as one member of the consumer group `group`, and hands each handler its batches until
/// `shutdown`; then finishes the batches in hand and leaves the group. All members of a group must have the same subscriptions.
///
/// # Errors
/// [`ConsumerError`]: someone must act. One handler's error stops all.
pub async fn run_reader(
    config: &BusConfig,
    group: &str,
    subscriptions: Vec<Subscription>,
    shutdown: CancellationToken,
) -> Result<(), ConsumerError> {
    let contexts: BTreeSet<ContextName> =
        subscriptions.iter().flat_map(|subscription| subscription.options.topics.iter().copied()).collect();
    let workers = subscriptions.into_iter().map(|subscription| {
        let topics = received::topics_of(config, subscription.options.topics.iter().copied());
        worker::Worker::new(subscription, topics)
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
/// # Errors
/// [`ConsumerError`]: someone must act.
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
