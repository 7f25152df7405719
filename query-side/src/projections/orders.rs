//! One row per order: what `GET /v1/orders` answers.
//!
//! Fed by the orders topic alone: what other contexts did to the order shows when the order itself has heard of it.
//! Never: a status that no event of the order states. Read next: [`super::processes`].

use chrono::{DateTime, Utc};
use events::orders::{OrderLine, OrderPlaced, RejectionReason};
use events::{Address, Context, Currency, Envelope, Event, OrderEvent, Position, Version};
use fault::mutant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::schema;
use crate::projection::{FedBy, Projection};

pub struct Orders;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Order)]
pub struct Row {
    #[schema(format = Uuid)]
    pub order_id: String,
    pub customer_id: String,
    pub status: OrderStatus,
    #[schema(value_type = String)]
    pub currency: Currency,
    #[schema(value_type = Vec<schema::OrderLine>)]
    pub lines: Vec<OrderLine>,
    pub total_minor: i64,
    #[schema(value_type = schema::Address)]
    pub shipping_address: Address,
    pub placed_at: DateTime<Utc>,
    #[schema(value_type = Option<schema::Rejection>)]
    pub rejection: Option<RejectionReason>,
    pub cancellation: Option<Cancellation>,
    pub shipment: Option<Shipment>,
    /// The version of the order's stream; also the `ETag`.
    pub version: Version,
    /// Where the order's last event stands in the log of the orders.
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Confirmed,
    Cancelling,
    Rejected,
    Cancelled,
    Shipped,
    Delivered,
}

impl OrderStatus {
    pub const ALL: [Self; 7] = [
        Self::Placed,
        Self::Confirmed,
        Self::Cancelling,
        Self::Rejected,
        Self::Cancelled,
        Self::Shipped,
        Self::Delivered,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelling => "cancelling",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
        }
    }

    /// Whether the customer has the answer: it will be sent, or it will not.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Confirmed | Self::Rejected | Self::Cancelled | Self::Shipped | Self::Delivered => true,
            Self::Placed | Self::Cancelling => false,
        }
    }
}

/// A wish to cancel, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cancellation {
    pub reason: String,
    pub state: CancellationState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancellationState {
    Requested,
    Refused,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shipment {
    pub carrier: String,
    pub tracking: String,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const TABLE: &'static str = "orders";
    const KEY: &'static str = "order_id";
    const CONTEXTS: &'static [Context] = &[Context::Orders];
    const FED_BY: FedBy = FedBy::OneStream;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        match event.event {
            Event::Order(_) => events::order_of(&event.stream).map(|id| id.to_string()),
            Event::StockItem(_) | Event::Reservation(_) | Event::Payment(_) | Event::Shipment(_) => None,
        }
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        let Event::Order(order_event) = &event.event else { return row };
        let row = match (row, order_event) {
            (Some(row), _) if row.version >= event.version && !mutant!("projector::version_not_checked") => {
                return Some(row);
            }
            (Some(row), _) => evolve(row, order_event),
            (None, OrderEvent::OrderPlaced(placed)) => begin(placed),
            (None, _) => return None,
        };
        Some(Row { version: event.version, position: event.position, ..row })
    }
}

fn begin(placed: &OrderPlaced) -> Row {
    Row {
        order_id: placed.order_id.to_string(),
        customer_id: placed.customer_id.to_string(),
        status: OrderStatus::Placed,
        currency: placed.currency,
        lines: placed.lines.clone(),
        total_minor: placed.total_minor,
        shipping_address: placed.shipping_address.clone(),
        placed_at: placed.placed_at,
        rejection: None,
        cancellation: None,
        shipment: None,
        version: 0,
        position: 0,
    }
}

fn evolve(row: Row, event: &OrderEvent) -> Row {
    match event {
        OrderEvent::OrderPlaced(placed) => begin(placed),
        OrderEvent::OrderConfirmed(_) => Row { status: OrderStatus::Confirmed, ..row },
        OrderEvent::OrderRejected(event) => {
            Row { status: OrderStatus::Rejected, rejection: Some(event.reason.clone()), ..row }
        }
        OrderEvent::OrderCancellationRequested(event) => {
            let cancellation =
                Cancellation { reason: event.reason.clone(), state: CancellationState::Requested };
            Row { status: OrderStatus::Cancelling, cancellation: Some(cancellation), ..row }
        }
        OrderEvent::OrderCancellationRefused(_) => Row {
            status: OrderStatus::Confirmed,
            cancellation: row
                .cancellation
                .map(|wish| Cancellation { state: CancellationState::Refused, ..wish }),
            ..row
        },
        OrderEvent::OrderCancelled(event) => {
            let cancellation = Cancellation { reason: event.reason.clone(), state: CancellationState::Done };
            Row { status: OrderStatus::Cancelled, cancellation: Some(cancellation), ..row }
        }
        OrderEvent::OrderShipped(event) => {
            let shipment = Shipment { carrier: event.carrier.clone(), tracking: event.tracking.clone() };
            Row { status: OrderStatus::Shipped, shipment: Some(shipment), ..row }
        }
        OrderEvent::OrderDelivered(_) => Row { status: OrderStatus::Delivered, ..row },
    }
}
