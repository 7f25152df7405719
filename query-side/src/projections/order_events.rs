//! One row per event of an order's streams (order, reservation, payment, shipment): its timeline.
//!
//! What `GET /v1/orders/{id}/events` answers. Never: the events of a stock item; they belong to many orders.
//! Read next: [`super::processes`], which tells what the timeline means.

use chrono::{DateTime, Utc};
use events::{Context, Envelope, Position, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::schema;
use crate::projection::{FedBy, Projection};

pub struct OrderEvents;

/// One event, as it was appended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderEvent)]
pub struct Row {
    #[schema(format = Uuid)]
    pub event_id: String,
    #[schema(format = Uuid)]
    pub order_id: String,
    #[schema(value_type = schema::Context)]
    pub context: Context,
    pub stream: String,
    pub version: Version,
    pub position: Position,
    pub event_type: String,
    pub recorded_at: DateTime<Utc>,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub actor: String,
    /// The event's own fields.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl Projection for OrderEvents {
    const NAME: &'static str = "order-events";
    const TABLE: &'static str = "order_events";
    const KEY: &'static str = "event_id";
    const CONTEXTS: &'static [Context] = &Context::ALL;
    const FED_BY: FedBy = FedBy::OneEvent;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        events::order_of(&event.stream).map(|_| event.event_id.to_string())
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        let order_id = events::order_of(&event.stream)?;
        row.or_else(|| {
            Some(Row {
                event_id: event.event_id.to_string(),
                order_id: order_id.to_string(),
                context: event.context,
                stream: event.stream.to_string(),
                version: event.version,
                position: event.position,
                event_type: event.event.event_type().to_owned(),
                recorded_at: event.recorded_at,
                correlation_id: event.metadata.correlation_id,
                causation_id: event.metadata.causation_id,
                actor: event.metadata.actor.clone(),
                data: serde_json::from_str(event.event.payload().get()).expect("an event's payload is JSON"),
            })
        })
    }
}
