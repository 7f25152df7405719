//! `topics`: each topic holds its log, in order, byte by byte.

use crate::read::log::RawEvent;
use crate::read::record::ExpectedRecord;
use crate::read::topic::Record;
use crate::report::{Line, Property, Violation};
use event_log::ContextName;

pub static PROPERTY: Property = Property::new(
    "topics",
    "each event up to the relay's cursor is in its topic, with exactly the bytes that the log gives, under its stream's key, on \
     the partition of Java's murmur2; first occurrences in the order of the log; repeated records are byte-equal; nothing \
     beyond the log",
);

/// Where a record is.
#[derive(Debug, Clone)]
pub struct Place {
    pub context: ContextName,
    pub topic: String,
    pub partition: i32,
}

impl Place {
    pub fn violation(&self, what: impl Into<String>, record: &Record) -> Violation {
        let violation = Violation::new(what).in_context(self.context).at("topic", &self.topic);
        violation.at("partition", self.partition).at("offset", record.offset)
    }
}

/// A record whose position occurred before in its partition.
pub struct RepeatedRecord {
    pub place: Place,
    pub position: i64,
    pub record: Record,
}

impl RepeatedRecord {
    /// What is wrong with it. `expected`: what the log has at its position.
    pub fn check(&self, expected: Option<&ExpectedRecord>) -> Option<Violation> {
        let here = |what: &str| self.place.violation(what, &self.record).at("position", self.position);
        let Some(expected) = expected else {
            return Some(here("a record of a position that the log does not have"));
        };
        difference(expected, self.place.partition, &self.record).map(|(what, wanted)| {
            here(&format!("a repeated record {what}"))
                .at("stream", &expected.event.stream)
                .differing(&String::from_utf8_lossy(&self.record.value), &wanted)
        })
    }
}

/// What is wrong with the first record of an event.
pub fn check_record(expected: &ExpectedRecord, place: &Place, record: &Record) -> Option<Violation> {
    difference(expected, place.partition, record).map(|(what, wanted)| {
        let violation = expected.event.locate(place.violation(format!("the record {what}"), record));
        violation.differing(&String::from_utf8_lossy(&record.value), &wanted)
    })
}

/// A record that stands before the one of a later event, although its position is not that of an event of its partition.
pub fn misplaced(place: &Place, record: &Record, position: i64) -> Violation {
    place.violation("a record on another partition than its stream's", record).at("position", position)
}

/// A record after the one of the log's last event.
pub fn left_over(place: &Place, record: &Record, position: i64, head: i64) -> Violation {
    let violation = if position > head {
        let what = "a record of an event that the log does not have";
        place.violation(what, record).at("position", position)
    } else {
        misplaced(place, record, position)
    };
    violation.wanted(format!("positions up to {head}"))
}

/// An event whose record is not in its place. `next`: the partition's next record, if there is one. Without one the event
/// may not have been published yet, unless the relay counts it (`is_counted`).
pub fn check_missing(
    event: &RawEvent,
    topic: &str,
    next: Option<&Record>,
    is_counted: bool,
    line: &mut Line,
) {
    let here = |what: &str| event.violation(what).at("topic", topic).at("partition", event.partition);
    match next {
        None if !is_counted => line.count("not published yet", 1),
        None => {
            line.add_violation(here("the event is missing in the topic: the relay counts it as published"));
        }
        Some(next) => {
            let what = "the event is missing in the topic: a later one of its partition is there";
            line.add_violation(here(what).at("before offset", next.offset));
        }
    }
}

/// The relay's cursor lies within the log.
pub fn check_cursor(context: ContextName, cursor: i64, head: i64, line: &mut Line) {
    if cursor > head {
        let violation = Violation::new("the relay's cursor is beyond the log").in_context(context);
        line.add_violation(violation.given(cursor).wanted(format!("at most {head}")));
    }
}

/// What is wrong with the record of an event, and the value that it should have.
fn difference(
    ExpectedRecord { event, value, .. }: &ExpectedRecord,
    partition: i32,
    record: &Record,
) -> Option<(&'static str, String)> {
    let expected = match value {
        Ok(expected) => expected,
        Err(unreadable) => return Some(("cannot be compared with the log", unreadable.clone())),
    };
    if record.value != *expected {
        return Some(("has another body than the log", String::from_utf8_lossy(expected).into_owned()));
    }
    if record.key != event.stream.as_bytes() {
        return Some(("has another key than its stream", event.stream.clone()));
    }
    (event.partition != partition)
        .then(|| ("is on another partition than its key's", event.partition.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::log::tests::event;
    use crate::domain::TOY;
    use crate::read::positions::Positions;

    fn place(partition: i32) -> Place {
        Place { context: TOY.contexts[0], topic: "tea".to_owned(), partition }
    }

    fn found(key: &str, value: &str, partition: i32) -> Option<String> {
        let expected = ExpectedRecord {
            event: event(2),
            value: Ok(b"{}".to_vec()),
            depends_on: Ok(Positions::none(&TOY)),
        };
        let record = Record { offset: 5, key: key.into(), value: value.into() };
        check_record(&expected, &place(partition), &record).map(|violation| violation.what)
    }

    #[test]
    fn a_record_has_the_body_the_key_and_the_partition_that_the_log_gives() {
        assert_eq!(found("tea-2", "{}", 0), None);
        let what = |what: &str| Some(format!("the record {what}"));
        assert_eq!(found("tea-2", "{ }", 0), what("has another body than the log"));
        assert_eq!(found("tea-3", "{}", 0), what("has another key than its stream"));
        assert_eq!(found("tea-2", "{}", 1), what("is on another partition than its key's"));
    }

    #[test]
    fn an_event_may_be_missing_until_the_relay_counts_it_or_a_later_one_is_there() {
        let record = Record { offset: 5, key: Vec::new(), value: Vec::new() };
        let found = |next: Option<&Record>, is_counted: bool| {
            let mut line = Line::default();
            check_missing(&event(2), "tea", next, is_counted, &mut line);
            line.first.map(|violation| violation.what)
        };
        assert_eq!(found(None, false), None);
        assert!(found(None, true).is_some_and(|what| what.ends_with("the relay counts it as published")));
        assert!(found(Some(&record), false).is_some_and(|what| what.ends_with("is there")));
    }

    #[test]
    fn a_cursor_ends_with_its_log() {
        let mut line = Line::default();
        check_cursor(TOY.contexts[0], 4, 4, &mut line);
        assert_eq!(line, Line::default());
        check_cursor(TOY.contexts[0], 5, 4, &mut line);
        assert_eq!(line.violations, 1);
    }
}
