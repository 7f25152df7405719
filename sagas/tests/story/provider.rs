//! The payment provider as its contract says, in memory: one ledger entry per payment, every call idempotent. The world loses,
//! delays and repeats the calls.

use std::collections::BTreeMap;

use domain::ProviderCall;
use events::{Money, OrderId};
use sagas::payments::{ProviderError, ProviderPayment, ProviderState, Reply};

/// What the provider does with a first authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Behaviour {
    Approve,
    Decline,
    CaptureAtOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    pub state: ProviderState,
    pub charged_minor: i64,
}

#[derive(Debug, Clone)]
pub struct Provider {
    pub behaviour: Behaviour,
    pub ledger: BTreeMap<OrderId, Entry>,
}

impl Provider {
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, ledger: BTreeMap::new() }
    }

    /// Money that is held or was taken and not given back.
    pub fn owns(&self, order_id: OrderId) -> i64 {
        self.ledger.get(&order_id).map_or(0, |entry| match entry.state {
            ProviderState::Authorised | ProviderState::Captured => entry.charged_minor,
            ProviderState::Declined | ProviderState::Voided | ProviderState::Refunded => 0,
        })
    }

    pub fn serve(&mut self, call: &ProviderCall) -> Reply {
        use ProviderState::{Authorised, Captured, Declined, Refunded, Voided};
        let state_of = |provider: &Self, order_id| provider.ledger.get(&order_id).map(|entry| entry.state);
        match call {
            ProviderCall::Authorise { order_id, amount, .. } => match state_of(self, *order_id) {
                None => {
                    let state = match self.behaviour {
                        Behaviour::Approve => Authorised,
                        Behaviour::Decline => Declined,
                        Behaviour::CaptureAtOnce => Captured,
                    };
                    Ok(self.charge(*order_id, *amount, state))
                }
                Some(Voided) => Ok(payment(Declined)),
                Some(state) => Ok(payment(state)),
            },
            ProviderCall::Status { order_id, customer_id, amount } => match state_of(self, *order_id) {
                Some(state) => Ok(payment(state)),
                None => self.serve(&ProviderCall::Authorise {
                    order_id: *order_id,
                    customer_id: customer_id.clone(),
                    amount: *amount,
                }),
            },
            ProviderCall::Capture { order_id } => match state_of(self, *order_id) {
                Some(Authorised | Captured) => Ok(self.turn(*order_id, Captured)),
                _ => Err(refused("not_authorised")),
            },
            ProviderCall::Void { order_id } => match state_of(self, *order_id) {
                None | Some(Authorised | Voided) => Ok(self.turn(*order_id, Voided)),
                Some(Declined) => Ok(payment(Declined)),
                Some(Captured | Refunded) => Err(refused("already_captured")),
            },
            ProviderCall::Refund { order_id } => match state_of(self, *order_id) {
                Some(Captured | Refunded) => Ok(self.turn(*order_id, Refunded)),
                _ => Err(refused("not_captured")),
            },
        }
    }

    fn charge(&mut self, order_id: OrderId, amount: Money, state: ProviderState) -> ProviderPayment {
        self.ledger.insert(order_id, Entry { state, charged_minor: amount.amount_minor() });
        payment(state)
    }

    fn turn(&mut self, order_id: OrderId, state: ProviderState) -> ProviderPayment {
        self.ledger.entry(order_id).or_insert(Entry { state, charged_minor: 0 }).state = state;
        payment(state)
    }
}

fn payment(state: ProviderState) -> ProviderPayment {
    ProviderPayment { state, reference: Some("ref".to_owned()), decline_code: None }
}

fn refused(code: &str) -> ProviderError {
    ProviderError::Refused { status: 409, code: code.to_owned() }
}
