//! Events as the logs would hold them: positions and versions in order, ids that never repeat.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::inventory::{
    ReleaseCause, ReservationCommitted, ReservationMade, ReservationRefused, ReservationReleased,
    SkuRegistered, StockReceived,
};
use events::orders::{
    OrderCancellationRequested, OrderCancelled, OrderConfirmed, OrderDelivered, OrderLine, OrderPlaced,
    OrderRejected, OrderShipped, RejectionReason,
};
use events::payments::{
    PaymentAuthorised, PaymentCaptureRequested, PaymentCaptured, PaymentDeclined, PaymentExpired,
    PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentUnknown, PaymentVoidRequested,
    PaymentVoided, PaymentWaived,
};
use events::shipping::{ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPrepared};
use events::{
    Address, Context, Currency, Envelope, Event, Metadata, Money, OrderEvent, OrderId, PaymentEvent,
    Quantity, ReservationEvent, ShipmentEvent, Shortage, Sku, SkuQuantity, StockEvent, StreamId,
};
use uuid::Uuid;

pub const CUSTOMER: &str = "alice";
pub const SKU: &str = "TEAPOT";
pub const TOTAL_MINOR: i64 = 2_500;

pub fn gbp() -> Currency {
    "GBP".parse().expect("a currency")
}

pub fn money() -> Money {
    Money::new(TOTAL_MINOR, gbp()).expect("not below 0")
}

pub fn sku(name: &str) -> Sku {
    name.parse().expect("a SKU")
}

pub fn pieces(number: i64) -> Quantity {
    number.try_into().expect("at least one piece")
}

pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).expect("in this century")
}

pub fn order_id(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

fn items() -> Vec<SkuQuantity> {
    vec![SkuQuantity { sku: sku(SKU), quantity: pieces(5) }]
}

/// The four logs, as far as a test has told.
#[derive(Default)]
pub struct Logs {
    positions: HashMap<Context, i64>,
    versions: HashMap<StreamId, i32>,
    events: i64,
}

impl Logs {
    /// The next event of the stream, a second after the one before.
    pub fn happens(&mut self, stream: &StreamId, event: impl Into<Event>) -> Envelope {
        let event = event.into();
        let position = self.positions.entry(event.context()).or_default();
        let version = self.versions.entry(stream.clone()).or_default();
        *position += 1;
        *version += 1;
        self.events += 1;
        Envelope {
            context: event.context().into(),
            position: *position,
            stream: stream.clone(),
            version: *version,
            event_id: Uuid::now_v7(),
            metadata: Metadata {
                correlation_id: Uuid::from_u128(7),
                causation_id: None,
                depends_on: events::Positions::default(),
                actor: "test".to_owned(),
                traceparent: None,
                idempotency_key: None,
            },
            recorded_at: at(0) + TimeDelta::seconds(self.events),
            event,
        }
    }

    /// The story of one order, step by step.
    pub fn story(&mut self, order_id: OrderId, steps: &[Happening]) -> Vec<Envelope> {
        steps.iter().map(|step| self.happens(&step.stream(order_id), step.event(order_id))).collect()
    }
}

/// What can happen in the story of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Placed,
    Reserved,
    Refused,
    Requested,
    Waived,
    Authorised,
    Unknown,
    Declined,
    Expired,
    Confirmed,
    Prepared,
    Dispatched,
    Shipped,
    Committed,
    CaptureRequested,
    Captured,
    DeliveredByCarrier,
    Delivered,
    CancellationRequested,
    CancellationRequestedAfterConfirmation,
    ShipmentCancelled,
    VoidRequested,
    Voided,
    RefundRequested,
    Refunded,
    Released,
    Rejected,
    Cancelled,
}

impl Happening {
    fn stream(self, id: OrderId) -> StreamId {
        match self.event(id) {
            Event::Order(_) => events::orders::stream(id),
            Event::Reservation(_) => events::inventory::reservation_stream(id),
            Event::Payment(_) => events::payments::stream(id),
            Event::Shipment(_) => events::shipping::stream(id),
            Event::StockItem(_) => events::inventory::stock_stream(&sku(SKU)),
        }
    }

    pub fn event(self, order_id: OrderId) -> Event {
        match self {
            Self::Placed
            | Self::Confirmed
            | Self::Shipped
            | Self::Delivered
            | Self::CancellationRequested
            | Self::CancellationRequestedAfterConfirmation
            | Self::Rejected
            | Self::Cancelled => order_event(self, order_id).into(),
            Self::Reserved | Self::Refused | Self::Committed | Self::Released => {
                reservation_event(self, order_id).into()
            }
            Self::Prepared | Self::Dispatched | Self::DeliveredByCarrier | Self::ShipmentCancelled => {
                shipment_event(self, order_id).into()
            }
            Self::Requested
            | Self::Waived
            | Self::Authorised
            | Self::Unknown
            | Self::Declined
            | Self::Expired
            | Self::CaptureRequested
            | Self::Captured
            | Self::VoidRequested
            | Self::Voided
            | Self::RefundRequested
            | Self::Refunded => payment_event(self, order_id).into(),
        }
    }
}

fn order_event(happening: Happening, order_id: OrderId) -> OrderEvent {
    let reason = "changed my mind".to_owned();
    match happening {
        Happening::Placed => placed(order_id).into(),
        Happening::Confirmed => OrderConfirmed {
            order_id,
            customer_id: CUSTOMER.parse().expect("a customer"),
            total: money(),
            items: items(),
            shipping_address: Address::Text("1 High Street".to_owned()),
            placed_at: at(0),
        }
        .into(),
        Happening::Shipped => {
            OrderShipped { order_id, carrier: "Royal Mail".to_owned(), tracking: "RM1".to_owned() }.into()
        }
        Happening::Delivered => OrderDelivered { order_id }.into(),
        Happening::CancellationRequested => {
            OrderCancellationRequested { order_id, reason, was_confirmed: false }.into()
        }
        Happening::CancellationRequestedAfterConfirmation => {
            OrderCancellationRequested { order_id, reason, was_confirmed: true }.into()
        }
        Happening::Rejected => {
            let reason = RejectionReason::PaymentDeclined { decline_code: "insufficient_funds".to_owned() };
            OrderRejected { order_id, reason }.into()
        }
        Happening::Cancelled => OrderCancelled { order_id, reason }.into(),
        other => unreachable!("{other:?} is no event of an order"),
    }
}

pub fn placed(order_id: OrderId) -> OrderPlaced {
    OrderPlaced {
        order_id,
        customer_id: CUSTOMER.parse().expect("a customer"),
        currency: gbp(),
        lines: vec![OrderLine { sku: sku(SKU), quantity: pieces(5), unit_price_minor: 500 }],
        total_minor: TOTAL_MINOR,
        shipping_address: Address::Text("1 High Street".to_owned()),
        placed_at: at(0),
    }
}

fn reservation_event(happening: Happening, order_id: OrderId) -> ReservationEvent {
    match happening {
        Happening::Reserved => ReservationMade {
            order_id,
            items: items(),
            customer_id: CUSTOMER.parse().expect("a customer"),
            amount_due: money(),
        }
        .into(),
        Happening::Refused => {
            let shortages = vec![Shortage { sku: sku(SKU), wanted: 5, available: 1 }];
            ReservationRefused { order_id, shortages }.into()
        }
        Happening::Committed => ReservationCommitted { order_id, items: items() }.into(),
        Happening::Released => {
            ReservationReleased { order_id, items: items(), cause: ReleaseCause::OrderCancelled }.into()
        }
        other => unreachable!("{other:?} is no event of a reservation"),
    }
}

fn payment_event(happening: Happening, order_id: OrderId) -> PaymentEvent {
    let amount = money();
    match happening {
        Happening::Requested => {
            let customer_id = CUSTOMER.parse().expect("a customer");
            PaymentRequested { order_id, customer_id, amount, expires_at: at(900) }.into()
        }
        Happening::Waived => PaymentWaived { order_id }.into(),
        Happening::Authorised => {
            PaymentAuthorised { order_id, provider_reference: "ref-1".to_owned() }.into()
        }
        Happening::Unknown => PaymentUnknown { order_id }.into(),
        Happening::Declined => {
            PaymentDeclined { order_id, decline_code: "insufficient_funds".to_owned() }.into()
        }
        Happening::Expired => PaymentExpired { order_id }.into(),
        Happening::CaptureRequested => PaymentCaptureRequested { order_id, amount }.into(),
        Happening::Captured => PaymentCaptured { order_id, amount }.into(),
        Happening::VoidRequested => PaymentVoidRequested { order_id }.into(),
        Happening::Voided => PaymentVoided { order_id }.into(),
        Happening::RefundRequested => PaymentRefundRequested { order_id, amount }.into(),
        Happening::Refunded => PaymentRefunded { order_id, amount }.into(),
        other => unreachable!("{other:?} is no event of a payment"),
    }
}

fn shipment_event(happening: Happening, order_id: OrderId) -> ShipmentEvent {
    match happening {
        Happening::Prepared => {
            let shipping_address = Address::Text("1 High Street".to_owned());
            ShipmentPrepared { order_id, items: items(), shipping_address }.into()
        }
        Happening::Dispatched => {
            ShipmentDispatched { order_id, carrier: "Royal Mail".to_owned(), tracking: "RM1".to_owned() }
                .into()
        }
        Happening::DeliveredByCarrier => ShipmentDelivered { order_id }.into(),
        Happening::ShipmentCancelled => ShipmentCancelled { order_id }.into(),
        other => unreachable!("{other:?} is no event of a shipment"),
    }
}

pub fn registered(name: &str) -> StockEvent {
    SkuRegistered { sku: sku(name) }.into()
}

pub fn received(name: &str, number: i64) -> StockEvent {
    StockReceived { sku: sku(name), quantity: pieces(number), reference: None }.into()
}

use Happening::*;

/// From placed to delivered.
pub const HAPPY: &[Happening] = &[
    Placed,
    Reserved,
    Requested,
    Authorised,
    Confirmed,
    Prepared,
    Dispatched,
    Shipped,
    Committed,
    CaptureRequested,
    Captured,
    DeliveredByCarrier,
    Delivered,
];

/// Every way in which an order can end, and its name.
pub const STORIES: &[(&str, &[Happening])] = &[
    ("happy", HAPPY),
    (
        "a gift",
        &[
            Placed,
            Reserved,
            Waived,
            Confirmed,
            Prepared,
            Dispatched,
            Shipped,
            Committed,
            DeliveredByCarrier,
            Delivered,
        ],
    ),
    ("short of stock", &[Placed, Refused, Rejected]),
    ("declined", &[Placed, Reserved, Requested, Declined, Released, Rejected]),
    ("expired", &[Placed, Reserved, Requested, Unknown, Expired, VoidRequested, Released, Rejected, Voided]),
    (
        "cancelled at once",
        &[Placed, Reserved, Requested, CancellationRequested, VoidRequested, Voided, Released, Cancelled],
    ),
    (
        "cancelled when captured",
        &[
            Placed,
            Reserved,
            Requested,
            Authorised,
            Captured,
            Confirmed,
            Prepared,
            CancellationRequestedAfterConfirmation,
            ShipmentCancelled,
            RefundRequested,
            Refunded,
            Released,
            Cancelled,
        ],
    ),
];
