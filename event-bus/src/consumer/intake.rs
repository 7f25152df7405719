//! What a consumer holds: its place in each partition, and the records read ahead of the batch in hand.
//!
//! PURE: no Kafka, no clock. Never: a record taken that is not the next one of its partition.
//! Read next: `run.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use events::Position;
use fault::planted_bug;

use crate::{Batch, Checkpoint, CheckpointMove, Record};

/// A partition of a topic.
pub(super) type Partition = (Arc<str>, i32);

/// What became of a record that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    /// It lies before our place, or the partition is not ours (any more).
    Dropped,
    /// Records are missing before it: read again from `next_offset`. When the very same gap comes back, it is in
    /// the topic (compaction, an aborted transaction), and the record is taken.
    Gap {
        next_offset: i64,
    },
}

struct Place {
    committed_offset: i64,
    committed_position: Position,
    /// None: nothing was handled here before, and any epoch will do.
    epoch: Option<i64>,
    /// The offset that the next record from Kafka must have.
    next_offset: i64,
    /// Where the record lay that came after a gap, when one has.
    gap_to: Option<i64>,
}

pub(super) struct Intake {
    places: HashMap<Partition, Place>,
    buffer: VecDeque<Record>,
    buffered_bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Intake {
    pub fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { places: HashMap::new(), buffer: VecDeque::new(), buffered_bytes: 0, records_max, bytes_max }
    }

    /// Begins, or begins anew, at a checkpoint.
    pub fn place(&mut self, partition: Partition, checkpoint: Option<&Checkpoint>) {
        self.remove(&partition);
        let (offset, position) = checkpoint.map_or((0, 0), |at| (at.next_offset, at.last_position));
        let place = Place {
            committed_offset: offset,
            committed_position: position,
            epoch: checkpoint.map(|at| at.epoch),
            next_offset: offset,
            gap_to: None,
        };
        self.places.insert(partition, place);
    }

    /// Forgets the partition and what is buffered of it.
    pub fn remove(&mut self, (topic, partition): &Partition) {
        self.buffer.retain(|record| record.partition != *partition || record.topic != *topic);
        self.buffered_bytes = self.buffer.iter().map(|record| record.payload.len()).sum();
        self.places.remove(&(Arc::clone(topic), *partition));
    }

    pub fn has_room(&self) -> bool {
        self.buffer.len() < self.records_max && self.buffered_bytes < self.bytes_max
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Every partition that is read, with the offset that Kafka must give next.
    pub fn places(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.places.iter().map(|(partition, place)| (partition, place.next_offset))
    }

    /// Every partition that is read, with its committed checkpoint's offset.
    pub fn committed_offsets(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.places.iter().map(|(partition, place)| (partition, place.committed_offset))
    }

    /// The epoch that the partition's records must have, where one is known.
    pub fn epoch(&self, topic: &Arc<str>, partition: i32) -> Option<i64> {
        self.places.get(&(Arc::clone(topic), partition))?.epoch
    }

    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.places.contains_key(&(Arc::from(topic), partition))
    }

    pub fn offer(&mut self, record: Record) -> Offered {
        let Some(place) = self.places.get_mut(&(Arc::clone(&record.topic), record.partition)) else {
            return Offered::Dropped;
        };
        if record.offset < place.next_offset {
            return Offered::Dropped;
        }
        if record.offset > place.next_offset && place.gap_to != Some(record.offset) {
            place.gap_to = Some(record.offset);
            return Offered::Gap { next_offset: place.next_offset };
        }
        place.gap_to = None;
        place.next_offset = record.offset + 1;
        self.buffered_bytes += record.payload.len();
        self.buffer.push_back(record);
        Offered::Taken
    }

    /// The next batch, in the order of arrival; call it when the batch before is settled. Duplicates are left out
    /// of its records and passed by its moves. Also says how many those were.
    pub fn take(&mut self, consumer: &str) -> Option<(Batch, usize)> {
        let mut batch = Batch::default();
        let mut moves: HashMap<Partition, CheckpointMove> = HashMap::new();
        let (mut duplicates, mut bytes) = (0, 0);
        while batch.records.len() + duplicates < self.records_max && bytes < self.bytes_max {
            let Some(record) = self.buffer.pop_front() else { break };
            bytes += record.payload.len();
            let partition = (Arc::clone(&record.topic), record.partition);
            let place = &self.places[&partition];
            if record.offset < place.committed_offset {
                continue; // read again while the batch in hand passed it
            }
            let step = moves.entry(partition).or_insert_with(|| CheckpointMove {
                consumer: consumer.to_owned(),
                topic: record.topic.to_string(),
                partition: record.partition,
                from_offset: place.committed_offset,
                to_offset: place.committed_offset,
                last_position: place.committed_position,
            });
            step.to_offset = record.offset + 1;
            match record.position {
                Some(position)
                    if position <= step.last_position && !planted_bug!("consumer::duplicates_handed_on") =>
                {
                    duplicates += 1;
                }
                Some(position) => {
                    step.last_position = position;
                    batch.records.push(record);
                }
                None => batch.records.push(record),
            }
        }
        self.buffered_bytes -= bytes;
        batch.moves = moves.into_values().collect();
        (!batch.moves.is_empty()).then_some((batch, duplicates))
    }

    /// The moves were committed.
    pub fn committed(&mut self, moves: &[CheckpointMove]) {
        for step in moves {
            if let Some(place) = self.places.get_mut(&(Arc::from(step.topic.as_str()), step.partition)) {
                place.committed_offset = step.to_offset;
                place.committed_position = step.last_position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use events::{CodecError, Context};

    use super::*;

    const ROOM: usize = 4;

    fn partition(number: i32) -> Partition {
        (Arc::from("inventory.events"), number)
    }

    fn checkpoint(next_offset: i64, last_position: Position) -> Checkpoint {
        Checkpoint {
            topic: "inventory.events".to_owned(),
            partition: 0,
            next_offset,
            last_position,
            epoch: 1,
        }
    }

    fn record(number: i32, offset: i64, position: Position) -> Record {
        Record {
            context: Context::Inventory,
            topic: Arc::from("inventory.events"),
            partition: number,
            offset,
            key: Vec::new(),
            payload: vec![0; 10],
            position: (position > 0).then_some(position),
            event: Err(CodecError::CloudEvent { cause: "the intake does not look inside".to_owned() }),
        }
    }

    fn offsets(batch: &Batch) -> Vec<i64> {
        batch.records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_record_before_the_checkpoint_or_of_a_foreign_partition_is_dropped() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        assert_eq!(intake.offer(record(0, 4, 49)), Offered::Dropped);
        assert_eq!(intake.offer(record(1, 0, 1)), Offered::Dropped);
        assert_eq!(intake.offer(record(0, 5, 51)), Offered::Taken);
    }

    #[test]
    fn a_gap_is_believed_only_when_it_is_met_twice() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), None);
        assert_eq!(intake.offer(record(0, 3, 4)), Offered::Gap { next_offset: 0 });
        assert_eq!(intake.offer(record(0, 4, 5)), Offered::Gap { next_offset: 0 }, "still the old read");
        assert_eq!(intake.offer(record(0, 4, 5)), Offered::Taken, "read again, and the gap is there");
    }

    #[test]
    fn a_duplicate_is_left_out_and_its_checkpoint_still_moves() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        for (offset, position) in [(5, 49), (6, 51), (7, 51), (8, 52)] {
            assert_eq!(intake.offer(record(0, offset, position)), Offered::Taken);
        }
        let (batch, duplicates) = intake.take("c").expect("a batch");
        assert_eq!((offsets(&batch), duplicates), (vec![6, 8], 2));
        let step = &batch.moves[0];
        assert_eq!((step.from_offset, step.to_offset, step.last_position), (5, 9, 52));
    }

    #[test]
    fn a_batch_of_duplicates_alone_has_moves_and_no_records() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        intake.offer(record(0, 5, 50));
        let (batch, _) = intake.take("c").expect("a batch");
        assert!(batch.records.is_empty());
        assert_eq!((batch.moves[0].to_offset, batch.moves[0].last_position), (6, 50));
    }

    #[test]
    fn a_record_without_a_position_is_handed_on_and_leaves_the_last_position() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        intake.offer(record(0, 5, 0));
        let (batch, _) = intake.take("c").expect("a batch");
        assert_eq!(offsets(&batch), [5]);
        assert_eq!((batch.moves[0].to_offset, batch.moves[0].last_position), (6, 50));
    }

    #[test]
    fn the_next_batch_goes_on_where_the_last_one_was_committed() {
        let mut intake = Intake::new(2, 1000);
        intake.place(partition(0), None);
        intake.offer(record(0, 0, 1));
        intake.offer(record(0, 1, 2));
        assert!(!intake.has_room());
        let (first, _) = intake.take("c").expect("a batch");
        intake.committed(&first.moves);
        intake.offer(record(0, 2, 3));
        let (second, _) = intake.take("c").expect("a batch");
        assert_eq!((second.moves[0].from_offset, second.moves[0].to_offset), (2, 3));
    }

    #[test]
    fn what_is_buffered_of_a_lost_partition_is_forgotten_and_the_rest_stays() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), None);
        intake.place(partition(1), None);
        intake.offer(record(0, 0, 1));
        intake.offer(record(1, 0, 2));
        intake.remove(&partition(0));
        let (batch, _) = intake.take("c").expect("a batch");
        assert_eq!(batch.records.iter().map(|record| record.partition).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_batch_is_closed_by_its_bytes_too() {
        let mut intake = Intake::new(ROOM, 15);
        intake.place(partition(0), None);
        for offset in 0..3 {
            intake.offer(record(0, offset, offset + 1));
        }
        assert!(!intake.has_room());
        let (batch, _) = intake.take("c").expect("a batch");
        assert_eq!(offsets(&batch), [0, 1]);
        assert!(intake.has_room());
    }
}
