//! `log`: positions and versions without a gap, every event known, every dependency present.
//!
//! Read next: `versions.rs`, `dependencies.rs`.

pub mod dependencies;
pub mod versions;

use event_log::{ContextName, StreamId};

use crate::read::log::{Log, RawEvent};
use crate::report::{Line, Property, Violation};
use crate::{Domain, Error};

pub static PROPERTY: Property = Property::new(
    "log",
    "positions 1, 2, 3, … and versions 1, 2, 3, … without a gap; every event decodes; no event id twice; every stream in its \
     context's log; every position that an event depends on exists, and in its own log comes before it; an event whose trigger \
     is in another stream of the same process names the trigger's position and all positions that the trigger depends on \
     (events without this field are counted)",
);

/// The positions of one log, event by event.
pub struct PositionCheck {
    domain: &'static Domain,
    pub context: ContextName,
    /// The position of the last event so far.
    pub head: i64,
}

impl PositionCheck {
    pub fn new(domain: &'static Domain, context: ContextName, line: &mut Line) -> Self {
        line.count("logs", 1);
        Self { domain, context, head: 0 }
    }

    /// The next event of the log.
    pub fn check(&mut self, event: &RawEvent, line: &mut Line) {
        line.count("events", 1);
        let wanted = self.head + 1;
        if event.position != wanted {
            let violation =
                event.violation("positions have a gap: this event does not follow the one before it");
            line.add_violation(violation.given(event.position).wanted(wanted));
        }
        self.head = event.position;
        if (self.domain.context_of)(&StreamId::from(event.stream.clone())) != Some(self.context) {
            line.add_violation(event.violation("a stream of another context"));
        }
    }
}

/// No event id occurs twice in a log.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn check_event_ids(log: &Log, line: &mut Line) -> Result<(), Error> {
    let context = log.context();
    let sql = format!(
        "SELECT event_id::text, min(position), max(position) FROM {context}.events
          GROUP BY event_id HAVING count(*) > 1 ORDER BY 2"
    );
    for row in log.snapshot.query(&sql, &[]).await? {
        let (event_id, first, again): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let violation = Violation::new("an event id that occurs twice").in_context(context);
        let violation = violation.at("event_id", event_id).at("position", again);
        line.add_violation(violation.at("first position", first));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::TOY;

    /// Some event at this position of the first context's log.
    pub fn event(position: i64) -> RawEvent {
        RawEvent {
            context: TOY.contexts[0],
            partition: 0,
            position,
            stream: format!("tea-{position}"),
            version: 1,
            event_id: Uuid::nil(),
            event_type: "TeaPoured".to_owned(),
            schema_version: 1,
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_gap_in_the_positions_and_a_stream_of_another_context_are_named() {
        let mut line = Line::default();
        let mut check = PositionCheck::new(&TOY, TOY.contexts[0], &mut line);
        check.check(&event(1), &mut line);
        let stray = line.first.take().expect("a violation").to_string();
        assert!(stray.starts_with("a stream of another context at context"), "{stray}");
        check.check(&event(3), &mut line);
        let gap = line.first.take().expect("a violation").to_string();
        assert!(gap.starts_with("positions have a gap") && gap.ends_with("given 3; wanted 2"), "{gap}");
        assert_eq!((check.head, line.counts["events"]), (3, 2));
    }
}
