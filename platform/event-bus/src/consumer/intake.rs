//! What one handler has still to do: its place in each partition, and the records that wait for a batch.
//!
//! A duplicate, and a record that does not concern the handler, is passed: it needs no transaction, and its checkpoint is
//! owed until a batch takes it along. After a crash it is read, and passed, once more. A record that finds no room leaves the
//! handler behind the reader in that partition, until somebody feeds it what it has missed.
//! PURE: no Kafka, no clock. Never: a record taken that is not the next one of its partition, or passed before those in
//! front of it are committed.
//! Read next: `worker.rs`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use event_log::Position;
use fault::mutant;

use super::positions::Partition;
use crate::{Batch, Checkpoint, CheckpointMove, Record};

/// Full batches that may wait behind the one in hand: a handler that is slow for a moment must not fall behind, which costs
/// it a consumer of its own.
const BUFFERED_BATCHES_MAX: usize = 8;
/// So much payload may wait, unless one batch may be larger. Records are shared by the handlers of a reader.
const BUFFERED_BYTES_MAX: usize = 8 << 20;

struct Place {
    committed_offset: i64,
    /// Behind what is committed and what was passed since then.
    done_offset: i64,
    /// The highest one that is committed or was passed.
    done_position: Position,
    /// None: nothing was handled here before, and any epoch will do.
    epoch: Option<i64>,
    /// Behind what was taken.
    next_offset: i64,
    /// The reader is past `next_offset`: nothing is taken from it.
    behind: bool,
}

/// What came of looking through the buffer.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// For the handler; none when all was passed, or there was nothing.
    pub batch: Option<Batch>,
    pub duplicates: usize,
    /// What does not concern the handler.
    pub unconcerned: usize,
}

pub(super) struct Intake {
    places: HashMap<Partition, Place>,
    /// How many places are behind the reader.
    behind: usize,
    buffer: VecDeque<Arc<Record>>,
    buffered_bytes: usize,
    batch_max: usize,
    batch_bytes_max: usize,
}

impl Intake {
    pub fn new(batch_max: usize, batch_bytes_max: usize) -> Self {
        Self {
            places: HashMap::new(),
            behind: 0,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            batch_max,
            batch_bytes_max,
        }
    }

    /// Begins, or begins anew, at a checkpoint. Returns the offset of the record to go on with.
    pub fn place(&mut self, partition: Partition, checkpoint: Option<&Checkpoint>) -> i64 {
        self.remove(&partition);
        let (offset, position) = checkpoint.map_or((0, 0), |at| (at.next_offset, at.last_position));
        let place = Place {
            committed_offset: offset,
            done_offset: offset,
            done_position: position,
            epoch: checkpoint.map(|at| at.epoch),
            next_offset: offset,
            behind: false,
        };
        self.places.insert(partition, place);
        offset
    }

    /// Forgets the partition and what is buffered of it.
    pub fn remove(&mut self, partition: &Partition) {
        let (topic, number) = partition;
        self.buffer.retain(|record| record.partition != *number || record.topic != *topic);
        self.buffered_bytes = self.buffer.iter().map(|record| record.payload.len()).sum();
        if self.places.remove(partition).is_some_and(|place| place.behind) {
            self.behind -= 1;
        }
    }

    pub fn has_room(&self) -> bool {
        self.buffer.len() < self.batch_max * BUFFERED_BATCHES_MAX
            && self.buffered_bytes < self.batch_bytes_max.max(BUFFERED_BYTES_MAX)
    }

    /// Half of the buffer is free, or more: it is worth while to fetch what was missed.
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

    /// Every partition that is read, with the offset of the record to go on with.
    pub fn places(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.places.iter().map(|(partition, place)| (partition, place.next_offset))
    }

    /// Every partition that is read, with the offset behind what is done there.
    pub fn done_offsets(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.places.iter().map(|(partition, place)| (partition, place.done_offset))
    }

    /// The epoch that the partition's records must have, where one is known.
    pub fn epoch(&self, partition: &Partition) -> Option<i64> {
        self.places.get(partition)?.epoch
    }

    pub fn next_offset(&self, partition: &Partition) -> Option<i64> {
        self.places.get(partition).map(|place| place.next_offset)
    }

    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.places.contains_key(&(Arc::from(topic), partition))
    }

    /// Whether it takes records of the reader in any partition.
    pub fn follows(&self) -> bool {
        self.places.len() > self.behind
    }

    pub fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// The partitions in which the reader is past the record to go on with, with that record's offset.
    pub fn behind(&self) -> impl Iterator<Item = (&Partition, i64)> {
        let behind = self.places.iter().filter(|(_, place)| place.behind);
        behind.map(|(partition, place)| (partition, place.next_offset))
    }

    pub fn set_behind(&mut self, partition: &Partition, behind: bool) {
        let Some(place) = self.places.get_mut(partition) else { return };
        match (place.behind, behind) {
            (false, true) => self.behind += 1,
            (true, false) => self.behind -= 1,
            _ => {}
        }
        place.behind = behind;
    }

    /// Whether a record of the reader is to be taken. It is not when the partition is not ours, or behind, or the record
    /// was taken before; and when there is no room for it, the partition is behind from now on.
    pub fn admits(&mut self, partition: &Partition, offset: i64) -> bool {
        let new = |place: &Place| !place.behind && offset >= place.next_offset;
        if !self.places.get(partition).is_some_and(new) {
            return false;
        }
        let has_room = self.has_room();
        if !has_room {
            self.set_behind(partition, true);
        }
        has_room
    }

    /// Takes the partition's next record, of which whoever reads knows that none is missing before it.
    pub fn take_in(&mut self, record: Arc<Record>) {
        let place = self.places.get_mut(&(Arc::clone(&record.topic), record.partition));
        let Some(place) = place.filter(|place| record.offset >= place.next_offset) else { return };
        place.next_offset = record.offset + 1;
        self.buffered_bytes += record.payload.len();
        self.buffer.push_back(record);
    }

    /// The next batch, in the order of arrival, of the records that concern the handler; call it when the batch before is
    /// settled.
    pub fn take(&mut self, consumer: &str, concerns: impl Fn(&Record) -> bool) -> Taken {
        let mut taken = Taken::default();
        let mut records = Vec::new();
        let mut touched = HashSet::<Partition>::new();
        let mut reached = HashMap::<Partition, (i64, Position)>::new();
        let mut bytes = 0;
        while records.len() + taken.duplicates + taken.unconcerned < self.batch_max
            && bytes < self.batch_bytes_max
        {
            let Some(record) = self.buffer.pop_front() else { break };
            bytes += record.payload.len();
            let partition = (Arc::clone(&record.topic), record.partition);
            let place = &self.places[&partition];
            let (offset, last) =
                reached.entry(partition.clone()).or_insert((place.done_offset, place.done_position));
            if record.offset < *offset {
                continue; // read again while the batch in hand passed it
            }
            *offset = record.offset + 1;
            let is_duplicate = record.position.is_some_and(|position| position <= *last)
                && !mutant!("consumer::duplicates_handed_on");
            *last = record.position.map_or(*last, |position| position.max(*last));
            if is_duplicate {
                taken.duplicates += 1;
            } else if concerns(&record) {
                touched.insert(partition);
                records.push(record);
            } else {
                taken.unconcerned += 1;
            }
        }
        self.buffered_bytes -= bytes;
        let mut moves = Vec::new();
        for (partition, (offset, last)) in reached {
            let place = self.places.get_mut(&partition).expect("what is buffered has its place");
            if touched.contains(&partition) {
                moves.push(step(consumer, &partition, place.committed_offset, (offset, last)));
            } else {
                (place.done_offset, place.done_position) = (offset, last);
            }
        }
        taken.batch = (!moves.is_empty()).then_some(Batch { records, moves });
        taken
    }

    /// The checkpoints that are owed, and no record; call it when the batch before is settled. None when none is owed.
    pub fn owed(&self, consumer: &str) -> Option<Batch> {
        let owed = self.places.iter().filter(|(_, place)| place.done_offset > place.committed_offset);
        let moves: Vec<CheckpointMove> = owed
            .map(|(partition, place)| {
                step(consumer, partition, place.committed_offset, (place.done_offset, place.done_position))
            })
            .collect();
        (!moves.is_empty()).then(|| Batch { records: Vec::new(), moves })
    }

    /// The moves were committed.
    pub fn committed(&mut self, moves: &[CheckpointMove]) {
        for step in moves {
            if let Some(place) = self.places.get_mut(&(Arc::from(step.topic.as_str()), step.partition)) {
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
