//! What the shipping context does about the facts of the others.
//!
//! Never: I/O, or a rule (`domain/src/shipping.rs` decides). Read next: `sagas/tests/story/main.rs`.

use domain::ShipmentCommand;
use events::{Envelope, Event, OrderEvent, StreamId, ValueError};

use super::{Reaction, Terms};

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, _terms: &Terms) -> Result<Vec<Reaction>, ValueError> {
    let command = match &trigger.event {
        Event::Order(OrderEvent::OrderConfirmed(event)) => ShipmentCommand::PrepareShipment {
            shipment_id: event.order_id,
            items: event.items.clone(),
            shipping_address: event.shipping_address.clone(),
        },
        // Whether the goods are still here is decided by the shipment's own stream.
        Event::Order(OrderEvent::OrderCancellationRequested(event)) if event.was_confirmed => {
            ShipmentCommand::CancelShipment { shipment_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Reaction::Shipment(command)])
}

pub(super) fn name(command: &ShipmentCommand) -> &'static str {
    match command {
        ShipmentCommand::PrepareShipment { .. } => "PrepareShipment",
        ShipmentCommand::DispatchShipment { .. } => "DispatchShipment",
        ShipmentCommand::DeliverShipment { .. } => "DeliverShipment",
        ShipmentCommand::CancelShipment { .. } => "CancelShipment",
    }
}

pub(super) fn stream(command: &ShipmentCommand) -> StreamId {
    let (ShipmentCommand::PrepareShipment { shipment_id, .. }
    | ShipmentCommand::DispatchShipment { shipment_id, .. }
    | ShipmentCommand::DeliverShipment { shipment_id }
    | ShipmentCommand::CancelShipment { shipment_id }) = command;
    events::shipping::stream(*shipment_id)
}
