//! One pass over the log of a toy domain beside its topic, both given as rows: no engine runs.

use std::collections::BTreeMap;

use chrono::DateTime;
use event_log::{StreamId, cloud_event, partition_of};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use crate::check::topics::RepeatedRecord;
use crate::domain::TOY;
use crate::read::log::RawEvent;
use crate::read::positions::tests::positions;
use crate::read::progress::RecordedProgress;
use crate::read::topic::{Bounds, Record};

const CONTEXT: ContextName = TOY.contexts[0];
const PARTITIONS: i32 = 2;
const HEAD: i64 = 6;

/// The events of the log: three streams of two events each. The streams lie on both partitions.
fn log() -> Vec<RawEvent> {
    (1..=HEAD).map(|position| event(position, &format!("roast-{}", (position - 1) % 3))).collect()
}

fn event(position: i64, stream: &str) -> RawEvent {
    RawEvent {
        context: CONTEXT,
        partition: partition_of(stream, PARTITIONS),
        position,
        stream: stream.to_owned(),
        version: if position <= 3 { 1 } else { 2 },
        event_id: Uuid::from_u128(position.unsigned_abs().into()),
        event_type: "Roasted".to_owned(),
        schema_version: 1,
        payload: format!(r#"{{"beans":{position}}}"#),
        metadata: format!(r#"{{"correlation_id":"{}","actor":"x","depends_on":"cafe:2"}}"#, Uuid::nil()),
        recorded_at: DateTime::UNIX_EPOCH,
    }
}

/// The record that the platform publishes for the event. Its encoder is not this crate's.
fn published(event: &RawEvent) -> Vec<u8> {
    let raw = event_log::RawEvent {
        position: event.position,
        stream: StreamId::from(event.stream.clone()),
        version: event.version,
        event_id: event.event_id,
        event_type: event.event_type.clone(),
        schema_version: 1,
        payload: RawValue::from_string(event.payload.clone()).expect("JSON"),
        metadata: serde_json::from_str(&event.metadata).expect("metadata"),
        recorded_at: event.recorded_at,
    };
    cloud_event::encode(event.context, &raw)
}

/// What is in the topic, by partition, and what the consumers say of it.
struct Given {
    log: Vec<RawEvent>,
    topic: BTreeMap<i32, Vec<Record>>,
    cursor: i64,
    applied: (i64, i64),
    checkpoints: Vec<Checkpoint>,
}

/// All events are published and applied.
fn sound() -> Given {
    let (log, mut topic) = (log(), BTreeMap::<i32, Vec<Record>>::new());
    let mut last = BTreeMap::<i32, i64>::new();
    for event in &log {
        let records = topic.entry(event.partition).or_default();
        let (key, value) = (event.stream.clone().into_bytes(), published(event));
        records.push(Record { offset: records.len() as i64, key, value });
        last.insert(event.partition, event.position);
    }
    let checkpoint = |(partition, last_position): (i32, i64)| Checkpoint {
        owner: TOY.read_model_schema.to_owned(),
        consumer: TOY.read_model_consumer.to_owned(),
        context: CONTEXT,
        partition,
        next_offset: topic[&partition].len() as i64,
        last_position,
    };
    let checkpoints = last.into_iter().map(checkpoint).collect();
    Given { log, topic, cursor: HEAD, applied: (1, HEAD), checkpoints }
}

/// The report on what is given, and the repeated records that are to be looked up in the log.
fn compared(given: Given) -> (Report, Vec<RepeatedRecord>) {
    let Given { log, mut topic, cursor, applied, checkpoints } = given;
    let (to_look_up, mut repeated) = mpsc::channel(REPEATED_MAX);
    let partition = |number: i32| {
        let records = topic.remove(&number).unwrap_or_default();
        let bounds = Bounds { begin: 0, end: records.len() as i64 };
        let place = Place { context: CONTEXT, topic: "toy".to_owned(), partition: number };
        let (mut records, own) = (records.into_iter(), |it: &&Checkpoint| it.partition == number);
        let own = checkpoints.iter().filter(own).cloned().collect();
        PartitionComparison::new(place, bounds, Box::new(move || Ok(records.next())), own, to_look_up.clone())
    };
    let partitions = (0..PARTITIONS).map(partition).collect();
    let passed = checkpoints.iter().map(|it| (it.partition, it.last_position)).collect();
    let recorded = RecordedProgress { applied: [applied].into(), seen: applied.1 };
    let mut report = Report::default();
    let mut pass = Pass {
        topic: "toy".to_owned(),
        cursor,
        heads: positions([(CONTEXT, HEAD), (TOY.contexts[1], 2)]),
        positions: PositionCheck::new(&TOY, CONTEXT, report.line(&log::PROPERTY)),
        partitions,
        progress: ProgressCheck::new(CONTEXT, recorded, passed),
        report,
    };
    for event in log {
        pass.check(&ExpectedRecord::of(&TOY, event)).expect("no engine fails");
    }
    let (report, _) = pass.finish().expect("no engine fails");
    drop(to_look_up);
    (report, std::iter::from_fn(|| repeated.blocking_recv()).collect())
}

/// The property that fails, and its first violation.
#[track_caller]
fn violation(given: Given) -> (&'static str, String) {
    let (report, _) = compared(given);
    let failed = report.lines().filter_map(|(property, line)| Some((property.name, line.first.clone()?)));
    let failed: Vec<_> = failed.map(|(name, first)| (name, first.to_string())).collect();
    assert_eq!(failed.len(), 1, "one property fails: {failed:?}");
    failed.into_iter().next().expect("one")
}

/// The partition of the log's first event. It has further ones.
fn first_partition(given: &mut Given) -> &mut Vec<Record> {
    given.topic.get_mut(&given.log[0].partition).expect("it has records")
}

#[test]
fn a_sound_log_beside_its_topic_holds() {
    let given = sound();
    assert_eq!(given.topic.len(), 2, "both partitions have records");
    let (report, repeated) = compared(given);
    assert!(report.holds(), "{report}");
    assert_eq!((report.count("log", "events"), report.count("topics", "records")), (Some(6), Some(6)));
    assert!(repeated.is_empty());
}

#[test]
fn a_lost_and_a_changed_record_and_two_that_are_swapped_are_named() {
    let mut lost = sound();
    first_partition(&mut lost).remove(0);
    lost.checkpoints.clear();
    lost.applied = (0, 0);
    let (property, what) = violation(lost);
    assert_eq!(property, "topics");
    assert!(what.starts_with("the event is missing in the topic: a later one of its partition"), "{what}");

    let mut changed = sound();
    first_partition(&mut changed)[0].value = published(&event(1, "roast-x"));
    let (property, what) = violation(changed);
    assert_eq!(property, "topics");
    assert!(what.starts_with("the record has another body than the log"), "{what}");

    let mut swapped = sound();
    first_partition(&mut swapped).swap(0, 1);
    let (property, what) = violation(swapped);
    assert_eq!(property, "topics");
    assert!(what.starts_with("the event is missing in the topic"), "{what}");
}

#[test]
fn a_repeated_record_is_looked_up_and_fails_nothing_by_itself() {
    let mut given = sound();
    given.checkpoints.clear();
    given.applied = (0, 0);
    let again = published(&given.log[0]);
    let records = first_partition(&mut given);
    let (offset, key) = (records.len() as i64, records[0].key.clone());
    records.push(Record { offset, key, value: again });
    let expected = ExpectedRecord::of(&TOY, given.log[0].clone());
    let (report, repeated) = compared(given);
    assert!(report.holds(), "{report}");
    assert_eq!(report.count("topics", "repeated"), Some(1));
    let [repeated] = repeated.as_slice() else { panic!("one is looked up") };
    assert!(repeated.check(Some(&expected)).is_none() && repeated.check(None).is_some());
}

#[test]
fn a_gap_in_the_log_and_a_dependency_that_does_not_exist_are_named() {
    let mut gap = sound();
    let last = gap.log.pop().expect("an event");
    gap.topic.get_mut(&last.partition).expect("its partition").pop();
    let moved = RawEvent { position: HEAD + 1, ..last };
    let records = gap.topic.get_mut(&moved.partition).expect("its partition");
    let offset = records.len() as i64;
    records.push(Record { offset, key: moved.stream.clone().into_bytes(), value: published(&moved) });
    gap.log.push(moved);
    gap.checkpoints.clear();
    gap.applied = (0, 0);
    let (property, what) = violation(gap);
    assert_eq!(property, "log");
    assert!(what.starts_with("positions have a gap"), "{what}");

    let mut given = sound();
    given.log[0].metadata = given.log[0].metadata.replace("cafe:2", "cafe:3");
    let value = published(&given.log[0]);
    first_partition(&mut given)[0].value = value;
    let (property, what) = violation(given);
    assert_eq!(property, "log");
    assert!(what.starts_with("an event that depends on one that does not exist"), "{what}");
}

#[test]
fn a_checkpoint_a_range_of_progress_and_a_foreign_record_that_do_not_agree_are_named() {
    let mut behind = sound();
    behind.checkpoints[0].next_offset -= 1;
    let (property, what) = violation(behind);
    assert_eq!(property, "checkpoints");
    assert!(what.starts_with("a checkpoint that does not agree with the records before it"), "{what}");

    let mut forgotten = sound();
    forgotten.applied = (2, HEAD);
    let (property, what) = violation(forgotten);
    assert_eq!(property, "progress");
    assert!(what.starts_with("a checkpoint has passed a position that is not recorded"), "{what}");

    let mut foreign = sound();
    let records = first_partition(&mut foreign);
    let offset = records.len() as i64;
    records.push(Record { offset, key: Vec::new(), value: b"hello".to_vec() });
    let (property, what) = violation(foreign);
    assert_eq!(property, "foreign-records");
    assert!(what.starts_with("a record that is not an event"), "{what}");
}
