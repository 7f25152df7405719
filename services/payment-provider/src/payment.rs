//! A payment as the acquirer sees it: what is asked for, and what became of it.
//!
//! Never: a step; those are in `ledger.rs`, which is what to read next.

use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::value::{Amount, Currency, Customer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// A payment as the books have it. One that was voided before it came has only an id and a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    pub payment_id: Uuid,
    pub state: PaymentState,
    pub reference: Option<String>,
    pub decline_code: Option<String>,
    pub customer_id: Option<String>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
}

/// What an authorisation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub payment_id: Uuid,
    pub customer: Customer,
    pub amount: Amount,
    pub currency: Currency,
}

impl PaymentState {
    const ALL: [Self; 5] = [Self::Authorised, Self::Declined, Self::Captured, Self::Voided, Self::Refunded];

    /// In the database and on the wire; also the kind of the ledger's entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Payment {
    pub fn is_for(&self, request: &Request) -> bool {
        self.customer_id.as_deref() == Some(request.customer.as_str())
            && self.amount_minor == Some(request.amount.minor())
            && self.currency.as_deref() == Some(request.currency.as_str())
    }
}

impl Request {
    /// What the acquirer calls the payment.
    pub fn reference(&self) -> String {
        format!("acq_{}", self.payment_id.simple())
    }
}

impl From<&Row> for Payment {
    fn from(row: &Row) -> Self {
        Self {
            payment_id: row.get("payment_id"),
            state: PaymentState::named(row.get("state"))
                .expect("the constraint payments_state holds the names"),
            reference: row.get("reference"),
            decline_code: row.get("decline_code"),
            customer_id: row.get("customer_id"),
            amount_minor: row.get("amount_minor"),
            currency: row.get("currency"),
        }
    }
}
