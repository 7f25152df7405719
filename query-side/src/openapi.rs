//! `GET /openapi.json`: what is served, for machines. Here are the shapes whose own types (in `events`, `runtime` and `projections`) know
//! nothing of OpenAPI; every other one stands beside its route.
//!
//! Tested against the real answers in `query-side/tests/suite/openapi.rs`.
#![expect(dead_code, reason = "no value of these shapes is made")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, OpenApi, PartialSchema, ToResponse, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tradewind query side",
        description = "Read models of the order platform. Amounts are integer minor units."
    ),
    components(schemas(Problem), responses(BadRequest, NotFound, NotYet, Unavailable))
)]
pub struct Document;

/// `document` with the header that every answer has.
pub fn completed(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a document is plain data");
    for operation in document["paths"].as_object_mut().expect("a document has paths").values_mut() {
        operation["get"]["responses"]["200"]["headers"] = json!({
            "X-Tradewind-Position": {
                "description": "The positions that the answer depends on: `after` of a later request takes them",
                "schema": {"type": "string", "example": "orders:1234,inventory:56"},
            },
        });
    }
    document
}

/// What a request may wait for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitParams {
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(required = false, example = "orders:1234,inventory:56")]
    after: Option<String>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(required = false, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<i64>,
}

/// The name of a context.
pub struct Context;

impl PartialSchema for Context {
    fn schema() -> RefOr<Schema> {
        let names = events::Context::ALL.map(events::Context::name);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for Context {}

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

/// A parameter or header is invalid; the problem names it and what is allowed.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct BadRequest(pub Problem);

/// Not found, or not in the read model yet.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotFound(pub Problem);

/// The time to wait is over (`not_yet_applied`, `not_settled`), or the service is overloaded; `Retry-After` says when to
/// ask again.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotYet(pub Problem);

/// The read models are unavailable, or the service is overloaded; `Retry-After` says when to ask again.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Unavailable(pub Problem);

/// `after`, for clients that cannot change the URL.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct AfterHeader {
    #[param(rename = "X-Tradewind-After", required = false, example = "orders:1234")]
    after: Option<String>,
}
