//! The partition buffer: which records it takes, how it forms batches, and when it is behind.

use event_log::ContextName;

use super::*;

const BATCH: usize = 4;
const BYTES: usize = 1_000;

fn partition(number: i32) -> Partition {
    (Arc::from("inventory.events"), number)
}

fn checkpoint(next_offset: i64, last_position: Position) -> Checkpoint {
    Checkpoint { topic: "inventory.events".to_owned(), partition: 0, next_offset, last_position, epoch: 1 }
}

/// The buffer does not decode a record: this one has a position and no event.
fn record(number: i32, offset: i64, position: Position) -> Record {
    let mut record = Record::read(
        ContextName::new("inventory"),
        Arc::from("inventory.events"),
        (number, offset),
        Vec::new(),
        vec![0; 10],
    );
    record.position = (position > 0).then_some(position);
    record
}

/// Offers a record as the reader does. Returns whether it was taken.
fn offer(buffer: &mut PartitionBuffer, record: Record) -> bool {
    let admitted = buffer.accepts(&partition(record.partition), record.offset);
    if admitted {
        buffer.push(Arc::new(record));
    }
    admitted
}

/// A batch for a handler to which every record is relevant.
fn take(buffer: &mut PartitionBuffer) -> Taken {
    buffer.take("c", |_| true)
}

fn offsets(batch: &Batch) -> Vec<i64> {
    batch.records.iter().map(|record| record.offset).collect()
}

#[test]
fn a_record_before_the_checkpoint_or_of_a_foreign_partition_is_dropped() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), Some(&checkpoint(5, 50)));
    assert!(!offer(&mut buffer, record(0, 4, 49)));
    assert!(!offer(&mut buffer, record(1, 0, 1)));
    assert!(offer(&mut buffer, record(0, 5, 51)));
}

#[test]
fn a_duplicate_is_dropped_and_its_checkpoint_still_moves() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), Some(&checkpoint(5, 50)));
    for (offset, position) in [(5, 49), (6, 51), (7, 51), (8, 52)] {
        assert!(offer(&mut buffer, record(0, offset, position)));
    }
    let Taken { batch: Some(batch), duplicates, .. } = take(&mut buffer) else { panic!("no batch") };
    assert_eq!((offsets(&batch), duplicates), (vec![6, 8], 2));
    let step = &batch.moves[0];
    assert_eq!((step.from_offset, step.to_offset, step.last_position), (5, 9, 52));
}

#[test]
fn a_skipped_record_needs_no_batch_and_its_checkpoint_is_pending() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), Some(&checkpoint(5, 50)));
    offer(&mut buffer, record(0, 5, 50));
    offer(&mut buffer, record(0, 6, 51));
    let taken = buffer.take("c", |_| false);
    assert!(taken.batch.is_none());
    assert_eq!((taken.duplicates, taken.skipped), (1, 1));
    assert_eq!(buffer.done_offsets().collect::<Vec<_>>(), [(&partition(0), 7)]);
    let pending = buffer.pending_checkpoints("c").expect("the checkpoint alone");
    assert!(pending.records.is_empty());
    assert_eq!(pending.moves, [step("c", &partition(0), 5, (7, 51))]);
    buffer.committed(&pending.moves);
    assert!(buffer.pending_checkpoints("c").is_none());
}

#[test]
fn the_next_batch_of_a_partition_includes_its_pending_checkpoint_and_no_other() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), Some(&checkpoint(5, 50)));
    buffer.assign(partition(1), None);
    offer(&mut buffer, record(0, 5, 51));
    offer(&mut buffer, record(1, 0, 1));
    assert!(buffer.take("c", |_| false).batch.is_none());
    offer(&mut buffer, record(0, 6, 51));
    offer(&mut buffer, record(0, 7, 52));
    offer(&mut buffer, record(0, 8, 53));
    let is_relevant = |record: &Record| record.offset == 7;
    let taken = buffer.take("c", is_relevant);
    let batch = taken.batch.expect("a batch");
    assert_eq!((offsets(&batch), taken.duplicates, taken.skipped), (vec![7], 1, 1));
    assert_eq!(batch.moves, [step("c", &partition(0), 5, (9, 53))]);
    assert_eq!(
        buffer.done_offsets().find(|(at, _)| **at == partition(0)),
        Some((&partition(0), 6)),
        "not yet"
    );
    buffer.committed(&batch.moves);
    let pending = buffer.pending_checkpoints("c").expect("the checkpoint alone");
    assert_eq!(pending.moves, [step("c", &partition(1), 0, (1, 1))]);
}

#[test]
fn a_checkpoint_that_is_read_again_has_nothing_pending() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), None);
    offer(&mut buffer, record(0, 0, 1));
    assert!(buffer.take("c", |_| false).batch.is_none());
    buffer.assign(partition(0), None);
    assert!(buffer.pending_checkpoints("c").is_none());
    assert!(offer(&mut buffer, record(0, 0, 1)), "it is skipped once more");
}

#[test]
fn a_record_without_a_position_is_passed_on_and_keeps_the_last_position() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), Some(&checkpoint(5, 50)));
    offer(&mut buffer, record(0, 5, 0));
    let batch = take(&mut buffer).batch.expect("a batch");
    assert_eq!(offsets(&batch), [5]);
    assert_eq!((batch.moves[0].to_offset, batch.moves[0].last_position), (6, 50));
}

#[test]
fn the_next_batch_continues_where_the_last_one_was_committed() {
    let mut buffer = PartitionBuffer::new(2, BYTES);
    buffer.assign(partition(0), None);
    offer(&mut buffer, record(0, 0, 1));
    offer(&mut buffer, record(0, 1, 2));
    assert!(buffer.has_full_batch());
    let first = take(&mut buffer).batch.expect("a batch");
    buffer.committed(&first.moves);
    offer(&mut buffer, record(0, 2, 3));
    let second = take(&mut buffer).batch.expect("a batch");
    assert_eq!((second.moves[0].from_offset, second.moves[0].to_offset), (2, 3));
}

#[test]
fn removing_a_partition_drops_its_buffered_records_and_no_others() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), None);
    buffer.assign(partition(1), None);
    offer(&mut buffer, record(0, 0, 1));
    offer(&mut buffer, record(1, 0, 2));
    buffer.remove(&partition(0));
    let batch = take(&mut buffer).batch.expect("a batch");
    assert_eq!(batch.records.iter().map(|record| record.partition).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_batch_is_limited_by_its_bytes_too() {
    let mut buffer = PartitionBuffer::new(BATCH, 15);
    buffer.assign(partition(0), None);
    for offset in 0..3 {
        offer(&mut buffer, record(0, offset, offset + 1));
    }
    assert!(buffer.has_full_batch());
    let batch = take(&mut buffer).batch.expect("a batch");
    assert_eq!(offsets(&batch), [0, 1]);
    assert!(!buffer.has_full_batch());
}

#[test]
fn a_record_that_finds_no_room_leaves_the_handler_behind_until_it_has_the_missed_records() {
    let mut buffer = PartitionBuffer::new(1, BYTES);
    buffer.assign(partition(0), None);
    buffer.assign(partition(1), None);
    let room = BUFFERED_BATCHES_MAX as i64;
    for offset in 0..room {
        assert!(offer(&mut buffer, record(0, offset, offset + 1)));
    }
    assert!(!offer(&mut buffer, record(0, room, room + 1)), "it is full");
    assert_eq!(buffer.behind().collect::<Vec<_>>(), [(&partition(0), room)]);
    assert!(buffer.follows(), "in the other partition");
    assert!(!buffer.has_drained());
    while !buffer.has_drained() {
        let batch = take(&mut buffer).batch.expect("a batch");
        buffer.committed(&batch.moves);
    }
    assert!(!offer(&mut buffer, record(0, room + 1, room + 2)), "a record is missing before it");
    assert!(offer(&mut buffer, record(1, 0, 1)));
    buffer.push(Arc::new(record(0, room, room + 1)));
    buffer.push(Arc::new(record(0, room + 1, room + 2)));
    buffer.set_behind(&partition(0), false);
    assert!(!buffer.is_behind());
    assert!(offer(&mut buffer, record(0, room + 2, room + 3)));
    assert_eq!(buffer.next_offset(&partition(0)), Some(room + 3));
}

#[test]
fn a_handler_ahead_of_the_reader_drops_what_it_has_and_continues_with_the_next() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    assert_eq!(buffer.assign(partition(0), Some(&checkpoint(5, 50))), 5);
    assert!(!offer(&mut buffer, record(0, 4, 49)));
    assert!(offer(&mut buffer, record(0, 6, 51)), "the reader has checked that there is no record 5");
}

#[test]
fn a_removed_partition_is_not_behind_any_more() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), None);
    buffer.set_behind(&partition(0), true);
    buffer.set_behind(&partition(0), true);
    assert!(!buffer.follows());
    buffer.remove(&partition(0));
    assert!(!buffer.is_behind());
    buffer.assign(partition(0), None);
    assert!(buffer.follows());
}

#[test]
fn payloads_fill_the_buffer_too() {
    let mut buffer = PartitionBuffer::new(BATCH, BYTES);
    buffer.assign(partition(0), None);
    let mut large = record(0, 0, 1);
    large.payload = vec![0; BUFFERED_BYTES_MAX];
    assert!(offer(&mut buffer, large));
    assert!(!buffer.has_room());
    assert!(!offer(&mut buffer, record(0, 1, 2)));
}
