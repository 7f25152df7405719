//! What the payments context does about the events of the others. What its own events demand of the provider:
//! `sagas/src/payments/gateway.rs`.

use domain::{AnyCommand, PaymentCommand};
use events::{Envelope, Event, OrderEvent, ReservationEvent, ShipmentEvent, ValueError};

use crate::ReactionContext;

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, known: &ReactionContext) -> Result<Vec<AnyCommand>, ValueError> {
    let command = match &trigger.event {
        Event::Reservation(ReservationEvent::ReservationMade(event)) => PaymentCommand::RequestPayment {
            order_id: event.order_id,
            customer_id: event.customer_id.clone(),
            amount: event.amount_due,
            expires_at: known.now + known.payment_deadline,
        },
        Event::Shipment(ShipmentEvent::ShipmentDispatched(event)) => {
            PaymentCommand::CapturePayment { order_id: event.order_id }
        }
        // A confirmed order cancels its shipment first: the goods may have left.
        Event::Order(OrderEvent::OrderCancellationRequested(event)) if !event.was_confirmed => {
            PaymentCommand::CancelPayment { order_id: event.order_id }
        }
        Event::Shipment(ShipmentEvent::ShipmentCancelled(event)) => {
            PaymentCommand::CancelPayment { order_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![command.into()])
}
