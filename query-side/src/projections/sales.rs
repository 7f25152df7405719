//! One row per order that was ever confirmed: what `GET /v1/sales/daily` sums.
//!
//! A day's sum is made when it is asked for: a sum kept per day would be one row that every order of the day waits for.
//! Never: an order that was cancelled after its confirmation (`counted` is false then). Read next: [`super::orders`].

use chrono::NaiveDate;
use events::orders::OrderConfirmed;
use events::{Context, Currency, Envelope, Event, OrderEvent, Position, Version};
use fault::mutant;
use serde::{Deserialize, Serialize};

use crate::projection::{FedBy, Projection};

pub struct Sales;

/// What one confirmed order adds to the sales of its day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub order_id: String,
    /// The day of `placed_at`, in UTC.
    pub placed_on: NaiveDate,
    pub currency: Currency,
    pub units: i64,
    pub revenue_minor: i64,
    /// Whether it still counts: it was not cancelled afterwards.
    pub counted: bool,
    pub version: Version,
    pub position: Position,
}

impl Projection for Sales {
    const NAME: &'static str = "sales";
    const TABLE: &'static str = "sales";
    const KEY: &'static str = "order_id";
    const CONTEXTS: &'static [Context] = &[Context::Orders];
    const FED_BY: FedBy = FedBy::OneStream;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        match event.event {
            Event::Order(OrderEvent::OrderConfirmed(_) | OrderEvent::OrderCancelled(_)) => {
                events::order_of(&event.stream).map(|id| id.to_string())
            }
            Event::Order(
                OrderEvent::OrderPlaced(_)
                | OrderEvent::OrderRejected(_)
                | OrderEvent::OrderCancellationRequested(_)
                | OrderEvent::OrderCancellationRefused(_)
                | OrderEvent::OrderShipped(_)
                | OrderEvent::OrderDelivered(_),
            )
            | Event::StockItem(_)
            | Event::Reservation(_)
            | Event::Payment(_)
            | Event::Shipment(_) => None,
        }
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        match (row, &event.event) {
            (Some(row), _) if row.version >= event.version && !mutant!("projector::version_not_checked") => {
                Some(row)
            }
            (_, Event::Order(OrderEvent::OrderConfirmed(confirmed))) => Some(counted(confirmed, event)),
            (Some(row), Event::Order(OrderEvent::OrderCancelled(_))) => {
                Some(Row { counted: false, version: event.version, position: event.position, ..row })
            }
            // Cancelled before it was confirmed: it never counted.
            (row, _) => row,
        }
    }
}

fn counted(confirmed: &OrderConfirmed, event: &Envelope) -> Row {
    Row {
        order_id: confirmed.order_id.to_string(),
        placed_on: confirmed.placed_at.date_naive(),
        currency: confirmed.total.currency(),
        units: confirmed.items.iter().map(|item| item.quantity.get()).sum(),
        revenue_minor: confirmed.total.amount_minor(),
        counted: true,
        version: event.version,
        position: event.position,
    }
}
