//! `parked`: how many records wait for a person. A fact, which fails nothing.

use crate::read::applied_positions::ParkedStream;
use crate::report::{Line, Property};

pub static PROPERTY: Property =
    Property::new("parked", "how many streams and records wait for a person: a fact, which fails nothing");

/// Counts what the consumers of one schema have parked, and the events that were discarded.
pub fn count(parked: &[ParkedStream], discarded: u64, line: &mut Line) {
    for ParkedStream { consumer, records } in parked {
        line.count("streams", 1);
        line.count("records", *records);
        line.count(&format!("streams of {consumer}"), 1);
    }
    if discarded > 0 {
        line.count("discarded", discarded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_streams_are_counted_by_consumer_and_fail_nothing() {
        let parked = |consumer: &str, records| ParkedStream { consumer: consumer.to_owned(), records };
        let mut line = Line::default();
        count(&[parked("a", 2), parked("b", 1), parked("b", 4)], 0, &mut line);
        let counts: Vec<(&str, u64)> =
            line.counts.iter().map(|(what, number)| (what.as_str(), *number)).collect();
        assert_eq!(counts, [("records", 7), ("streams", 3), ("streams of a", 1), ("streams of b", 2)]);
        assert!(line.holds());
    }
}
