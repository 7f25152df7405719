//! The table `order_events`: one row for each event of an order's streams. Read next: `fold/processes.rs`.

use events::Context;

use super::{Row, Table, json as value, set};
use crate::report::Property;
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
    let data = serde_json::from_str(told.fact.as_ref()?.payload().get()).ok()?;
    let mut row = Row::new();
    set(
        &mut row,
        [
            ("event_id", value(event.event_id)),
            ("order_id", order_id.into()),
            ("context", context.name().into()),
            ("stream", event.stream.clone().into()),
            ("version", event.version.into()),
            ("position", event.position.into()),
            ("event_type", event.event_type.clone().into()),
            ("recorded_at", value(event.recorded_at)),
            ("correlation_id", value(metadata.correlation_id)),
            ("causation_id", value(metadata.causation_id)),
            ("actor", metadata.actor.into()),
            ("data", data),
        ],
    );
    Some(row)
}
