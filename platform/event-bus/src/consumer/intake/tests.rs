//! What is taken, what a batch is, and who falls behind.

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

/// The intake does not look inside a record: it has a position and no event.
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

/// As the reader does. Whether it was taken.
fn offer(intake: &mut Intake, record: Record) -> bool {
    let admitted = intake.admits(&partition(record.partition), record.offset);
    if admitted {
        intake.take_in(Arc::new(record));
    }
    admitted
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
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), Some(&checkpoint(5, 50)));
    assert!(!offer(&mut intake, record(0, 4, 49)));
    assert!(!offer(&mut intake, record(1, 0, 1)));
    assert!(offer(&mut intake, record(0, 5, 51)));
}

#[test]
fn a_duplicate_is_left_out_and_its_checkpoint_still_moves() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), Some(&checkpoint(5, 50)));
    for (offset, position) in [(5, 49), (6, 51), (7, 51), (8, 52)] {
        assert!(offer(&mut intake, record(0, offset, position)));
    }
    let Taken { batch: Some(batch), duplicates, .. } = take(&mut intake) else { panic!("no batch") };
    assert_eq!((offsets(&batch), duplicates), (vec![6, 8], 2));
    let step = &batch.moves[0];
    assert_eq!((step.from_offset, step.to_offset, step.last_position), (5, 9, 52));
}

#[test]
fn what_is_passed_needs_no_batch_and_its_checkpoint_is_owed() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), Some(&checkpoint(5, 50)));
    offer(&mut intake, record(0, 5, 50));
    offer(&mut intake, record(0, 6, 51));
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
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), Some(&checkpoint(5, 50)));
    intake.place(partition(1), None);
    offer(&mut intake, record(0, 5, 51));
    offer(&mut intake, record(1, 0, 1));
    assert!(intake.take("c", |_| false).batch.is_none());
    offer(&mut intake, record(0, 6, 51));
    offer(&mut intake, record(0, 7, 52));
    offer(&mut intake, record(0, 8, 53));
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
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), None);
    offer(&mut intake, record(0, 0, 1));
    assert!(intake.take("c", |_| false).batch.is_none());
    intake.place(partition(0), None);
    assert!(intake.owed("c").is_none());
    assert!(offer(&mut intake, record(0, 0, 1)), "it is passed once more");
}

#[test]
fn a_record_without_a_position_is_handed_on_and_leaves_the_last_position() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), Some(&checkpoint(5, 50)));
    offer(&mut intake, record(0, 5, 0));
    let batch = take(&mut intake).batch.expect("a batch");
    assert_eq!(offsets(&batch), [5]);
    assert_eq!((batch.moves[0].to_offset, batch.moves[0].last_position), (6, 50));
}

#[test]
fn the_next_batch_goes_on_where_the_last_one_was_committed() {
    let mut intake = Intake::new(2, BYTES);
    intake.place(partition(0), None);
    offer(&mut intake, record(0, 0, 1));
    offer(&mut intake, record(0, 1, 2));
    assert!(intake.has_full_batch());
    let first = take(&mut intake).batch.expect("a batch");
    intake.committed(&first.moves);
    offer(&mut intake, record(0, 2, 3));
    let second = take(&mut intake).batch.expect("a batch");
    assert_eq!((second.moves[0].from_offset, second.moves[0].to_offset), (2, 3));
}

#[test]
fn what_is_buffered_of_a_lost_partition_is_forgotten_and_the_rest_stays() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), None);
    intake.place(partition(1), None);
    offer(&mut intake, record(0, 0, 1));
    offer(&mut intake, record(1, 0, 2));
    intake.remove(&partition(0));
    let batch = take(&mut intake).batch.expect("a batch");
    assert_eq!(batch.records.iter().map(|record| record.partition).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_batch_is_closed_by_its_bytes_too() {
    let mut intake = Intake::new(BATCH, 15);
    intake.place(partition(0), None);
    for offset in 0..3 {
        offer(&mut intake, record(0, offset, offset + 1));
    }
    assert!(intake.has_full_batch());
    let batch = take(&mut intake).batch.expect("a batch");
    assert_eq!(offsets(&batch), [0, 1]);
    assert!(!intake.has_full_batch());
}

#[test]
fn a_record_that_finds_no_room_leaves_the_handler_behind_until_it_was_fed_what_it_missed() {
    let mut intake = Intake::new(1, BYTES);
    intake.place(partition(0), None);
    intake.place(partition(1), None);
    let room = BUFFERED_BATCHES_MAX as i64;
    for offset in 0..room {
        assert!(offer(&mut intake, record(0, offset, offset + 1)));
    }
    assert!(!offer(&mut intake, record(0, room, room + 1)), "it is full");
    assert_eq!(intake.behind().collect::<Vec<_>>(), [(&partition(0), room)]);
    assert!(intake.follows(), "in the other partition");
    assert!(!intake.has_drained());
    while !intake.has_drained() {
        let batch = take(&mut intake).batch.expect("a batch");
        intake.committed(&batch.moves);
    }
    assert!(!offer(&mut intake, record(0, room + 1, room + 2)), "a record is missing before it");
    assert!(offer(&mut intake, record(1, 0, 1)));
    intake.take_in(Arc::new(record(0, room, room + 1)));
    intake.take_in(Arc::new(record(0, room + 1, room + 2)));
    intake.set_behind(&partition(0), false);
    assert!(!intake.is_behind());
    assert!(offer(&mut intake, record(0, room + 2, room + 3)));
    assert_eq!(intake.next_offset(&partition(0)), Some(room + 3));
}

#[test]
fn who_is_ahead_of_the_reader_drops_what_it_has_and_goes_on_with_the_next() {
    let mut intake = Intake::new(BATCH, BYTES);
    assert_eq!(intake.place(partition(0), Some(&checkpoint(5, 50))), 5);
    assert!(!offer(&mut intake, record(0, 4, 49)));
    assert!(offer(&mut intake, record(0, 6, 51)), "the reader has made sure that there is no record 5");
}

#[test]
fn a_partition_that_is_forgotten_is_not_behind_any_more() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), None);
    intake.set_behind(&partition(0), true);
    intake.set_behind(&partition(0), true);
    assert!(!intake.follows());
    intake.remove(&partition(0));
    assert!(!intake.is_behind());
    intake.place(partition(0), None);
    assert!(intake.follows());
}

#[test]
fn payloads_fill_the_buffer_too() {
    let mut intake = Intake::new(BATCH, BYTES);
    intake.place(partition(0), None);
    let mut large = record(0, 0, 1);
    large.payload = vec![0; BUFFERED_BYTES_MAX];
    assert!(offer(&mut intake, large));
    assert!(!intake.has_room());
    assert!(!offer(&mut intake, record(0, 1, 2)));
}
