//! The events of the shop: what can happen, and how it is stored.
//!
//! PURE: no clock, no I/O, no randomness. Never: a decision; the rules are in `domain`. Read next: [`orders`] (what can
//! happen to an order), then `domain/src/orders.rs` (what is allowed), [`processes`] (which event causes which), and
//! [`contexts`] (the registry).

pub mod contexts;
pub mod inventory;
mod money;
pub mod orders;
pub mod payments;
pub mod processes;
pub mod shipping;
mod value;

pub use contexts::{Context, Envelope, Event, order_of};
pub use event_log::{
    CodecError, ContextName, EventFamily, InvalidToken, Metadata, Position, PositionToken, Positions,
    RawEvent, StreamId, TOPIC_PARTITIONS, UnknownContext, Version, cloud_event, partition_of,
};
pub use inventory::{ReservationEvent, StockEvent};
pub use money::{Currency, Money};
pub use orders::OrderEvent;
pub use payments::PaymentEvent;
pub use shipping::ShipmentEvent;
pub use value::{
    Address, CustomerId, MAX_ORDER_LINES, OrderId, PaymentId, Quantity, ShipmentId, Shortage, Sku,
    SkuQuantity, ValueError,
};
