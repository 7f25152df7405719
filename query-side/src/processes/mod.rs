//! The process of an order: one row per order, `GET /v1/orders/{order_id}/process` and `GET /v1/processes`.
//!
//! Several topics feed the row, between which there is no order: each context adds to a track of its own, guarded by the version of
//! its stream, and the status is computed from all tracks each time. So any interleaving gives the same row.
//! Never: a clock in the fold ("stuck" is decided when a request comes).
//! Read next: `process_status.rs`, then `routes.rs`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{Context, ContextName, Envelope, Event, OrderEvent, PaymentEvent, Position, Version};
use fault::mutant;
use projections::{Projection, RowSource};
use serde::{Deserialize, Serialize};

use crate::names;
use crate::order_events::ORDER_CONTEXTS;
use crate::process_status::{Fact, Facts, Outcome, Stage};

mod routes;

pub use routes::router;

pub struct Processes;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub order_id: String,
    pub customer_id: Option<String>,
    pub tracks: BTreeMap<ContextName, Track>,
    /// Why the order was to be cancelled.
    pub cancellation_reason: Option<String>,
    /// When the order is rejected if the payment provider has not answered.
    pub payment_deadline: Option<DateTime<Utc>>,
    pub state: Stage,
    pub waiting_for: Option<String>,
    /// The time of the last event.
    pub since: DateTime<Utc>,
    pub outcome: Option<Outcome>,
}

/// What one context did for the order, in order. The inventory's track has the reservation's events; those of the stock items belong
/// to no order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    pub version: Version,
    pub position: Position,
    pub facts: Vec<Fact>,
}

impl Row {
    /// The row before its first event; equal to the defaults of the table.
    fn empty(order_id: String) -> Self {
        Self {
            order_id,
            customer_id: None,
            tracks: BTreeMap::new(),
            cancellation_reason: None,
            payment_deadline: None,
            state: Stage::Running,
            waiting_for: None,
            since: DateTime::UNIX_EPOCH,
            outcome: None,
        }
    }

    /// Everything that happened, for the status to be computed from.
    pub fn facts(&self) -> Facts<'_> {
        Facts::new(self.tracks.values().map(|track| track.facts.as_slice()))
    }

    /// The facts of one context.
    fn facts_of(&self, context: Context) -> &[Fact] {
        self.tracks.get(&context.into()).map_or(&[], |track| &track.facts)
    }
}

impl Projection for Processes {
    const NAME: &'static str = "processes";
    const TABLE: &'static str = "processes";
    const KEY_COLUMN: &'static str = "order_id";
    const CONTEXTS: &'static [ContextName] = &names(ORDER_CONTEXTS);
    const SOURCE: RowSource<Row> = RowSource::SeveralStreams;
    const WAIT_ENDS_WHEN: Option<&'static str> = Some("state NOT IN ('running', 'compensating')");
    type Events = Event;
    type Event = Event;
    type Row = Row;

    fn key(_event: &Event, envelope: &Envelope) -> Option<String> {
        events::order_of(&envelope.stream).map(|id| id.to_string())
    }

    fn apply(row: Option<Row>, event: &Event, envelope: &Envelope) -> Option<Row> {
        let mut row = match row {
            Some(row) => row,
            None => Row::empty(events::order_of(&envelope.stream)?.to_string()),
        };
        let track = row.tracks.entry(envelope.context).or_default();
        if track.version >= envelope.version && !mutant!("projector::version_not_checked") {
            return Some(row);
        }
        track.version = envelope.version;
        track.position = envelope.position;
        track.facts.push(Fact { event: event.event_type().to_owned(), at: envelope.recorded_at });
        remember_details(&mut row, event);
        let status = row.facts().status();
        row.state = status.stage;
        row.waiting_for = status.waiting_for.map(|step| step.name().to_owned());
        row.outcome = status.outcome;
        row.since = row.since.max(envelope.recorded_at);
        Some(row)
    }
}

/// The few fields of events that tell more than their type: each is written by one context alone.
fn remember_details(row: &mut Row, event: &Event) {
    match event {
        Event::Order(OrderEvent::OrderPlaced(placed)) => {
            row.customer_id = Some(placed.customer_id.to_string());
        }
        Event::Order(OrderEvent::OrderCancellationRequested(requested)) => {
            row.cancellation_reason = Some(requested.reason.clone());
        }
        Event::Payment(PaymentEvent::PaymentRequested(requested)) => {
            row.payment_deadline = Some(requested.expires_at);
        }
        // Of every other event the type is enough.
        _ => {}
    }
}
