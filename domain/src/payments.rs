//! The rules of an order's payment, and the call that the provider needs next.
//!
//! The provider never gets two charges for one amount: every call is keyed by the payment, and after a missing answer
//! the gateway asks for the status ([`ProviderCall::Status`]) instead of charging again. A cancellation may arrive
//! before the request that it undoes. It then leaves a tombstone, and nothing is ever charged.

mod commands;

pub use commands::{PaymentCommand, PaymentRefusal, ProviderAnswer, ProviderCall};
use event_log::{Aggregate, State, StreamId};
use events::payments::{
    PaymentAuthorised, PaymentCaptureRequested, PaymentCaptured, PaymentDeclined, PaymentExpired,
    PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentUnknown, PaymentVoidRequested,
    PaymentVoided, PaymentWaived,
};
use events::{Money, OrderId, PaymentEvent};

/// The payment of one order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payment {
    state: PaymentState,
    request: Option<PaymentRequested>,
}

/// The state of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PaymentState {
    #[default]
    Absent,
    Waived,
    Requested,
    /// The provider did not answer; it may hold the money.
    Unknown,
    Declined,
    Authorised,
    Capturing,
    Captured,
    /// Whatever the provider holds is being voided.
    Voiding,
    Voided,
    Refunding,
    Refunded,
}

impl Payment {
    pub fn state(&self) -> PaymentState {
        self.state
    }

    pub fn request(&self) -> Option<&PaymentRequested> {
        self.request.as_ref()
    }

    /// The call that the provider needs now; none if the payment waits for nothing from it.
    pub fn next_provider_call(&self) -> Option<ProviderCall> {
        let request = self.request.as_ref()?;
        let (order_id, customer_id, amount) = (request.order_id, request.customer_id.clone(), request.amount);
        match self.state {
            PaymentState::Requested => Some(ProviderCall::Authorise { order_id, customer_id, amount }),
            PaymentState::Unknown => Some(ProviderCall::Status { order_id, customer_id, amount }),
            PaymentState::Capturing => Some(ProviderCall::Capture { order_id }),
            PaymentState::Voiding => Some(ProviderCall::Void { order_id }),
            PaymentState::Refunding => Some(ProviderCall::Refund { order_id }),
            PaymentState::Absent
            | PaymentState::Waived
            | PaymentState::Declined
            | PaymentState::Authorised
            | PaymentState::Captured
            | PaymentState::Voided
            | PaymentState::Refunded => None,
        }
    }

    fn amount(&self) -> Money {
        self.request.as_ref().expect("a payment past its request has an amount").amount
    }

    fn cancel(&self, order_id: OrderId) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        match self.state {
            PaymentState::Absent | PaymentState::Waived => Ok(vec![PaymentVoided { order_id }.into()]),
            PaymentState::Requested | PaymentState::Unknown | PaymentState::Authorised => {
                Ok(vec![PaymentVoidRequested { order_id }.into()])
            }
            PaymentState::Captured => {
                Ok(vec![PaymentRefundRequested { order_id, amount: self.amount() }.into()])
            }
            PaymentState::Declined
            | PaymentState::Voiding
            | PaymentState::Voided
            | PaymentState::Refunding
            | PaymentState::Refunded => Ok(Vec::new()),
            PaymentState::Capturing => Err(self.invalid_transition(order_id, "a cancellation")),
        }
    }

    fn capture(&self, order_id: OrderId) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        match self.state {
            PaymentState::Authorised => {
                Ok(vec![PaymentCaptureRequested { order_id, amount: self.amount() }.into()])
            }
            PaymentState::Waived | PaymentState::Capturing | PaymentState::Captured => Ok(Vec::new()),
            PaymentState::Absent
            | PaymentState::Requested
            | PaymentState::Unknown
            | PaymentState::Declined
            | PaymentState::Voiding
            | PaymentState::Voided
            | PaymentState::Refunding
            | PaymentState::Refunded => Err(self.invalid_transition(order_id, "a capture")),
        }
    }

    fn expire(&self, order_id: OrderId) -> Vec<PaymentEvent> {
        match self.state {
            PaymentState::Requested | PaymentState::Unknown => {
                vec![PaymentExpired { order_id }.into(), PaymentVoidRequested { order_id }.into()]
            }
            PaymentState::Absent
            | PaymentState::Waived
            | PaymentState::Declined
            | PaymentState::Authorised
            | PaymentState::Capturing
            | PaymentState::Captured
            | PaymentState::Voiding
            | PaymentState::Voided
            | PaymentState::Refunding
            | PaymentState::Refunded => Vec::new(),
        }
    }

    /// An answer only counts for the call that is open. A late answer changes nothing, because the call that is open by
    /// then ([`ProviderCall::Void`]) undoes its effect.
    fn record(&self, order_id: OrderId, answer: ProviderAnswer) -> Vec<PaymentEvent> {
        match (self.state, answer) {
            (PaymentState::Requested | PaymentState::Unknown, ProviderAnswer::Authorised { reference }) => {
                vec![PaymentAuthorised { order_id, provider_reference: reference }.into()]
            }
            (
                PaymentState::Requested | PaymentState::Unknown,
                ProviderAnswer::AuthorisedAndCaptured { reference },
            ) => vec![
                PaymentAuthorised { order_id, provider_reference: reference }.into(),
                PaymentCaptured { order_id, amount: self.amount() }.into(),
            ],
            (PaymentState::Requested | PaymentState::Unknown, ProviderAnswer::Declined { decline_code }) => {
                vec![PaymentDeclined { order_id, decline_code }.into()]
            }
            (PaymentState::Requested, ProviderAnswer::NoAnswer) => vec![PaymentUnknown { order_id }.into()],
            (PaymentState::Capturing, ProviderAnswer::Captured) => {
                vec![PaymentCaptured { order_id, amount: self.amount() }.into()]
            }
            (PaymentState::Voiding, ProviderAnswer::Voided) => vec![PaymentVoided { order_id }.into()],
            // The money to void was captured already: refund it.
            (PaymentState::Voiding, ProviderAnswer::Captured) => vec![
                PaymentCaptured { order_id, amount: self.amount() }.into(),
                PaymentRefundRequested { order_id, amount: self.amount() }.into(),
            ],
            (PaymentState::Refunding, ProviderAnswer::Refunded) => {
                vec![PaymentRefunded { order_id, amount: self.amount() }.into()]
            }
            (_, _) => Vec::new(),
        }
    }

    fn invalid_transition(&self, order_id: OrderId, step: &'static str) -> PaymentRefusal {
        PaymentRefusal::InvalidTransition { order_id, state: self.state, step }
    }
}

impl State for Payment {
    type Event = PaymentEvent;

    const CATEGORY: &'static str = "payment";

    fn evolve(self, event: &PaymentEvent) -> Self {
        let state = match event {
            PaymentEvent::PaymentRequested(event) => {
                return Self { state: PaymentState::Requested, request: Some(event.clone()) };
            }
            PaymentEvent::PaymentWaived(_) => PaymentState::Waived,
            PaymentEvent::PaymentAuthorised(_) => PaymentState::Authorised,
            PaymentEvent::PaymentDeclined(_) => PaymentState::Declined,
            PaymentEvent::PaymentUnknown(_) => PaymentState::Unknown,
            // The void request follows in the same append.
            PaymentEvent::PaymentExpired(_) => PaymentState::Voiding,
            PaymentEvent::PaymentCaptureRequested(_) => PaymentState::Capturing,
            PaymentEvent::PaymentCaptured(_) => PaymentState::Captured,
            PaymentEvent::PaymentVoidRequested(_) => PaymentState::Voiding,
            PaymentEvent::PaymentVoided(_) => PaymentState::Voided,
            PaymentEvent::PaymentRefundRequested(_) => PaymentState::Refunding,
            PaymentEvent::PaymentRefunded(_) => PaymentState::Refunded,
        };
        Self { state, ..self }
    }
}

impl Aggregate for Payment {
    type Command = PaymentCommand;
    type Refusal = PaymentRefusal;

    fn stream(command: &PaymentCommand) -> StreamId {
        let (PaymentCommand::RequestPayment { order_id, .. }
        | PaymentCommand::ExpirePayment { order_id }
        | PaymentCommand::CancelPayment { order_id }
        | PaymentCommand::CapturePayment { order_id }
        | PaymentCommand::RecordAnswer { order_id, .. }) = command;
        events::payments::stream(*order_id)
    }

    fn decide(&self, command: &PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        match command.clone() {
            PaymentCommand::RequestPayment { order_id, customer_id, amount, expires_at } => {
                Ok(match self.state {
                    PaymentState::Absent if amount.is_zero() => vec![PaymentWaived { order_id }.into()],
                    PaymentState::Absent => {
                        vec![PaymentRequested { order_id, customer_id, amount, expires_at }.into()]
                    }
                    // Already requested, or cancelled before it was requested.
                    _ => Vec::new(),
                })
            }
            PaymentCommand::ExpirePayment { order_id } => Ok(self.expire(order_id)),
            PaymentCommand::CancelPayment { order_id } => self.cancel(order_id),
            PaymentCommand::CapturePayment { order_id } => self.capture(order_id),
            PaymentCommand::RecordAnswer { order_id, answer } => Ok(self.record(order_id, answer)),
        }
    }
}
