//! What the inventory context does about the events of the others.

use domain::orders::per_sku;
use domain::{AnyCommand, ReservationCommand};
use events::inventory::ReleaseCause;
use events::{Envelope, Event, Money, OrderEvent, PaymentEvent, ShipmentEvent, ValueError};

use crate::ReactionContext;

/// # Errors
/// When an order's lines do not sum up, or its total is negative: the orders context never writes that.
pub fn react(trigger: &Envelope, _: &ReactionContext) -> Result<Vec<AnyCommand>, ValueError> {
    let command = match &trigger.event {
        Event::Order(OrderEvent::OrderPlaced(event)) => ReservationCommand::Reserve {
            order_id: event.order_id,
            items: per_sku(&event.lines)?,
            customer_id: event.customer_id.clone(),
            amount_due: Money::new(event.total_minor, event.currency)?,
        },
        Event::Payment(PaymentEvent::PaymentDeclined(event)) => ReservationCommand::Release {
            order_id: event.order_id,
            cause: ReleaseCause::PaymentDeclined { decline_code: event.decline_code.clone() },
        },
        Event::Payment(PaymentEvent::PaymentExpired(event)) => {
            ReservationCommand::Release { order_id: event.order_id, cause: ReleaseCause::PaymentExpired }
        }
        Event::Payment(PaymentEvent::PaymentVoided(event)) => {
            ReservationCommand::Release { order_id: event.order_id, cause: ReleaseCause::OrderCancelled }
        }
        Event::Payment(PaymentEvent::PaymentRefunded(event)) => {
            ReservationCommand::Release { order_id: event.order_id, cause: ReleaseCause::OrderCancelled }
        }
        Event::Shipment(ShipmentEvent::ShipmentDispatched(event)) => {
            ReservationCommand::Commit { order_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![command.into()])
}
