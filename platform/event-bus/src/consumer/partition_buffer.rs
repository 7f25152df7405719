//! The buffered records of one handler, and its offset in each partition.
//!
//! A duplicate, and a record that is irrelevant to the handler, is skipped: it needs no transaction, and its checkpoint
//! stays pending until a batch includes it. After a crash it is read and skipped once more. If a record finds no room,
//! the handler is behind the reader in that partition until it has got the records that it missed.
//!
//! PURE: no Kafka, no clock. It takes only the next record of a partition, and skips none before the earlier ones are
//! committed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use event_log::Position;
use fault::mutant;

use super::positions::Partition;
use crate::{Batch, Checkpoint, CheckpointMove, Record};

/// Full batches that may wait behind the one in flight: a briefly slow handler must not fall behind, because catching
/// up takes a consumer of its own.
const BUFFERED_BATCHES_MAX: usize = 8;
/// The payload that may wait, if one batch is not larger. The handlers of a reader share the records.
const BUFFERED_BYTES_MAX: usize = 8 << 20;

struct PartitionState {
    committed_offset: i64,
    /// The offset after the records that are committed or skipped.
    done_offset: i64,
    /// The highest position that is committed or skipped.
    done_position: Position,
    /// None: the handler has no checkpoint here, so any epoch is accepted.
    epoch: Option<i64>,
    /// The offset after the last record in the buffer.
    next_offset: i64,
    /// The reader is past `next_offset`: no record is taken from it.
    behind: bool,
}

/// The result of looking for the next batch.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// For the handler; none if every record was skipped or there was none.
    pub batch: Option<Batch>,
    pub duplicates: usize,
    /// The number of records that are irrelevant to the handler.
    pub skipped: usize,
}

pub(super) struct PartitionBuffer {
    partitions: HashMap<Partition, PartitionState>,
    /// The number of partitions that are behind the reader.
    behind: usize,
    buffer: VecDeque<Arc<Record>>,
    buffered_bytes: usize,
    batch_max: usize,
    batch_bytes_max: usize,
}

impl PartitionBuffer {
    pub fn new(batch_max: usize, batch_bytes_max: usize) -> Self {
        Self {
            partitions: HashMap::new(),
            behind: 0,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            batch_max,
            batch_bytes_max,
        }
    }

    /// Starts, or restarts, at a checkpoint. Returns the offset of the next record.
    pub fn assign(&mut self, partition: Partition, checkpoint: Option<&Checkpoint>) -> i64 {
        self.remove(&partition);
        let (offset, position) = checkpoint.map_or((0, 0), |at| (at.next_offset, at.last_position));
        let state = PartitionState {
            committed_offset: offset,
            done_offset: offset,
            done_position: position,
            epoch: checkpoint.map(|at| at.epoch),
            next_offset: offset,
            behind: false,
        };
        self.partitions.insert(partition, state);
        offset
    }

    /// Removes the partition and its buffered records.
    pub fn remove(&mut self, partition: &Partition) {
        let (topic, number) = partition;
        self.buffer.retain(|record| record.partition != *number || record.topic != *topic);
        self.buffered_bytes = self.buffer.iter().map(|record| record.payload.len()).sum();
        if self.partitions.remove(partition).is_some_and(|place| place.behind) {
            self.behind -= 1;
        }
    }

    pub fn has_room(&self) -> bool {
        self.buffer.len() < self.batch_max * BUFFERED_BATCHES_MAX
            && self.buffered_bytes < self.batch_bytes_max.max(BUFFERED_BYTES_MAX)
    }

    /// Whether at least half of the buffer is free, so that fetching missed records is worth it.
    pub fn has_drained(&self) -> bool {
        self.buffer.len() * 2 <= self.batch_max * BUFFERED_BATCHES_MAX
            && self.buffered_bytes * 2 <= self.batch_bytes_max.max(BUFFERED_BYTES_MAX)
    }

    pub fn has_full_batch(&self) -> bool {
        self.buffer.len() >= self.batch_max || self.buffered_bytes >= self.batch_bytes_max
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Every partition that is read, with the offset of its next record.
    pub fn next_offsets(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.partitions.iter().map(|(partition, place)| (partition, place.next_offset))
    }

    /// Every partition that is read, with the offset after the records that are committed or skipped.
    pub fn done_offsets(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.partitions.iter().map(|(partition, place)| (partition, place.done_offset))
    }

    /// The epoch that the partition's records must have, if one is known.
    pub fn epoch(&self, partition: &Partition) -> Option<i64> {
        self.partitions.get(partition)?.epoch
    }

    pub fn next_offset(&self, partition: &Partition) -> Option<i64> {
        self.partitions.get(partition).map(|place| place.next_offset)
    }

    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.partitions.contains_key(&(Arc::from(topic), partition))
    }

    /// Whether it follows the reader in any partition.
    pub fn follows(&self) -> bool {
        self.partitions.len() > self.behind
    }

    pub fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// The partitions in which the reader is past the next record, with that record's offset.
    pub fn behind(&self) -> impl Iterator<Item = (&Partition, i64)> {
        let behind = self.partitions.iter().filter(|(_, place)| place.behind);
        behind.map(|(partition, place)| (partition, place.next_offset))
    }

    pub fn set_behind(&mut self, partition: &Partition, behind: bool) {
        let Some(place) = self.partitions.get_mut(partition) else { return };
        match (place.behind, behind) {
            (false, true) => self.behind += 1,
            (true, false) => self.behind -= 1,
            _ => {}
        }
        place.behind = behind;
    }

    /// Whether to take a record of the reader. No if the partition is not read or behind, or if the record was taken
    /// before. If there is no room for it, the partition is behind from now on.
    pub fn accepts(&mut self, partition: &Partition, offset: i64) -> bool {
        let new = |place: &PartitionState| !place.behind && offset >= place.next_offset;
        if !self.partitions.get(partition).is_some_and(new) {
            return false;
        }
        let has_room = self.has_room();
        if !has_room {
            self.set_behind(partition, true);
        }
        has_room
    }

    /// Takes the partition's next record. The caller has checked that none is missing before it.
    pub fn push(&mut self, record: Arc<Record>) {
        let place = self.partitions.get_mut(&(Arc::clone(&record.topic), record.partition));
        let Some(place) = place.filter(|place| record.offset >= place.next_offset) else { return };
        place.next_offset = record.offset + 1;
        self.buffered_bytes += record.payload.len();
        self.buffer.push_back(record);
    }

    /// The next batch of relevant records, in the order of arrival. Call it when no batch is in flight.
    pub fn take(&mut self, consumer: &str, is_relevant: impl Fn(&Record) -> bool) -> Taken {
        let mut taken = Taken::default();
        let mut records = Vec::new();
        let mut touched = HashSet::<Partition>::new();
        let mut reached = HashMap::<Partition, (i64, Position)>::new();
        let mut bytes = 0;
        while records.len() + taken.duplicates + taken.skipped < self.batch_max
            && bytes < self.batch_bytes_max
        {
            let Some(record) = self.buffer.pop_front() else { break };
            bytes += record.payload.len();
            let partition = (Arc::clone(&record.topic), record.partition);
            let place = &self.partitions[&partition];
            let (offset, last) =
                reached.entry(partition.clone()).or_insert((place.done_offset, place.done_position));
            if record.offset < *offset {
                continue; // it was read again and is part of the batch before
            }
            *offset = record.offset + 1;
            let is_duplicate = record.position.is_some_and(|position| position <= *last)
                && !mutant!("consumer::duplicates_handed_on");
            *last = record.position.map_or(*last, |position| position.max(*last));
            if is_duplicate {
                taken.duplicates += 1;
            } else if is_relevant(&record) {
                touched.insert(partition);
                records.push(record);
            } else {
                taken.skipped += 1;
            }
        }
        self.buffered_bytes -= bytes;
        let mut moves = Vec::new();
        for (partition, (offset, last)) in reached {
            let place = self.partitions.get_mut(&partition).expect("a buffered record's partition is read");
            if touched.contains(&partition) {
                moves.push(step(consumer, &partition, place.committed_offset, (offset, last)));
            } else {
                (place.done_offset, place.done_position) = (offset, last);
            }
        }
        taken.batch = (!moves.is_empty()).then_some(Batch { records, moves });
        taken
    }

    /// A batch of the pending checkpoints, without records; none if none is pending. Call it when no batch is in
    /// flight.
    pub fn pending_checkpoints(&self, consumer: &str) -> Option<Batch> {
        let pending = self.partitions.iter().filter(|(_, place)| place.done_offset > place.committed_offset);
        let moves: Vec<CheckpointMove> = pending
            .map(|(partition, place)| {
                step(consumer, partition, place.committed_offset, (place.done_offset, place.done_position))
            })
            .collect();
        (!moves.is_empty()).then(|| Batch { records: Vec::new(), moves })
    }

    /// Records that the moves were committed.
    pub fn committed(&mut self, moves: &[CheckpointMove]) {
        for step in moves {
            if let Some(place) = self.partitions.get_mut(&(Arc::from(step.topic.as_str()), step.partition)) {
                place.committed_offset = step.to_offset;
                place.done_offset = step.to_offset;
                place.done_position = step.last_position;
            }
        }
    }
}

fn step(
    consumer: &str,
    (topic, partition): &Partition,
    from_offset: i64,
    (to_offset, last_position): (i64, Position),
) -> CheckpointMove {
    CheckpointMove {
        consumer: consumer.to_owned(),
        topic: topic.to_string(),
        partition: *partition,
        from_offset,
        to_offset,
        last_position,
    }
}

#[cfg(test)]
mod tests;
