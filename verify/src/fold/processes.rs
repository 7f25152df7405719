//! The table `processes`: what each context did for an order, and where that leaves it.
//!
//! Read next: `story.rs` (where that leaves it), `fold/stock.rs`.

use chrono::{DateTime, Utc};
use events::{Context, Event, OrderEvent, PaymentEvent};
use serde_json::{Value, json};

use super::{Row, Table, json as value, set};
use crate::report::Property;
use crate::story::Story;
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelProcesses,
    name: "processes",
    consumer: "query-side.processes",
    key: "order_id",
};

/// `applied`: by context, in the order of [`Context::ALL`].
pub fn fold(id: &str, applied: &[Vec<&Told>; 4]) -> Option<Row> {
    if applied.iter().all(Vec::is_empty) {
        return None;
    }
    let mut row = Row::new();
    let nothing = || Value::Null;
    set(&mut row, [("order_id", id.into()), ("customer_id", nothing())]);
    set(&mut row, [("cancellation_reason", nothing()), ("payment_deadline", nothing())]);
    let (mut since, mut story) = (DateTime::<Utc>::UNIX_EPOCH, Story::default());
    for (context, told) in Context::ALL.into_iter().zip(applied) {
        let facts: Vec<Value> = told
            .iter()
            .map(|told| json!({"event": told.event.event_type, "at": told.event.recorded_at}))
            .collect();
        let last = told.last().map_or((0, 0), |last| (last.event.version, last.event.position));
        row.insert(context.name().to_owned(), json!({"version": last.0, "position": last.1, "facts": facts}));
        for told in told {
            since = since.max(told.event.recorded_at);
            story.hear(&told.event.event_type);
            details(&mut row, told.fact.as_ref());
        }
    }
    let stand = story.stand();
    set(
        &mut row,
        [
            ("state", stand.state.into()),
            ("waiting_for", value(stand.waiting_for.map(|step| step.name))),
            ("outcome", value(stand.outcome)),
            ("since", value(since)),
        ],
    );
    Some(row)
}

fn details(row: &mut Row, fact: Option<&Event>) {
    match fact {
        Some(Event::Order(OrderEvent::OrderPlaced(placed))) => {
            set(row, [("customer_id", value(&placed.customer_id))]);
        }
        Some(Event::Order(OrderEvent::OrderCancellationRequested(asked))) => {
            set(row, [("cancellation_reason", asked.reason.clone().into())]);
        }
        Some(Event::Payment(PaymentEvent::PaymentRequested(requested))) => {
            set(row, [("payment_deadline", value(requested.expires_at))]);
        }
        _ => {}
    }
}
