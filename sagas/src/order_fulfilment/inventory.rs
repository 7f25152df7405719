//! What the inventory context does about the facts of the others.
//!
//! Never: I/O, or a rule (`domain/src/inventory/reservation.rs` decides). Read next: [`super::payments`].

use domain::ReservationCommand;
use domain::orders::per_sku;
use events::inventory::ReleaseCause;
use events::{Envelope, Event, Money, OrderEvent, PaymentEvent, ShipmentEvent, StreamId, ValueError};

use super::{Reaction, Terms};

/// # Errors
/// When an order's lines do not sum up, or its total is below 0: our orders context never wrote it.
pub fn react(trigger: &Envelope, _terms: &Terms) -> Result<Vec<Reaction>, ValueError> {
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
    Ok(vec![Reaction::Reservation(command)])
}

pub(super) fn name(command: &ReservationCommand) -> &'static str {
    match command {
        ReservationCommand::Reserve { .. } => "Reserve",
        ReservationCommand::Release { .. } => "Release",
        ReservationCommand::Commit { .. } => "Commit",
    }
}

pub(super) fn stream(command: &ReservationCommand) -> StreamId {
    let (ReservationCommand::Reserve { order_id, .. }
    | ReservationCommand::Release { order_id, .. }
    | ReservationCommand::Commit { order_id }) = command;
    events::inventory::reservation_stream(*order_id)
}
