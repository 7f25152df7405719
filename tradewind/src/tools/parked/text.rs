//! The output of `tradewind parked`. A record that is not text is shown with replacement characters.

use std::fmt::Write as _;

use event_bus::parked::{ParkedRecord, ParkedStream, Place, Retried};
use events::Position;

/// Characters of a record that are shown at most.
const SHOWN_MAX: usize = 2_000;

pub fn table(parked: &[ParkedStream]) -> String {
    if parked.is_empty() {
        return "nothing is parked\n".to_owned();
    }
    let mut table = format!(
        "{:<22} {:>7}  {:<20} {:>10}  stream, and why its first event is parked\n",
        "consumer", "events", "since", "first"
    );
    for stream in parked {
        writeln!(
            table,
            "{:<22} {:>7}  {:<20} {:>10}  {}: {}",
            stream.consumer,
            stream.records,
            stream.since.format("%F %T"),
            position(stream.position),
            stream.stream,
            stream.reason
        )
        .expect("a String takes any text");
    }
    table
}

pub fn record(record: &ParkedRecord) -> String {
    let payload: String = String::from_utf8_lossy(&record.payload).chars().take(SHOWN_MAX).collect();
    format!(
        "  position {}, {}, parked {}\n    why:    {}\n    record: {payload}\n",
        position(record.position),
        place(&record.place),
        record.parked_at.format("%F %T"),
        record.reason,
    )
}

pub fn retried(stream: &ParkedStream, retried: &Retried, dry_run: bool) -> String {
    let verb = if dry_run { "would be handled" } else { "handled" };
    let handled = records(i64::try_from(retried.handled).unwrap_or(i64::MAX));
    let begin = format!("{} {}: {handled} {verb}", stream.consumer, stream.stream);
    match &retried.stopped {
        None => format!("{begin}, none left"),
        Some(stopped) => format!(
            "{begin}; stopped at position {}, {}: {}",
            position(stopped.position),
            place(&stopped.place),
            stopped.reason
        ),
    }
}

pub fn records(count: i64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

fn position(position: Option<Position>) -> String {
    position.map_or_else(|| "unknown".to_owned(), |position| position.to_string())
}

fn place(place: &Place) -> String {
    format!("{}/{} offset {}", place.topic, place.partition, place.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> ParkedStream {
        ParkedStream {
            consumer: "sagas.shipping".to_owned(),
            stream: "order-7".to_owned(),
            records: 2,
            first: Place { topic: "orders.events".to_owned(), partition: 3, offset: 41 },
            position: None,
            reason: "not json".to_owned(),
            since: "2026-03-01T12:00:00Z".parse().expect("a time"),
        }
    }

    #[test]
    fn the_list_names_consumer_stream_and_reason() {
        let table = table(&[stream()]);
        let line = table.lines().nth(1).expect("one stream");
        for wanted in ["sagas.shipping", " 2 ", "2026-03-01 12:00:00", "unknown", "order-7: not json"] {
            assert!(line.contains(wanted), "{wanted:?} in {line}");
        }
    }

    #[test]
    fn a_retry_says_how_far_it_came_and_where_it_stopped() {
        let whole = Retried { handled: 2, stopped: None };
        assert_eq!(retried(&stream(), &whole, false), "sagas.shipping order-7: 2 events handled, none left");
        let stopped = event_bus::parked::Stopped {
            place: stream().first,
            position: Some(9),
            reason: "refused".to_owned(),
        };
        let some = Retried { handled: 1, stopped: Some(stopped) };
        assert_eq!(
            retried(&stream(), &some, true),
            "sagas.shipping order-7: 1 event would be handled; stopped at position 9, orders.events/3 offset 41: refused"
        );
    }
}
