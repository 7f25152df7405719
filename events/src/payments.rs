//! The events of Payments: what can happen to the payment of an order. The rules are in `domain/src/payments.rs`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use event_log::{StreamId, event_enum};

use crate::money::Money;
use crate::value::{CustomerId, OrderId};

event_enum! {
    /// The events of the stream `payment-<order uuid>`.
    pub enum PaymentEvent {
        PaymentRequested = 1,
        PaymentWaived = 1,
        PaymentAuthorised = 1,
        PaymentDeclined = 1,
        PaymentUnknown = 1,
        PaymentExpired = 1,
        PaymentCaptureRequested = 1,
        PaymentCaptured = 1,
        PaymentVoidRequested = 1,
        PaymentVoided = 1,
        PaymentRefundRequested = 1,
        PaymentRefunded = 1,
    }
}

/// The stream of the order's payment.
pub fn stream(id: OrderId) -> StreamId {
    StreamId::new("payment", id)
}

/// The payment was requested. If the provider has not answered by `expires_at`, the order is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequested {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub amount: Money,
    pub expires_at: DateTime<Utc>,
}

/// Nothing is due (the order's total is 0): the provider is never called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentWaived {
    pub order_id: OrderId,
}

/// The provider holds the money for us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorised {
    pub order_id: OrderId,
    pub provider_reference: String,
}

/// The provider refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDeclined {
    pub order_id: OrderId,
    pub decline_code: String,
}

/// The provider did not answer in time: it may or may not hold the money. The gateway asks for the status; it never
/// repeats the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentUnknown {
    pub order_id: OrderId,
}

/// The deadline passed without an answer. Whatever the provider may hold is voided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentExpired {
    pub order_id: OrderId,
}

/// The goods were dispatched: the held money is to be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptureRequested {
    pub order_id: OrderId,
    pub amount: Money,
}

/// The money was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    pub order_id: OrderId,
    pub amount: Money,
}

/// Whatever the provider holds is to be voided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoidRequested {
    pub order_id: OrderId,
}

/// Nothing is held, and nothing was captured. Also if the payment was never requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    pub order_id: OrderId,
}

/// Captured money is to be refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundRequested {
    pub order_id: OrderId,
    pub amount: Money,
}

/// The money was refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub order_id: OrderId,
    pub amount: Money,
}
