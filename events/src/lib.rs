//! The facts of Tradewind: what can happen, and how it is written down.
//!
//! PURE: no clock, no I/O, no randomness. These are the only types that go to disk and to the wire.
//! Nothing here decides anything; the rules are in `domain`.
//!
//! Read next: [`orders`] (what can happen to an order), then `domain/src/orders.rs` (what we allow).

mod codec;
mod context;
mod envelope;
mod positions;
mod value;

pub mod cloud_event;
pub mod inventory;
pub mod orders;
pub mod payments;
pub mod shipping;

pub use codec::{CodecError, Event};
pub use context::{Context, TOPIC_PARTITIONS, partition_of};
pub use envelope::{Envelope, InvalidToken, Metadata, Position, PositionToken, RawEvent, StreamId, Version};
pub use inventory::{ReservationEvent, StockEvent};
pub use orders::OrderEvent;
pub use payments::PaymentEvent;
pub use positions::Positions;
pub use shipping::ShipmentEvent;
pub use value::{
    Address, Currency, CustomerId, MAX_ORDER_LINES, Money, OrderId, PaymentId, Quantity, ShipmentId,
    Shortage, Sku, SkuQuantity, ValueError,
};

/// The sources that say what an event is and how an old one is read. Whoever keeps something that was folded from events
/// keeps their hash with it: other sources may fold to something else.
pub const SOURCES: &[&str] = &[
    include_str!("codec.rs"),
    include_str!("value.rs"),
    include_str!("orders.rs"),
    include_str!("inventory.rs"),
    include_str!("payments.rs"),
    include_str!("shipping.rs"),
];
