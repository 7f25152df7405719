//! Shapes for the OpenAPI document whose own types (in `events` and `runtime`) know nothing of OpenAPI.
//!
//! Never: a value of these types; they describe. Their truth is tested in `tests/suite/openapi.rs`.
//! Read next: `routes/openapi.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{IntoParams, ToResponse, ToSchema};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    Orders,
    Inventory,
    Payments,
    Shipping,
}

#[derive(Serialize, ToSchema)]
pub struct OrderLine {
    #[schema(min_length = 1, max_length = 64)]
    pub sku: String,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub quantity: i64,
    #[schema(minimum = 0)]
    pub unit_price_minor: i64,
}

/// Free text, or named parts.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Address {
    Text(String),
    Parts(BTreeMap<String, String>),
}

/// Why an order was rejected.
#[derive(Serialize, ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Rejection {
    OutOfStock { shortages: Vec<Shortage> },
    PaymentDeclined { decline_code: String },
    PaymentExpired,
}

#[derive(Serialize, ToSchema)]
pub struct Shortage {
    pub sku: String,
    pub wanted: i64,
    pub available: i64,
}

/// RFC 9457. A code may have further members.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Stable: decide by this.
    pub code: String,
    #[schema(required = false)]
    pub detail: String,
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

#[derive(Serialize, ToSchema)]
pub struct FieldError {
    pub field: String,
    pub detail: String,
    #[schema(required = false)]
    pub allowed: String,
}

/// A parameter or header is invalid; the problem names it and the allowed values.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct BadRequest(pub Problem);

/// There is no such thing, or the read model has not heard of it yet.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotFound(pub Problem);

/// The time to wait is over (`not_yet_applied`, `not_settled`), or the service is overloaded; `Retry-After` says when to
/// ask again.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotYet(pub Problem);

/// The read models cannot be reached, or the service is overloaded; `Retry-After` says when to ask again.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Unavailable(pub Problem);

/// `after`, for clients that cannot change the URL.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header")]
pub struct AfterHeader {
    #[param(rename = "X-Tradewind-After", required = false, example = "orders:1234")]
    after: Option<String>,
}
