//! The events of Inventory: what can happen to stock, and to the reservation of an order. The rules are in
//! `domain/src/inventory/`.

use serde::{Deserialize, Serialize};

use event_log::{StreamId, event_enum};

use crate::money::Money;
use crate::value::{CustomerId, OrderId, Quantity, Shortage, Sku, SkuQuantity};

event_enum! {
    /// The events of the stream `stock-<sku>`.
    pub enum StockEvent {
        SkuRegistered = 1,
        StockReceived = 1,
        StockAdjusted = 1,
        StockReserved = 1,
        StockReleased = 1,
        StockShipped = 1,
    }
}

event_enum! {
    /// The events of the stream `reservation-<order uuid>`.
    pub enum ReservationEvent {
        ReservationMade = 1,
        ReservationRefused = 1,
        ReservationReleased = 1,
        ReservationCommitted = 1,
    }
}

/// The sources that define these events and how old ones are decoded: they are part of the shape of every state folded
/// from them.
pub const SOURCES: &[&str] =
    &[event_log::SOURCES, include_str!("value.rs"), include_str!("money.rs"), include_str!("inventory.rs")];

/// The stream of the SKU's stock.
pub fn stock_stream(sku: &Sku) -> StreamId {
    StreamId::new("stock", sku)
}

/// The stream of the order's reservation.
pub fn reservation_stream(id: OrderId) -> StreamId {
    StreamId::new("reservation", id)
}

/// The SKU is known from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkuRegistered {
    pub sku: Sku,
}

/// Pieces were received: available grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub sku: Sku,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A corrected count: available changes by `delta` (never 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub sku: Sku,
    pub delta: i64,
    pub reason: String,
}

/// From available to reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    pub sku: Sku,
    pub order_id: OrderId,
    pub quantity: Quantity,
}

/// From reserved back to available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    pub sku: Sku,
    pub order_id: OrderId,
    pub quantity: Quantity,
}

/// From reserved to shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockShipped {
    pub sku: Sku,
    pub order_id: OrderId,
    pub quantity: Quantity,
}

/// All lines of the order are reserved. Carries the data that payments needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationMade {
    pub order_id: OrderId,
    /// One entry per SKU.
    pub items: Vec<SkuQuantity>,
    pub customer_id: CustomerId,
    pub amount_due: Money,
}

/// At least one SKU has too few pieces; nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRefused {
    pub order_id: OrderId,
    pub shortages: Vec<Shortage>,
}

/// The reservation was undone. `items` is empty if the release came before the reservation, which will then never be
/// made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationReleased {
    pub order_id: OrderId,
    pub items: Vec<SkuQuantity>,
    pub cause: ReleaseCause,
}

/// The reason why a reservation was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ReleaseCause {
    PaymentDeclined { decline_code: String },
    PaymentExpired,
    OrderCancelled,
}

/// The goods left the warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationCommitted {
    pub order_id: OrderId,
    pub items: Vec<SkuQuantity>,
}
