//! What consumers may rely on, checked on the topics themselves, and how many duplicates they had to absorb.
//!
//! Never: a record that is not compared. Read next: `check.rs`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::kafka::RawRecord;

/// Adds what is wrong with a topic's records to `violations`; says how many of them were duplicates.
///
/// Within a partition first occurrences come in strictly increasing position, a duplicate is byte for byte the first, and
/// over the partitions every position from 1 to `head` is there.
pub fn check(topic: &str, records: &[RawRecord], head: i64, violations: &mut Vec<String>) -> usize {
    let mut last = BTreeMap::<i32, i64>::new();
    let mut first = HashMap::<i64, &RawRecord>::new();
    let mut duplicates = 0;
    for record in records {
        let at = format!("{topic}/{}@{}", record.partition, record.offset);
        let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
        let Some(position) = event["position"].as_i64() else {
            violations.push(format!("{at} has no position"));
            continue;
        };
        if let Some(first) = first.get(&position) {
            duplicates += 1;
            if (first.partition, &first.value) != (record.partition, &record.value) {
                violations.push(format!("{at} is position {position} again, and differs from the first"));
            }
            continue;
        }
        first.insert(position, record);
        let last = last.entry(record.partition).or_default();
        if position < *last {
            violations.push(format!("{at} is position {position}, the first time, after {last}"));
        }
        *last = position;
    }
    if let Some(missing) = (1..=head).find(|position| !first.contains_key(position)) {
        violations.push(format!("{topic} lacks position {missing} of {head}"));
    }
    if let Some(beyond) = first.keys().find(|position| **position > head) {
        violations.push(format!("{topic} has position {beyond}, and the log ends at {head}"));
    }
    duplicates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, position: i64, more: &str) -> RawRecord {
        let value = format!(r#"{{"position": {position}, "data": "{more}"}}"#);
        RawRecord { partition, offset: 0, key: Vec::new(), value: value.into_bytes() }
    }

    fn verdict(records: &[RawRecord], head: i64) -> (usize, usize) {
        let mut violations = Vec::new();
        let duplicates = check("t", records, head, &mut violations);
        (duplicates, violations.len())
    }

    #[test]
    fn an_equal_duplicate_is_counted_and_everything_else_is_a_violation() {
        let sound = [record(0, 1, ""), record(1, 2, ""), record(0, 3, ""), record(0, 1, "")];
        assert_eq!(verdict(&sound, 3), (1, 0));
        assert_eq!(verdict(&sound, 4), (1, 1), "the last position is missing");
        assert_eq!(verdict(&sound, 2), (1, 1), "position 3 is in no log");
        assert_eq!(verdict(&[record(0, 2, ""), record(0, 1, "")], 2), (0, 1), "out of order");
        assert_eq!(verdict(&[record(0, 1, ""), record(0, 1, "other")], 1), (1, 1), "another body");
        assert_eq!(verdict(&[record(0, 1, ""), record(1, 1, "")], 1), (1, 1), "another partition");
    }
}
