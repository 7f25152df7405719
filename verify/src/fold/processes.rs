//! The table `processes`: what each context did for an order, and the status that results.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{Event, OrderEvent, PaymentEvent};
use serde::Serialize;
use verify_log::{Cell, Row};

use crate::LoggedEvent;
use crate::fold::order_process::Happened;
use crate::read::orders::Applied;

/// What a context did.
#[derive(Serialize)]
struct Track<'a> {
    version: i32,
    position: i64,
    facts: Vec<Fact<'a>>,
}

#[derive(Serialize)]
struct Fact<'a> {
    event: &'a str,
    at: DateTime<Utc>,
}

impl<'a> Track<'a> {
    fn of(applied: &[&'a LoggedEvent]) -> Self {
        let (version, position) =
            applied.last().map_or((0, 0), |last| (last.event.version, last.event.position));
        let fact =
            |logged: &&'a LoggedEvent| Fact { event: &logged.event.event_type, at: logged.event.recorded_at };
        Self { version, position, facts: applied.iter().map(fact).collect() }
    }
}

pub fn fold(id: &str, applied: &Applied<'_>) -> Option<Row> {
    applied.events().next()?; // an order without events has no row
    let mut row = Row::new([
        ("order_id", id.into()),
        ("customer_id", Cell::Null),
        ("cancellation_reason", Cell::Null),
        ("payment_deadline", Cell::Null),
    ]);
    let (mut since, mut happened) = (DateTime::<Utc>::UNIX_EPOCH, Happened::default());
    let tracks: BTreeMap<&str, Track<'_>> = applied
        .contexts()
        .filter(|(_, events)| !events.is_empty())
        .map(|(context, events)| (context.name(), Track::of(events)))
        .collect();
    row.set([("tracks", Cell::json(&tracks))]);
    for logged in applied.events() {
        since = since.max(logged.event.recorded_at);
        happened.add(&logged.event.event_type);
        details(&mut row, logged.fact.as_ref().ok());
    }
    let status = happened.status();
    row.set([
        ("state", status.state.into()),
        ("waiting_for", status.waiting_for.map(|step| step.name).into()),
        ("outcome", status.outcome.into()),
        ("since", since.into()),
    ]);
    Some(row)
}

fn details(row: &mut Row, fact: Option<&Event>) {
    match fact {
        Some(Event::Order(OrderEvent::OrderPlaced(placed))) => {
            row.set([("customer_id", placed.customer_id.as_str().into())]);
        }
        Some(Event::Order(OrderEvent::OrderCancellationRequested(requested))) => {
            row.set([("cancellation_reason", requested.reason.as_str().into())]);
        }
        Some(Event::Payment(PaymentEvent::PaymentRequested(requested))) => {
            row.set([("payment_deadline", requested.expires_at.into())]);
        }
        _ => {}
    }
}
