//! The commands on a payment, its provider calls and their answers, and its refusal.

use chrono::{DateTime, Utc};
use events::{CustomerId, Money, OrderId};

use super::PaymentState;

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum PaymentCommand {
    RequestPayment {
        order_id: OrderId,
        customer_id: CustomerId,
        amount: Money,
        expires_at: DateTime<Utc>,
    },
    /// The provider did not answer before the deadline.
    ExpirePayment {
        order_id: OrderId,
    },
    /// The order is being cancelled: void or refund.
    CancelPayment {
        order_id: OrderId,
    },
    /// The goods were dispatched: capture what is held.
    CapturePayment {
        order_id: OrderId,
    },
    /// The provider's answer to [`Payment::next_provider_call`].
    RecordAnswer {
        order_id: OrderId,
        answer: ProviderAnswer,
    },
}

/// The next call to the provider. Every call is idempotent, keyed by the payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderCall {
    Authorise {
        order_id: OrderId,
        customer_id: CustomerId,
        amount: Money,
    },
    /// Asks for the outcome of an authorisation without an answer. If the provider has never received it, the gateway
    /// authorises now, under the same key: there is one charge even if the lost call still arrives.
    Status {
        order_id: OrderId,
        customer_id: CustomerId,
        amount: Money,
    },
    Capture {
        order_id: OrderId,
    },
    Void {
        order_id: OrderId,
    },
    Refund {
        order_id: OrderId,
    },
}

/// The provider's answer, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderAnswer {
    Authorised {
        reference: String,
    },
    /// Authorised and captured at once: some means of payment have no separate capture.
    AuthorisedAndCaptured {
        reference: String,
    },
    Declined {
        decline_code: String,
    },
    /// The call may or may not have reached the provider.
    NoAnswer,
    Captured,
    Voided,
    Refunded,
}

/// A transition that the process cannot reach: the log contradicts itself. Park the event for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("payment {order_id} is {state:?}: {step} cannot follow")]
    InvalidTransition { order_id: OrderId, state: PaymentState, step: &'static str },
}
