//! The committed offsets: which checkpoints the handlers have committed, and which of them Kafka does not know yet.
//!
//! Kafka's offsets are for tools that show lag, and for detecting a database that was restored. No record is read because of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use event_log::CheckpointMove;

use super::offset_metadata::metadata_of;
use super::positions::{Partition, Positions};
use super::worker::Worker;

/// An offset to commit to Kafka.
pub(super) struct CommittedOffset {
    pub partition: Partition,
    pub offset: i64,
    pub metadata: String,
}

pub(super) struct Commits {
    /// For each handler, by its index, its committed checkpoints.
    checkpoints: Vec<HashMap<Partition, i64>>,
    /// Partitions with a committed checkpoint that was not committed to Kafka yet.
    uncommitted_offsets: HashSet<Partition>,
}

impl Commits {
    pub fn new(handlers: usize) -> Self {
        Self { checkpoints: vec![HashMap::new(); handlers], uncommitted_offsets: HashSet::new() }
    }

    /// The handler has read its checkpoint.
    pub fn loaded(&mut self, handler: usize, partition: Partition, next_offset: i64) {
        self.checkpoints[handler].insert(partition, next_offset);
    }

    /// The handler has committed these moves.
    pub fn committed(&mut self, handler: usize, moves: &[CheckpointMove]) {
        for step in moves {
            let partition: Partition = (Arc::from(step.topic.as_str()), step.partition);
            self.uncommitted_offsets.insert(partition.clone());
            self.checkpoints[handler].insert(partition, step.to_offset);
        }
    }

    /// The handler's checkpoint is unknown until it is read again.
    pub fn forget(&mut self, handler: usize, partition: &Partition) {
        self.checkpoints[handler].remove(partition);
    }

    pub fn revoke(&mut self, partitions: &[Partition]) {
        for checkpoints in &mut self.checkpoints {
            checkpoints.retain(|partition, _| !partitions.contains(partition));
        }
    }

    /// The offsets to commit to Kafka. A partition in which a handler's checkpoint is unknown waits for the next call.
    pub fn take(&mut self, workers: &[Worker], positions: &Positions) -> Vec<CommittedOffset> {
        let mut taken = Vec::new();
        for partition in std::mem::take(&mut self.uncommitted_offsets) {
            let subscribers = workers.iter().filter(|worker| worker.subscribes_to(&partition));
            let offsets: Option<Vec<(&str, i64)>> = subscribers
                .map(|worker| {
                    let offset = *self.checkpoints[worker.index()].get(&partition)?;
                    Some((worker.options.name.as_str(), offset))
                })
                .collect();
            let Some(offsets) = offsets else {
                if positions.next_offset(&partition).is_some() {
                    self.uncommitted_offsets.insert(partition);
                }
                continue;
            };
            let Some(offset) = offsets.iter().map(|(_, offset)| *offset).min() else { continue };
            let metadata = metadata_of(offsets.into_iter());
            taken.push(CommittedOffset { partition, offset, metadata });
        }
        taken
    }
}
