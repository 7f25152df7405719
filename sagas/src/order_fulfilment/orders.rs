//! What the orders context does about the facts of the others.
//!
//! Never: I/O, or a rule (`domain/src/orders.rs` decides). Read next: [`super::shipping`].

use domain::OrderCommand;
use events::{Envelope, Event, PaymentEvent, ReservationEvent, ShipmentEvent, StreamId, ValueError};

use super::{Reaction, Terms};

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, _terms: &Terms) -> Result<Vec<Reaction>, ValueError> {
    let command = match &trigger.event {
        Event::Payment(PaymentEvent::PaymentAuthorised(event)) => {
            OrderCommand::ConfirmOrder { order_id: event.order_id }
        }
        Event::Payment(PaymentEvent::PaymentWaived(event)) => {
            OrderCommand::ConfirmOrder { order_id: event.order_id }
        }
        Event::Reservation(ReservationEvent::ReservationRefused(event)) => {
            OrderCommand::RejectOrder { order_id: event.order_id, shortages: event.shortages.clone() }
        }
        Event::Reservation(ReservationEvent::ReservationReleased(event)) => {
            OrderCommand::CompensationDone { order_id: event.order_id, cause: event.cause.clone() }
        }
        Event::Shipment(ShipmentEvent::ShipmentDispatched(event)) => OrderCommand::ShipOrder {
            order_id: event.order_id,
            carrier: event.carrier.clone(),
            tracking: event.tracking.clone(),
        },
        Event::Shipment(ShipmentEvent::ShipmentDelivered(event)) => {
            OrderCommand::DeliverOrder { order_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Reaction::Order(command)])
}

pub(super) fn name(command: &OrderCommand) -> &'static str {
    match command {
        OrderCommand::PlaceOrder { .. } => "PlaceOrder",
        OrderCommand::CancelOrder { .. } => "CancelOrder",
        OrderCommand::ConfirmOrder { .. } => "ConfirmOrder",
        OrderCommand::RejectOrder { .. } => "RejectOrder",
        OrderCommand::CompensationDone { .. } => "CompensationDone",
        OrderCommand::ShipOrder { .. } => "ShipOrder",
        OrderCommand::DeliverOrder { .. } => "DeliverOrder",
    }
}

pub(super) fn stream(command: &OrderCommand) -> StreamId {
    let (OrderCommand::PlaceOrder { order_id, .. }
    | OrderCommand::CancelOrder { order_id, .. }
    | OrderCommand::ConfirmOrder { order_id }
    | OrderCommand::RejectOrder { order_id, .. }
    | OrderCommand::CompensationDone { order_id, .. }
    | OrderCommand::ShipOrder { order_id, .. }
    | OrderCommand::DeliverOrder { order_id }) = command;
    events::orders::stream(*order_id)
}
