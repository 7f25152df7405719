//! The port to the payment provider, and what its replies mean to a payment.
//!
//! Never: a second charge. Every call is keyed by the payment. A reply that did not come is asked for, and a call that the
//! provider never received is made again under the same key.

use async_trait::async_trait;
use domain::ProviderCall;
use domain::payments::ProviderAnswer;
use events::{CustomerId, Money, OrderId};

/// A payment provider. Every call is idempotent, keyed by the order.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Holds the money (or takes it at once, where the means of payment has no hold).
    async fn authorise(&self, order_id: OrderId, customer_id: &CustomerId, amount: Money) -> Reply;
    /// Takes the money that is held.
    async fn capture(&self, order_id: OrderId) -> Reply;
    /// Releases what is held. Also before anything is held: a later authorisation of the same key is then declined.
    async fn void(&self, order_id: OrderId) -> Reply;
    /// Gives back what was taken.
    async fn refund(&self, order_id: OrderId) -> Reply;
    /// What became of the payment.
    async fn status(&self, order_id: OrderId) -> Reply;
}

pub type Reply = Result<ProviderPayment, ProviderError>;

/// A payment as the provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct ProviderPayment {
    pub state: ProviderState,
    #[serde(default)]
    pub reference: Option<String>,
    #[serde(default)]
    pub decline_code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// Why a call gave no [`ProviderPayment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Certainly not done: the connection was refused, or the provider said that it accepts no calls now.
    #[error("the payment provider is unavailable: {cause}")]
    Unavailable { cause: String },
    /// Perhaps done: the call went out and no answer came in time.
    #[error("the payment provider did not answer: {cause}")]
    NoAnswer { cause: String },
    #[error("the payment provider does not know this payment")]
    NotFound,
    /// Certainly not done, and a repetition will change nothing by itself.
    #[error("the payment provider refused with status {status}, code {code:?}")]
    Refused { status: u16, code: String },
}

/// The code of the refusal to void a payment that is captured.
const ALREADY_CAPTURED: &str = "already_captured";
/// The decline code of a payment that the provider voided by itself.
const VOIDED_BY_PROVIDER: &str = "voided";

/// Makes the call.
pub async fn ask(provider: &dyn PaymentProvider, call: &ProviderCall) -> Reply {
    match call {
        ProviderCall::Authorise { order_id, customer_id, amount } => {
            provider.authorise(*order_id, customer_id, *amount).await
        }
        ProviderCall::Status { order_id, customer_id, amount } => match provider.status(*order_id).await {
            Err(ProviderError::NotFound) => provider.authorise(*order_id, customer_id, *amount).await,
            reply => reply,
        },
        ProviderCall::Capture { order_id } => provider.capture(*order_id).await,
        ProviderCall::Void { order_id } => provider.void(*order_id).await,
        ProviderCall::Refund { order_id } => provider.refund(*order_id).await,
    }
}

/// What a reply means to the payment.
///
/// # Errors
/// It says nothing about the payment, for this reason: the call has to be repeated later.
pub fn answer(call: &ProviderCall, reply: Reply) -> Result<ProviderAnswer, ProviderError> {
    let payment = match (call, reply) {
        (_, Ok(payment)) => payment,
        (ProviderCall::Authorise { .. }, Err(ProviderError::NoAnswer { .. })) => {
            return Ok(ProviderAnswer::NoAnswer);
        }
        (ProviderCall::Void { .. }, Err(ProviderError::Refused { code, .. })) if code == ALREADY_CAPTURED => {
            return Ok(ProviderAnswer::Captured);
        }
        (_, Err(error)) => return Err(error),
    };
    let reference = payment.reference.unwrap_or_default();
    match (call, payment.state) {
        (ProviderCall::Authorise { .. } | ProviderCall::Status { .. }, state) => Ok(match state {
            ProviderState::Authorised => ProviderAnswer::Authorised { reference },
            ProviderState::Captured => ProviderAnswer::AuthorisedAndCaptured { reference },
            ProviderState::Declined | ProviderState::Voided | ProviderState::Refunded => {
                let decline_code = payment.decline_code.unwrap_or_else(|| VOIDED_BY_PROVIDER.to_owned());
                ProviderAnswer::Declined { decline_code }
            }
        }),
        (ProviderCall::Capture { .. }, ProviderState::Captured) => Ok(ProviderAnswer::Captured),
        // Nothing is held and nothing is taken, in whichever way it came to this.
        (
            ProviderCall::Void { .. },
            ProviderState::Voided | ProviderState::Declined | ProviderState::Refunded,
        ) => Ok(ProviderAnswer::Voided),
        (ProviderCall::Void { .. }, ProviderState::Captured) => Ok(ProviderAnswer::Captured),
        (ProviderCall::Refund { .. }, ProviderState::Refunded) => Ok(ProviderAnswer::Refunded),
        (ProviderCall::Capture { .. } | ProviderCall::Void { .. } | ProviderCall::Refund { .. }, state) => {
            Err(ProviderError::Refused { status: 200, code: format!("still {state:?}") })
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::nil());

    fn reply(state: ProviderState) -> Reply {
        Ok(ProviderPayment { state, reference: None, decline_code: None })
    }

    #[test]
    fn a_reply_that_does_not_answer_the_call_says_nothing() {
        let capture = ProviderCall::Capture { order_id: ORDER };
        let void = ProviderCall::Void { order_id: ORDER };
        let refund = ProviderCall::Refund { order_id: ORDER };
        for (call, state) in [
            (capture, ProviderState::Authorised),
            (void, ProviderState::Authorised),
            (refund, ProviderState::Captured),
        ] {
            let meaning = answer(&call, reply(state));
            assert!(matches!(meaning, Err(ProviderError::Refused { .. })), "{call:?}: {meaning:?}");
        }
    }

    #[test]
    fn only_an_authorisation_that_is_not_answered_makes_the_outcome_unknown() {
        let lost = || Err(ProviderError::NoAnswer { cause: "timed out".to_owned() });
        let authorise = ProviderCall::Authorise {
            order_id: ORDER,
            customer_id: "ada".parse().expect("a customer"),
            amount: Money::zero("GBP".parse().expect("a currency")),
        };
        assert_eq!(answer(&authorise, lost()), Ok(ProviderAnswer::NoAnswer));
        let down = ProviderError::Unavailable { cause: "connection refused".to_owned() };
        assert_eq!(answer(&authorise, Err(down.clone())), Err(down));
        assert!(answer(&ProviderCall::Void { order_id: ORDER }, lost()).is_err());
    }

    #[test]
    fn a_void_that_comes_too_late_says_that_the_money_was_taken() {
        let refused = ProviderError::Refused { status: 409, code: ALREADY_CAPTURED.to_owned() };
        let void = ProviderCall::Void { order_id: ORDER };
        assert_eq!(answer(&void, Err(refused.clone())), Ok(ProviderAnswer::Captured));
        let capture = ProviderCall::Capture { order_id: ORDER };
        assert_eq!(answer(&capture, Err(refused.clone())), Err(refused));
    }
}
