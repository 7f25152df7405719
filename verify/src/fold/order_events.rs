//! The table `order_events`: one row for each event of an order's streams. Read next: `fold/processes.rs`.

use events::Context;

use super::Table;
use crate::report::Property;
use crate::row::{Cell, Row};
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelOrderEvents,
    name: "order_events",
    consumer: "query-side.order-events",
    key: "order_id",
};

/// The row of one event; none where its metadata are no metadata.
pub fn fold(context: Context, order_id: &str, told: &Told) -> Option<Row> {
    let (event, metadata) = (&told.event, told.event.metadata().ok()?);
    // As the build's current version of the event has it.
    let data = told.fact.as_ref()?.payload();
    Some(Row::new([
        ("event_id", event.event_id.to_string().into()),
        ("order_id", order_id.into()),
        ("context", context.name().into()),
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
