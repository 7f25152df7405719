//! What the shipping context does about the events of the others.

use domain::{AnyCommand, ShipmentCommand};
use events::{Envelope, Event, OrderEvent, ValueError};

use crate::ReactionContext;

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, _: &ReactionContext) -> Result<Vec<AnyCommand>, ValueError> {
    let command = match &trigger.event {
        Event::Order(OrderEvent::OrderConfirmed(event)) => ShipmentCommand::PrepareShipment {
            shipment_id: event.order_id,
            items: event.items.clone(),
            shipping_address: event.shipping_address.clone(),
        },
        // The shipment's own stream decides whether the goods are still here.
        Event::Order(OrderEvent::OrderCancellationRequested(event)) if event.was_confirmed => {
            ShipmentCommand::CancelShipment { shipment_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![command.into()])
}
