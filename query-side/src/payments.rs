//! Payments: one row per payment, `GET /v1/payments/{payment_id}`. A payment has the id of its order.
//!
//! A payment may begin with its compensation (a cancellation that was faster than the request): such a row has no customer, currency
//! or amount.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::payments::PaymentRequested;
use events::{Context, ContextName, Currency, Envelope, Event, PaymentEvent, Position, Version};
use projections::http::{Target, WaitQuery};
use projections::{Projection, RowSource};
use runtime::Problem;
use runtime::http::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::params::{NoParams, order_id};
use crate::{App, names, openapi};

pub struct Payments;

/// The current state of a payment.
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
    /// What the provider ever held for us; the next two say what was taken and given back.
    pub authorised_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub decline_code: Option<String>,
    pub provider_reference: Option<String>,
    /// When the order is rejected if the provider has not answered.
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
    const KEY_COLUMN: &'static str = "payment_id";
    const CONTEXTS: &'static [ContextName] = &names([Context::Payments]);
    const SOURCE: RowSource<Row> = RowSource::OneStream(|row| row.version);
    type Events = Event;
    type Event = PaymentEvent;
    type Row = Row;

    fn key(_event: &PaymentEvent, envelope: &Envelope) -> Option<String> {
        events::order_of(&envelope.stream).map(|id| id.to_string())
    }

    fn apply(row: Option<Row>, event: &PaymentEvent, envelope: &Envelope) -> Option<Row> {
        let row = match row {
            Some(row) => row,
            None => empty(events::order_of(&envelope.stream)?.to_string()),
        };
        let row = evolve(row, event);
        Some(Row { version: envelope.version, position: envelope.position, ..row })
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

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The current state of one payment.
#[utoipa::path(
    get, path = "/v1/payments/{payment_id}", operation_id = "show_payment", tag = "payments",
    params(("payment_id" = Uuid, Path), openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The payment"),
        (status = 304, description = "The client has this version"),
        (status = 400, response = openapi::BadRequest), (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::NotYet),
    )
)]
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    WaitQuery { query: NoParams {}, wait }: WaitQuery<NoParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id("payment_id", &id)?;
    let key = id.to_string();
    let target = Target { kind: "payment", key: &key, streams: &[events::payments::stream(id)] };
    app.read_models.show::<Payments>(&headers, &wait, &target, None).await
}
