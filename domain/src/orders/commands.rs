//! The commands on an order, and its refusals.

use chrono::{DateTime, Utc};
use events::inventory::ReleaseCause;
use events::orders::OrderLine;
use events::{Address, Currency, CustomerId, OrderId, Shortage, ValueError};

use super::OrderStatus;

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum OrderCommand {
    PlaceOrder {
        order_id: OrderId,
        customer_id: CustomerId,
        currency: Currency,
        lines: Vec<OrderLine>,
        shipping_address: Address,
        placed_at: DateTime<Utc>,
    },
    CancelOrder {
        order_id: OrderId,
        reason: String,
    },
    /// Stock is reserved and the money authorised, or none is due.
    ConfirmOrder {
        order_id: OrderId,
    },
    /// The stock was not available; nothing is held.
    RejectOrder {
        order_id: OrderId,
        shortages: Vec<Shortage>,
    },
    /// Nothing is held for the order any more.
    CompensationDone {
        order_id: OrderId,
        cause: ReleaseCause,
    },
    /// The goods were dispatched. This is a fact, so it cannot be refused.
    ShipOrder {
        order_id: OrderId,
        carrier: String,
        tracking: String,
    },
    DeliverOrder {
        order_id: OrderId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    #[error("order {order_id} does not exist")]
    NotFound { order_id: OrderId },
    #[error("order {order_id} exists already")]
    AlreadyPlaced { order_id: OrderId },
    #[error("an order has 1 to {max} lines, this one has {given}")]
    LineCount { given: usize, max: usize },
    #[error("line {line}: unit_price_minor must be 0 or more, is {given}")]
    NegativePrice { line: usize, given: i64 },
    #[error("line {line}: quantity times unit_price_minor is more than 63 bits of minor units")]
    LineTotalTooLarge { line: usize },
    #[error("the total of the order is more than 63 bits of minor units")]
    TotalTooLarge,
    #[error("the pieces of one SKU over all lines: {cause}")]
    TooManyPieces { cause: ValueError },
    #[error("shipping_address {cause}")]
    ShippingAddress { cause: ValueError },
    #[error("order {order_id} is {status}; allowed in placed, confirmed", status = .status.name())]
    CannotBeCancelled { order_id: OrderId, status: OrderStatus },
    /// A transition that the process cannot reach: the log contradicts itself. Park the event for an operator.
    #[error("order {order_id} is {status}: {step} cannot follow", status = .status.name())]
    InvalidTransition { order_id: OrderId, status: OrderStatus, step: &'static str },
}
