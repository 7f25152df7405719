//! The partitions of this consumer: those that Kafka has assigned or revoked and that wait for our answer, and the checkpoints that
//! the handlers still have to read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use event_log::Checkpoint;
use rdkafka::TopicPartitionList;

use super::backoff::Backoff;
use super::positions::Partition;
use crate::HandlerError;

/// How long an assignment waits for handlers that cannot read their checkpoints, if other handlers can.
const LATE_AFTER: Duration = Duration::from_secs(5);

/// Rebalances without an answer, and partitions that handlers join.
#[derive(Default)]
pub(super) struct Assignment {
    assigned: Option<Assigned>,
    revoked: Option<TopicPartitionList>,
    joined: Vec<Partition>,
}

/// Partitions that are ours but not read yet: the handlers read their checkpoints first.
struct Assigned {
    partitions: TopicPartitionList,
    since: Instant,
}

impl Assignment {
    pub fn assign(&mut self, partitions: TopicPartitionList) {
        self.assigned = Some(Assigned { partitions, since: Instant::now() });
    }

    /// The assigned partitions that wait for an answer.
    pub fn assigned(&self) -> Option<&TopicPartitionList> {
        self.assigned.as_ref().map(|assigned| &assigned.partitions)
    }

    /// Whether the assignment has waited long enough for late handlers.
    pub fn is_late(&self) -> bool {
        self.assigned.as_ref().is_some_and(|assigned| assigned.since.elapsed() >= LATE_AFTER)
    }

    /// Whether the partition is assigned and waits for an answer.
    pub fn is_unanswered(&self, partition: &Partition) -> bool {
        self.assigned().is_some_and(|list| list.find_partition(&partition.0, partition.1).is_some())
    }

    pub fn take_assigned(&mut self) -> Option<TopicPartitionList> {
        self.assigned.take().map(|assigned| assigned.partitions)
    }

    pub fn revoke(&mut self, partitions: TopicPartitionList) {
        self.revoked = Some(partitions);
    }

    /// The revoked partitions that wait for an answer.
    pub fn revoked(&self) -> Option<&TopicPartitionList> {
        self.revoked.as_ref()
    }

    pub fn take_revoked(&mut self) -> Option<TopicPartitionList> {
        self.revoked.take()
    }

    /// A handler has read its checkpoints in these partitions.
    pub fn join(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        self.joined.extend(partitions);
    }

    pub fn take_joined(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.joined)
    }
}

/// The checkpoints that one handler still has to read.
#[derive(Default)]
pub(super) struct CheckpointLoads {
    wanted: BTreeSet<Partition>,
    running: Option<BTreeSet<Partition>>,
    backoff: Backoff,
    delay: Duration,
}

impl CheckpointLoads {
    pub fn request(&mut self, partition: Partition) {
        self.wanted.insert(partition);
    }

    pub fn cancel(&mut self, partition: &Partition) {
        self.wanted.remove(partition);
        if let Some(running) = &mut self.running {
            running.remove(partition);
        }
    }

    /// Whether no checkpoint is wanted and none is being read.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.running.is_none()
    }

    /// The partitions whose checkpoints are to be read now, and the delay before it. None if there are none, or a load is running.
    pub fn start(&mut self) -> Option<(Vec<Partition>, Duration)> {
        if self.wanted.is_empty() || self.running.is_some() {
            return None;
        }
        let partitions = std::mem::take(&mut self.wanted);
        self.running = Some(partitions.clone());
        Some((partitions.into_iter().collect(), self.delay))
    }

    /// The checkpoints were read. Returns the partitions that still want them.
    pub fn succeeded(&mut self) -> BTreeSet<Partition> {
        self.delay = Duration::ZERO;
        self.backoff.reset();
        self.running.take().unwrap_or_default()
    }

    /// The checkpoints could not be read: the next load tries again, after a delay.
    pub fn failed(&mut self) {
        self.delay = self.backoff.next();
        self.wanted.extend(self.running.take().unwrap_or_default());
    }
}

/// Compares the handler's checkpoints with the offsets that Kafka has of it. An offset is committed to Kafka after its checkpoint, so
/// a checkpoint before it was rewound.
///
/// # Errors
/// [`HandlerError::Restored`].
pub(super) fn check_not_rewound(
    committed: &[(Partition, i64)],
    checkpoints: &[Checkpoint],
) -> Result<(), HandlerError> {
    for ((topic, partition), committed) in committed {
        let checkpoint = checkpoints.iter().find(|at| *at.topic == **topic && at.partition == *partition);
        let next_offset = checkpoint.map_or(0, |at| at.next_offset);
        if next_offset < *committed {
            return Err(HandlerError::Restored(format!(
                "its checkpoint in {topic}/{partition} is at offset {next_offset} and was at {committed} before: the database \
                 was restored to an older state"
            )));
        }
    }
    Ok(())
}
