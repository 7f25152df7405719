//! One row per payment: what `GET /v1/payments/{id}` answers.
//!
//! A payment may begin with its own undoing (a cancellation that was faster than the request): such a row has no
//! customer, currency or amount. Never: what the provider thinks; only what it answered. Read next: [`super::sales`].

use chrono::{DateTime, Utc};
use events::payments::PaymentRequested;
use events::{Context, Currency, Envelope, Event, PaymentEvent, Position, Version};
use fault::mutant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::projection::{FedBy, Projection};

pub struct Payments;

/// A payment as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Payment)]
pub struct Row {
    #[schema(format = Uuid)]
    pub payment_id: String,
    #[schema(format = Uuid)]
    pub order_id: String,
    pub customer_id: Option<String>,
    pub state: PaymentState,
    #[schema(value_type = Option<String>)]
    pub currency: Option<Currency>,
    pub amount_minor: i64,
    /// What the provider ever held for us; what became of it is in the next two.
    pub authorised_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub decline_code: Option<String>,
    pub provider_reference: Option<String>,
    /// When the order is given up if the provider has not answered.
    pub expires_at: Option<DateTime<Utc>>,
    /// The version of the payment's stream; also the `ETag`.
    pub version: Version,
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    Requested,
    Waived,
    Authorised,
    Declined,
    Unknown,
    Expired,
    Capturing,
    Captured,
    Voiding,
    Voided,
    Refunding,
    Refunded,
}

impl Projection for Payments {
    const NAME: &'static str = "payments";
    const TABLE: &'static str = "payments";
    const KEY: &'static str = "payment_id";
    const CONTEXTS: &'static [Context] = &[Context::Payments];
    const FED_BY: FedBy = FedBy::OneStream;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        match event.event {
            Event::Payment(_) => events::order_of(&event.stream).map(|id| id.to_string()),
            Event::Order(_) | Event::StockItem(_) | Event::Reservation(_) | Event::Shipment(_) => None,
        }
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        let Event::Payment(payment_event) = &event.event else { return row };
        let row = match row {
            Some(row) if row.version >= event.version && !mutant!("projector::version_not_checked") => {
                return Some(row);
            }
            Some(row) => row,
            None => empty(events::order_of(&event.stream)?.to_string()),
        };
        let row = evolve(row, payment_event);
        Some(Row { version: event.version, position: event.position, ..row })
    }
}

fn empty(payment_id: String) -> Row {
    Row {
        order_id: payment_id.clone(),
        payment_id,
        customer_id: None,
        state: PaymentState::Requested,
        currency: None,
        amount_minor: 0,
        authorised_minor: 0,
        captured_minor: 0,
        refunded_minor: 0,
        decline_code: None,
        provider_reference: None,
        expires_at: None,
        version: 0,
        position: 0,
    }
}

fn evolve(row: Row, event: &PaymentEvent) -> Row {
    match event {
        PaymentEvent::PaymentRequested(event) => requested(row, event),
        PaymentEvent::PaymentWaived(_) => Row { state: PaymentState::Waived, ..row },
        PaymentEvent::PaymentAuthorised(event) => Row {
            state: PaymentState::Authorised,
            authorised_minor: row.amount_minor,
            provider_reference: Some(event.provider_reference.clone()),
            ..row
        },
        PaymentEvent::PaymentDeclined(event) => {
            Row { state: PaymentState::Declined, decline_code: Some(event.decline_code.clone()), ..row }
        }
        PaymentEvent::PaymentUnknown(_) => Row { state: PaymentState::Unknown, ..row },
        PaymentEvent::PaymentExpired(_) => Row { state: PaymentState::Expired, ..row },
        PaymentEvent::PaymentCaptureRequested(_) => Row { state: PaymentState::Capturing, ..row },
        PaymentEvent::PaymentCaptured(event) => {
            Row { state: PaymentState::Captured, captured_minor: event.amount.amount_minor(), ..row }
        }
        PaymentEvent::PaymentVoidRequested(_) => Row { state: PaymentState::Voiding, ..row },
        PaymentEvent::PaymentVoided(_) => Row { state: PaymentState::Voided, ..row },
        PaymentEvent::PaymentRefundRequested(_) => Row { state: PaymentState::Refunding, ..row },
        PaymentEvent::PaymentRefunded(event) => {
            Row { state: PaymentState::Refunded, refunded_minor: event.amount.amount_minor(), ..row }
        }
    }
}

fn requested(row: Row, event: &PaymentRequested) -> Row {
    Row {
        customer_id: Some(event.customer_id.to_string()),
        state: PaymentState::Requested,
        currency: Some(event.amount.currency()),
        amount_minor: event.amount.amount_minor(),
        expires_at: Some(event.expires_at),
        ..row
    }
}
