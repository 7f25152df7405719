//! Commands, events, and the shortest history to each state of a payment.

use domain::PaymentCommand;
use domain::payments::{PaymentRefusal, PaymentState, PaymentState::*, ProviderAnswer};
use events::payments::{
    PaymentAuthorised, PaymentCaptureRequested, PaymentCaptured, PaymentDeclined, PaymentExpired,
    PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentUnknown, PaymentVoidRequested,
    PaymentVoided, PaymentWaived,
};
use events::{Money, PaymentEvent};

use super::{ID, ada, noon, pounds};

pub const EVERY_STATE: [PaymentState; 12] = [
    Absent, Waived, Requested, Unknown, Declined, Authorised, Capturing, Captured, Voiding, Voided,
    Refunding, Refunded,
];

/// The shortest history that produces the state.
pub fn history(state: PaymentState) -> Vec<PaymentEvent> {
    let then = |before: PaymentState, event: PaymentEvent| {
        let mut events = history(before);
        events.push(event);
        events
    };
    match state {
        Absent => Vec::new(),
        Waived => vec![PaymentWaived { order_id: ID }.into()],
        Requested => vec![requested()],
        Unknown => then(Requested, PaymentUnknown { order_id: ID }.into()),
        Declined => then(Requested, declined()),
        Authorised => then(Requested, authorised()),
        Capturing => then(Authorised, capture_requested()),
        Captured => then(Capturing, captured()),
        Voiding => then(Authorised, void_requested()),
        Voided => then(Voiding, voided()),
        Refunding => then(Captured, refund_requested()),
        Refunded => then(Refunding, refunded()),
    }
}

pub fn every_state_but(left_out: &[PaymentState]) -> impl Iterator<Item = PaymentState> {
    EVERY_STATE.into_iter().filter(|state| !left_out.contains(state))
}

pub fn request(amount: Money) -> PaymentCommand {
    PaymentCommand::RequestPayment { order_id: ID, customer_id: ada(), amount, expires_at: noon() }
}

pub fn expire() -> PaymentCommand {
    PaymentCommand::ExpirePayment { order_id: ID }
}

pub fn cancel() -> PaymentCommand {
    PaymentCommand::CancelPayment { order_id: ID }
}

pub fn capture() -> PaymentCommand {
    PaymentCommand::CapturePayment { order_id: ID }
}

pub fn provider_says(answer: ProviderAnswer) -> PaymentCommand {
    PaymentCommand::RecordAnswer { order_id: ID, answer }
}

pub fn every_answer() -> [ProviderAnswer; 7] {
    [
        ProviderAnswer::Authorised { reference: "ref-1".to_owned() },
        ProviderAnswer::AuthorisedAndCaptured { reference: "ref-1".to_owned() },
        ProviderAnswer::Declined { decline_code: "insufficient_funds".to_owned() },
        ProviderAnswer::NoAnswer,
        ProviderAnswer::Captured,
        ProviderAnswer::Voided,
        ProviderAnswer::Refunded,
    ]
}

pub fn requested() -> PaymentEvent {
    PaymentRequested { order_id: ID, customer_id: ada(), amount: pounds(1800), expires_at: noon() }.into()
}

pub fn authorised() -> PaymentEvent {
    PaymentAuthorised { order_id: ID, provider_reference: "ref-1".to_owned() }.into()
}

pub fn declined() -> PaymentEvent {
    PaymentDeclined { order_id: ID, decline_code: "insufficient_funds".to_owned() }.into()
}

pub fn expired() -> PaymentEvent {
    PaymentExpired { order_id: ID }.into()
}

pub fn capture_requested() -> PaymentEvent {
    PaymentCaptureRequested { order_id: ID, amount: pounds(1800) }.into()
}

pub fn captured() -> PaymentEvent {
    PaymentCaptured { order_id: ID, amount: pounds(1800) }.into()
}

pub fn void_requested() -> PaymentEvent {
    PaymentVoidRequested { order_id: ID }.into()
}

pub fn voided() -> PaymentEvent {
    PaymentVoided { order_id: ID }.into()
}

pub fn refund_requested() -> PaymentEvent {
    PaymentRefundRequested { order_id: ID, amount: pounds(1800) }.into()
}

pub fn refunded() -> PaymentEvent {
    PaymentRefunded { order_id: ID, amount: pounds(1800) }.into()
}

pub fn out_of_story(state: PaymentState, step: &'static str) -> PaymentRefusal {
    PaymentRefusal::InvalidTransition { order_id: ID, state, step }
}
