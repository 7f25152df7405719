//! What the payments context does about the facts of the others, and when it turns to the provider or to the clock.
//!
//! Never: I/O, or a rule (`domain/src/payments.rs` decides). Read next: [`super::shipping`], [`crate::payments`].

use domain::payments::PaymentState;
use domain::{Payment, PaymentCommand};
use events::{
    Envelope, Event, OrderEvent, OrderId, PaymentEvent, ReservationEvent, ShipmentEvent, StreamId, ValueError,
};

use super::{Reaction, Terms};

/// # Errors
/// None today; the same form as its siblings.
pub fn react(trigger: &Envelope, terms: &Terms) -> Result<Vec<Reaction>, ValueError> {
    let command = match &trigger.event {
        Event::Reservation(ReservationEvent::ReservationMade(event)) => PaymentCommand::RequestPayment {
            order_id: event.order_id,
            customer_id: event.customer_id.clone(),
            amount: event.amount_due,
            expires_at: terms.now + terms.payment_deadline,
        },
        Event::Shipment(ShipmentEvent::ShipmentDispatched(event)) => {
            PaymentCommand::CapturePayment { order_id: event.order_id }
        }
        // Once it is confirmed, the shipment has the first word: it may have left.
        Event::Order(OrderEvent::OrderCancellationRequested(event)) if !event.was_confirmed => {
            PaymentCommand::CancelPayment { order_id: event.order_id }
        }
        Event::Shipment(ShipmentEvent::ShipmentCancelled(event)) => {
            PaymentCommand::CancelPayment { order_id: event.order_id }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Reaction::Payment(command)])
}

/// The order whose payment the provider has to be asked about because of this event; what it is asked, the payment
/// says ([`Payment::next_provider_call`]).
pub fn turns_to_provider(trigger: &Envelope) -> Option<OrderId> {
    match &trigger.event {
        Event::Payment(PaymentEvent::PaymentRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentUnknown(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentCaptureRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentVoidRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentRefundRequested(event)) => Some(event.order_id),
        _ => None,
    }
}

/// Whether the deadline [`super::EXPIRE`] has to stand for this payment.
pub fn may_expire(payment: &Payment) -> bool {
    matches!(payment.state(), PaymentState::Requested | PaymentState::Unknown)
}

pub(super) fn name(command: &PaymentCommand) -> &'static str {
    match command {
        PaymentCommand::RequestPayment { .. } => "RequestPayment",
        PaymentCommand::ExpirePayment { .. } => "ExpirePayment",
        PaymentCommand::CancelPayment { .. } => "CancelPayment",
        PaymentCommand::CapturePayment { .. } => "CapturePayment",
        PaymentCommand::RecordAnswer { .. } => "RecordAnswer",
    }
}

pub(super) fn stream(command: &PaymentCommand) -> StreamId {
    let (PaymentCommand::RequestPayment { order_id, .. }
    | PaymentCommand::ExpirePayment { order_id }
    | PaymentCommand::CancelPayment { order_id }
    | PaymentCommand::CapturePayment { order_id }
    | PaymentCommand::RecordAnswer { order_id, .. }) = command;
    events::payments::stream(*order_id)
}
