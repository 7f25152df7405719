//! What the orders context does about the events of the others.

use domain::{AnyCommand, OrderCommand};
use events::{Envelope, Event, PaymentEvent, ReservationEvent, ShipmentEvent, ValueError};

use crate::ReactionContext;

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, _: &ReactionContext) -> Result<Vec<AnyCommand>, ValueError> {
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
    Ok(vec![command.into()])
}
