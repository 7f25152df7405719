//! What a consumer holds: its place in each partition, and the records read ahead of the batch in hand.
//!
//! A duplicate, and a record that does not concern the handler, is passed: it needs no transaction, and its checkpoint is
//! owed until a batch takes it along. After a crash it is read, and passed, once more.
//! PURE: no Kafka, no clock. Never: a record taken that is not the next one of its partition, or passed before those in
//! front of it are committed.
//! Read next: `run.rs`.

use std::collections::{HashMap, HashSet, VecDeque};
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
    /// Behind what is committed and what was passed since then.
    done_offset: i64,
    /// The highest one that is committed or was passed.
    done_position: Position,
    /// None: nothing was handled here before, and any epoch will do.
    epoch: Option<i64>,
    /// The offset that the next record from Kafka must have.
    next_offset: i64,
    /// Where the record lay that came after a gap, when one has.
    gap_to: Option<i64>,
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
            done_offset: offset,
            done_position: position,
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

    /// Every partition that is read, with the offset behind what is done there.
    pub fn done_offsets(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.places.iter().map(|(partition, place)| (partition, place.done_offset))
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

    /// The next batch, in the order of arrival, of the records that concern the handler; call it when the batch before is
    /// settled.
    pub fn take(&mut self, consumer: &str, concerns: impl Fn(&Record) -> bool) -> Taken {
        let mut taken = Taken::default();
        let mut records = Vec::new();
        let mut touched = HashSet::<Partition>::new();
        let mut reached = HashMap::<Partition, (i64, Position)>::new();
        let mut bytes = 0;
        while records.len() + taken.duplicates + taken.unconcerned < self.records_max
            && bytes < self.bytes_max
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
                && !planted_bug!("consumer::duplicates_handed_on");
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

    /// All of it concerns the handler.
    fn take(intake: &mut Intake) -> Taken {
        intake.take("c", |_| true)
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
        let Taken { batch: Some(batch), duplicates, .. } = take(&mut intake) else { panic!("no batch") };
        assert_eq!((offsets(&batch), duplicates), (vec![6, 8], 2));
        let step = &batch.moves[0];
        assert_eq!((step.from_offset, step.to_offset, step.last_position), (5, 9, 52));
    }

    #[test]
    fn what_is_passed_needs_no_batch_and_its_checkpoint_is_owed() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        intake.offer(record(0, 5, 50));
        intake.offer(record(0, 6, 51));
        let taken = intake.take("c", |_| false);
        assert!(taken.batch.is_none());
        assert_eq!((taken.duplicates, taken.unconcerned), (1, 1));
        assert_eq!(intake.done_offsets().collect::<Vec<_>>(), [(&partition(0), 7)]);
        let settled = intake.owed("c").expect("the checkpoint alone");
        assert!(settled.records.is_empty());
        assert_eq!(settled.moves, [step("c", &partition(0), 5, (7, 51))]);
        intake.committed(&settled.moves);
        assert!(intake.owed("c").is_none());
    }

    #[test]
    fn the_next_batch_of_a_partition_takes_along_what_was_passed_there_and_leaves_the_others() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        intake.place(partition(1), None);
        intake.offer(record(0, 5, 51));
        intake.offer(record(1, 0, 1));
        assert!(intake.take("c", |_| false).batch.is_none());
        intake.offer(record(0, 6, 51));
        intake.offer(record(0, 7, 52));
        intake.offer(record(0, 8, 53));
        let concerns = |record: &Record| record.offset == 7;
        let taken = intake.take("c", concerns);
        let batch = taken.batch.expect("a batch");
        assert_eq!((offsets(&batch), taken.duplicates, taken.unconcerned), (vec![7], 1, 1));
        assert_eq!(batch.moves, [step("c", &partition(0), 5, (9, 53))]);
        assert_eq!(
            intake.done_offsets().find(|(at, _)| **at == partition(0)),
            Some((&partition(0), 6)),
            "not yet"
        );
        intake.committed(&batch.moves);
        let settled = intake.owed("c").expect("the checkpoint alone");
        assert_eq!(settled.moves, [step("c", &partition(1), 0, (1, 1))]);
    }

    #[test]
    fn a_checkpoint_that_is_read_again_owes_nothing() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), None);
        intake.offer(record(0, 0, 1));
        assert!(intake.take("c", |_| false).batch.is_none());
        intake.place(partition(0), None);
        assert!(intake.owed("c").is_none());
        assert_eq!(intake.offer(record(0, 0, 1)), Offered::Taken, "it is passed once more");
    }

    #[test]
    fn a_record_without_a_position_is_handed_on_and_leaves_the_last_position() {
        let mut intake = Intake::new(ROOM, 1000);
        intake.place(partition(0), Some(&checkpoint(5, 50)));
        intake.offer(record(0, 5, 0));
        let batch = take(&mut intake).batch.expect("a batch");
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
        let first = take(&mut intake).batch.expect("a batch");
        intake.committed(&first.moves);
        intake.offer(record(0, 2, 3));
        let second = take(&mut intake).batch.expect("a batch");
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
        let batch = take(&mut intake).batch.expect("a batch");
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
        let batch = take(&mut intake).batch.expect("a batch");
        assert_eq!(offsets(&batch), [0, 1]);
        assert!(intake.has_room());
    }
}
