//! One row per order: the choreography made visible. What `GET /v1/orders/{id}/process` tells.
//!
//! Fed by all four topics, between which there is no order: each context adds to a track of its own, guarded by the
//! version of its stream, and where the process stands is computed anew from the tracks. So any interleaving gives the
//! same row. Never: a clock ("stuck" is decided when somebody asks). Read next: [`crate::story`].

use chrono::{DateTime, Utc};
use events::{Context, Envelope, Event, OrderEvent, PaymentEvent, Position, Version};
use fault::mutant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::projection::{FedBy, Projection};
use crate::story::{Facts, Outcome, Stage};

pub struct Processes;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub order_id: String,
    pub customer_id: Option<String>,
    pub orders: Track,
    /// The reservation's events; those of the stock items belong to no order.
    pub inventory: Track,
    pub payments: Track,
    pub shipping: Track,
    /// Why somebody wanted the order cancelled.
    pub cancellation_reason: Option<String>,
    /// When the order is given up if the payment provider has not answered.
    pub payment_deadline: Option<DateTime<Utc>>,
    pub state: Stage,
    pub waiting_for: Option<String>,
    /// When the last thing happened.
    pub since: DateTime<Utc>,
    pub outcome: Option<Outcome>,
}

/// What one context did for the order, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    pub version: Version,
    pub position: Position,
    pub facts: Vec<Fact>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    pub event: String,
    pub at: DateTime<Utc>,
}

impl Row {
    /// The row before its first event; equal to the defaults of the table.
    fn empty(order_id: String) -> Self {
        Self {
            order_id,
            customer_id: None,
            orders: Track::default(),
            inventory: Track::default(),
            payments: Track::default(),
            shipping: Track::default(),
            cancellation_reason: None,
            payment_deadline: None,
            state: Stage::Running,
            waiting_for: None,
            since: DateTime::UNIX_EPOCH,
            outcome: None,
        }
    }

    pub fn track(&self, context: Context) -> &Track {
        match context {
            Context::Orders => &self.orders,
            Context::Inventory => &self.inventory,
            Context::Payments => &self.payments,
            Context::Shipping => &self.shipping,
        }
    }

    fn track_mut(&mut self, context: Context) -> &mut Track {
        match context {
            Context::Orders => &mut self.orders,
            Context::Inventory => &mut self.inventory,
            Context::Payments => &mut self.payments,
            Context::Shipping => &mut self.shipping,
        }
    }

    /// Everything that happened, for [`crate::story`] to read.
    pub fn facts(&self) -> Facts<'_> {
        Facts::new(Context::ALL.map(|context| self.track(context).facts.as_slice()))
    }
}

impl Projection for Processes {
    const NAME: &'static str = "processes";
    const TABLE: &'static str = "processes";
    const KEY: &'static str = "order_id";
    const CONTEXTS: &'static [Context] = &Context::ALL;
    const FED_BY: FedBy = FedBy::SeveralStreams;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        events::order_of(&event.stream).map(|id| id.to_string())
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        let mut row = match row {
            Some(row) => row,
            None => Row::empty(events::order_of(&event.stream)?.to_string()),
        };
        if row.track(event.context).version >= event.version && !mutant!("projector::version_not_checked") {
            return Some(row);
        }
        let track = row.track_mut(event.context);
        track.version = event.version;
        track.position = event.position;
        track.facts.push(Fact { event: event.event.event_type().to_owned(), at: event.recorded_at });
        remember_details(&mut row, &event.event);
        let stand = row.facts().stand();
        row.state = stand.stage;
        row.waiting_for = stand.waiting_for.map(|step| step.name().to_owned());
        row.outcome = stand.outcome;
        row.since = row.since.max(event.recorded_at);
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
        Event::Order(_)
        | Event::StockItem(_)
        | Event::Reservation(_)
        | Event::Payment(_)
        | Event::Shipment(_) => {}
    }
}
