//! The events of Orders: what can happen to an order. The rules are in `domain/src/orders.rs`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use event_log::{StreamId, event_enum};

use crate::money::{Currency, Money};
use crate::value::{Address, CustomerId, OrderId, Quantity, Shortage, Sku, SkuQuantity};

event_enum! {
    /// The events of the stream `order-<uuid>`.
    pub enum OrderEvent {
        OrderPlaced = 1,
        OrderConfirmed = 1,
        OrderRejected = 1,
        OrderCancellationRequested = 1,
        OrderCancellationRefused = 1,
        OrderCancelled = 1,
        OrderShipped = 1,
        OrderDelivered = 1,
    }
}

/// The stream of the order.
pub fn stream(id: OrderId) -> StreamId {
    StreamId::new("order", id)
}

/// One line of an order. A SKU may be on several lines, at several prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: Sku,
    pub quantity: Quantity,
    pub unit_price_minor: i64,
}

/// The order was accepted. Stock and payment follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub currency: Currency,
    pub lines: Vec<OrderLine>,
    pub total_minor: i64,
    pub shipping_address: Address,
    /// When the customer ordered; `/v1/sales/daily` counts by it.
    pub placed_at: DateTime<Utc>,
}

/// Stock is reserved and the money is authorised (or none is due). Carries the data that shipping needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub total: Money,
    /// One entry per SKU.
    pub items: Vec<SkuQuantity>,
    pub shipping_address: Address,
    pub placed_at: DateTime<Utc>,
}

/// The order could not be fulfilled. Terminal. Nothing is held or owed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    pub order_id: OrderId,
    pub reason: RejectionReason,
}

/// The reason why an order was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(tag = "code", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RejectionReason {
    OutOfStock { shortages: Vec<Shortage> },
    PaymentDeclined { decline_code: String },
    PaymentExpired,
}

impl RejectionReason {
    /// The stable code, as in the JSON.
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

/// A cancellation was requested; the completed steps are being compensated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancellationRequested {
    pub order_id: OrderId,
    pub reason: String,
    /// Whether the order was confirmed: then a shipment exists (or is about to), and is cancelled first.
    pub was_confirmed: bool,
}

/// The goods were dispatched before the cancellation reached the shipment; the order continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancellationRefused {
    pub order_id: OrderId,
}

/// The order was cancelled and nothing is held or owed any more. Terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub reason: String,
}

/// The goods were dispatched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    pub order_id: OrderId,
    pub carrier: String,
    pub tracking: String,
}

/// The goods arrived. Terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDelivered {
    pub order_id: OrderId,
}
