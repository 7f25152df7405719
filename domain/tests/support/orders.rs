//! Commands, events, and the shortest history to each status of an order.

use domain::orders::{OrderStatus, OrderStatus::*};
use domain::{OrderCommand, OrderRefusal};
use events::inventory::ReleaseCause;
use events::orders::{
    OrderCancellationRequested, OrderCancelled, OrderConfirmed, OrderDelivered, OrderLine, OrderPlaced,
    OrderRejected, OrderShipped, RejectionReason,
};
use events::{Address, OrderEvent, Shortage};

use super::{ID, ada, address, gbp, item, line, noon, pounds, sku};

pub const CANCELLING_PLACED: OrderStatus = Cancelling { was_confirmed: false };
pub const CANCELLING_CONFIRMED: OrderStatus = Cancelling { was_confirmed: true };
pub const EVERY_STATUS: [OrderStatus; 9] = [
    Absent,
    Placed,
    Confirmed,
    CANCELLING_PLACED,
    CANCELLING_CONFIRMED,
    Rejected,
    Cancelled,
    Shipped,
    Delivered,
];

/// The shortest history that produces the status.
pub fn history(status: OrderStatus) -> Vec<OrderEvent> {
    let then = |before: OrderStatus, event: OrderEvent| {
        let mut events = history(before);
        events.push(event);
        events
    };
    match status {
        Absent => Vec::new(),
        Placed => vec![placed_with(vec![line("cup", 6, 300)], 1800)],
        Confirmed => then(Placed, confirmed()),
        Cancelling { was_confirmed: false } => then(Placed, cancellation_requested(false)),
        Cancelling { was_confirmed: true } => then(Confirmed, cancellation_requested(true)),
        Rejected => then(Placed, rejected(RejectionReason::PaymentExpired)),
        Cancelled => then(CANCELLING_PLACED, cancelled()),
        Shipped => then(Confirmed, shipped()),
        Delivered => then(Shipped, OrderDelivered { order_id: ID }.into()),
    }
}

pub fn place(lines: Vec<OrderLine>) -> OrderCommand {
    OrderCommand::PlaceOrder {
        order_id: ID,
        customer_id: ada(),
        currency: gbp(),
        lines,
        shipping_address: address(),
        placed_at: noon(),
    }
}

pub fn place_to(shipping_address: Address) -> OrderCommand {
    OrderCommand::PlaceOrder {
        order_id: ID,
        customer_id: ada(),
        currency: gbp(),
        lines: vec![line("cup", 1, 300)],
        shipping_address,
        placed_at: noon(),
    }
}

pub fn cancel() -> OrderCommand {
    OrderCommand::CancelOrder { order_id: ID, reason: "changed my mind".to_owned() }
}

pub fn reject() -> OrderCommand {
    OrderCommand::RejectOrder { order_id: ID, shortages: vec![shortage()] }
}

pub fn released(cause: ReleaseCause) -> OrderCommand {
    OrderCommand::CompensationDone { order_id: ID, cause }
}

pub fn ship() -> OrderCommand {
    OrderCommand::ShipOrder { order_id: ID, carrier: "owl".to_owned(), tracking: "T-1".to_owned() }
}

pub fn every_cause() -> [ReleaseCause; 3] {
    [
        ReleaseCause::PaymentDeclined { decline_code: "insufficient_funds".to_owned() },
        ReleaseCause::PaymentExpired,
        ReleaseCause::OrderCancelled,
    ]
}

pub fn shortage() -> Shortage {
    Shortage { sku: sku("cup"), wanted: 6, available: 5 }
}

pub fn placed_with(lines: Vec<OrderLine>, total_minor: i64) -> OrderEvent {
    OrderPlaced {
        order_id: ID,
        customer_id: ada(),
        currency: gbp(),
        lines,
        total_minor,
        shipping_address: address(),
        placed_at: noon(),
    }
    .into()
}

pub fn confirmed() -> OrderEvent {
    OrderConfirmed {
        order_id: ID,
        customer_id: ada(),
        total: pounds(1800),
        items: vec![item("cup", 6)],
        shipping_address: address(),
        placed_at: noon(),
    }
    .into()
}

pub fn rejected(reason: RejectionReason) -> OrderEvent {
    OrderRejected { order_id: ID, reason }.into()
}

pub fn cancellation_requested(was_confirmed: bool) -> OrderEvent {
    OrderCancellationRequested { order_id: ID, reason: "changed my mind".to_owned(), was_confirmed }.into()
}

pub fn cancelled() -> OrderEvent {
    OrderCancelled { order_id: ID, reason: "changed my mind".to_owned() }.into()
}

pub fn shipped() -> OrderEvent {
    OrderShipped { order_id: ID, carrier: "owl".to_owned(), tracking: "T-1".to_owned() }.into()
}

pub fn out_of_story(status: OrderStatus, step: &'static str) -> OrderRefusal {
    OrderRefusal::InvalidTransition { order_id: ID, status, step }
}
