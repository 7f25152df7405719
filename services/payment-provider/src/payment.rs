//! A payment, its states, and the request that creates it.

use serde::Serialize;
use strum::{EnumString, IntoStaticStr};
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::value::{Amount, Currency, Customer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, IntoStaticStr, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentState {
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// A payment. One that was voided before its authorisation has only an id and a state.
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

/// The request for an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub payment_id: Uuid,
    pub customer: Customer,
    pub amount: Amount,
    pub currency: Currency,
}

impl PaymentState {
    /// The name in the database and in JSON; also the kind of the ledger entry.
    pub fn name(self) -> &'static str {
        self.into()
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
    /// The acquirer's own id of the payment.
    pub fn reference(&self) -> String {
        format!("acq_{}", self.payment_id.simple())
    }
}

impl From<&Row> for Payment {
    fn from(row: &Row) -> Self {
        Self {
            payment_id: row.get("payment_id"),
            state: row
                .get::<_, &str>("state")
                .parse()
                .expect("the constraint payments_state allows the names alone"),
            reference: row.get("reference"),
            decline_code: row.get("decline_code"),
            customer_id: row.get("customer_id"),
            amount_minor: row.get("amount_minor"),
            currency: row.get("currency"),
        }
    }
}
