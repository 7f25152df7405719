//! The table `order_events`: one row for each event of an order's streams.

use verify_log::{Cell, Row};

use crate::LoggedEvent;

/// The row of one event; none where it cannot be read.
pub fn fold(order_id: &str, LoggedEvent { event, fact }: &LoggedEvent) -> Option<Row> {
    let metadata = event.metadata().ok()?;
    // In the current version of the event, whatever version was appended.
    let data = fact.as_ref().ok()?.payload();
    Some(Row::new([
        ("event_id", event.event_id.to_string().into()),
        ("order_id", order_id.into()),
        ("context", event.context.as_str().into()),
        ("stream", event.stream.as_str().into()),
        ("version", event.version.into()),
        ("position", event.position.into()),
        ("event_type", event.event_type.as_str().into()),
        ("recorded_at", event.recorded_at.into()),
        ("correlation_id", metadata.correlation_id.into()),
        ("causation_id", metadata.causation_id.into()),
        ("actor", metadata.actor.as_ref().into()),
        ("data", Cell::Json(data.get().to_owned())),
    ]))
}
