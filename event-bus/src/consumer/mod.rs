//! Consuming: every record's effect once, in the order of its partition, whatever restarts, repeats or rebalances.
//!
//! The checkpoint in Postgres is the truth. A partition that is assigned is not read before its checkpoint is
//! known; a batch's effect and the moves of its checkpoints are one transaction of the handler's; a redelivered
//! record lies before `next_offset`, a duplicate of the relay's has `position <= last_position`, and both are left
//! out. A zombie's compare-and-set fails, and it reads its checkpoint again.
//!
//! Never: an offset committed to Kafka and relied on, a record skipped, a poll that waits for a handler beyond
//! Kafka's patience, an unbounded buffer.
//! Files: `intake` (what is buffered and what a batch is; pure), `run` (the loop), `handling` (the batch in hand),
//! `placing` (which partitions, from where), `group` and `membership` (librdkafka).
//! Read next: [`crate::BatchHandler`], then `run.rs`.

mod backoff;
mod group;
mod handling;
mod intake;
mod membership;
mod placing;
mod report;
mod run;

use std::sync::Arc;
use std::time::Duration;

use events::Context;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use crate::{BatchHandler, BusConfig};

/// Who consumes what, and how much at a time.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Names the checkpoints and (after the topic prefix) the consumer group.
    pub name: String,
    pub topics: Vec<Context>,
    /// At most this many records in one batch; as many again may be buffered meanwhile.
    pub batch_max: usize,
    /// A batch is closed when its payloads reach this size.
    pub batch_bytes_max: usize,
    /// From the beginning of a batch to that of the next, at least, unless that one is full: what comes meanwhile shares
    /// its transaction. Kafka, too, gathers for so long before it answers a fetch. Zero: everything is handled at once.
    pub batch_pace: Duration,
    /// Stop when a checkpoint lies before what Kafka was told: the database was restored to an older state, and what
    /// follows was done before. Not for a consumer whose checkpoints a person may set back.
    pub never_back: bool,
}

impl ConsumerOptions {
    pub fn new(name: impl Into<String>, topics: impl Into<Vec<Context>>) -> Self {
        Self {
            name: name.into(),
            topics: topics.into(),
            batch_max: 500,
            batch_bytes_max: 4 << 20,
            batch_pace: Duration::ZERO,
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
    /// Whether log and topic have come apart, so that nothing but `tradewind reconcile` helps.
    pub fn wants_reconciliation(&self) -> bool {
        matches!(self, Self::Restored { .. } | Self::OutOfRange { .. })
    }
}

/// Hands batches to `handler` until `shutdown`; then finishes the batch in hand and leaves the group.
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
    let name = options.name.clone();
    let group = group::Group::join(config, &options)
        .map_err(|cause| ConsumerError::Kafka { consumer: name.clone(), cause })?;
    tracing::info!(consumer = %name, topics = ?options.topics, "consuming");
    let outcome = run::Loop::new(group, options, handler, health).run(shutdown).await;
    match &outcome {
        Ok(()) => tracing::info!(consumer = %name, "stopped consuming"),
        Err(error) => tracing::error!(consumer = %name, %error, "stopped consuming"),
    }
    outcome
}
