//! The table `processes`: what each context did for an order, and where that leaves it.
//!
//! Read next: `story.rs` (where that leaves it), `fold/stock.rs`.

use chrono::{DateTime, Utc};
use events::{Context, Event, OrderEvent, PaymentEvent};
use serde::Serialize;

use super::Table;
use crate::report::Property;
use crate::row::{Cell, Row};
use crate::story::Story;
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelProcesses,
    name: "processes",
    consumer: "query-side.processes",
    key: "order_id",
};

/// What a context did.
#[derive(Serialize)]
struct Done<'a> {
    version: i32,
    position: i64,
    facts: Vec<Fact<'a>>,
}

#[derive(Serialize)]
struct Fact<'a> {
    event: &'a str,
    at: DateTime<Utc>,
}

impl<'a> Done<'a> {
    fn of(applied: &[&'a Told]) -> Self {
        let (version, position) =
            applied.last().map_or((0, 0), |last| (last.event.version, last.event.position));
        let fact = |told: &&'a Told| Fact { event: &told.event.event_type, at: told.event.recorded_at };
        Self { version, position, facts: applied.iter().map(fact).collect() }
    }
}

/// `applied`: by context, in the order of [`Context::ALL`].
pub fn fold(id: &str, applied: &[Vec<&Told>; 4]) -> Option<Row> {
    if applied.iter().all(Vec::is_empty) {
        return None;
    }
    let mut row = Row::new([
        ("order_id", id.into()),
        ("customer_id", Cell::Null),
        ("cancellation_reason", Cell::Null),
        ("payment_deadline", Cell::Null),
    ]);
    let (mut since, mut story) = (DateTime::<Utc>::UNIX_EPOCH, Story::default());
    for (context, told) in Context::ALL.into_iter().zip(applied) {
        row.set([(context.name(), Cell::json(&Done::of(told)))]);
        for told in told {
            since = since.max(told.event.recorded_at);
            story.hear(&told.event.event_type);
            details(&mut row, told.fact.as_ref());
        }
    }
    let stand = story.stand();
    row.set([
        ("state", stand.state.into()),
        ("waiting_for", stand.waiting_for.map(|step| step.name).into()),
        ("outcome", stand.outcome.into()),
        ("since", since.into()),
    ]);
    Some(row)
}

fn details(row: &mut Row, fact: Option<&Event>) {
    match fact {
        Some(Event::Order(OrderEvent::OrderPlaced(placed))) => {
            row.set([("customer_id", placed.customer_id.as_str().into())]);
        }
        Some(Event::Order(OrderEvent::OrderCancellationRequested(asked))) => {
            row.set([("cancellation_reason", asked.reason.as_str().into())]);
        }
        Some(Event::Payment(PaymentEvent::PaymentRequested(requested))) => {
            row.set([("payment_deadline", requested.expires_at.into())]);
        }
        _ => {}
    }
}
