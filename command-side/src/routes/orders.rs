//! `POST /v1/orders` and `POST /v1/orders/{order_id}/cancel`.
//!
//! Never: a rule on orders; those are in `domain/src/orders.rs`. Read next: `answer.rs`.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{Order, OrderCommand};
use events::orders::OrderLine;
use events::{Address, Currency, CustomerId, OrderId, StreamId};
use runtime::Problem;
use runtime::http::Path;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::answer::{Accepted, Intent, carry_out};
use crate::app::App;
use crate::request::fields::{Body, Fields, Wrong, instant, integer, integer_from, short_text, string, text};
use crate::request::{CommandRequest, order_id_in_path};

/// A shop's clock may be ahead of ours by this much.
const PLACED_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// What an answer calls the id of what it is about.
const SUBJECT: &str = "order_id";
const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(place)).routes(routes!(cancel))
}

/// What is wanted, by whom, and where it goes.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// The client's own id for the order; absent: the server makes one.
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    customer_id: CustomerId,
    /// An ISO 4217 code of a currency in circulation.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "GBP")]
    currency: Currency,
    #[schema(min_items = 1, max_items = 2000)]
    lines: Vec<PlaceOrderLine>,
    #[schema(schema_with = address_schema)]
    shipping_address: Address,
    /// When the customer ordered, for importing history: 1970 to five minutes from now. Absent: now.
    placed_at: Option<DateTime<Utc>>,
}

/// One line. A SKU may stand on several, at several prices.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrderLine {
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    sku: events::Sku,
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000_000)]
    quantity: events::Quantity,
    /// In minor units (pence, cents). 0 is a gift.
    #[schema(minimum = 0)]
    unit_price_minor: i64,
}

/// Free text, or named parts: `events::Address`, which knows no OpenAPI.
fn address_schema() -> OneOfBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(500));
    let parts = ObjectBuilder::new()
        .min_properties(Some(1))
        .max_properties(Some(20))
        .additional_properties(Some(text()));
    OneOfBuilder::new().item(text()).item(parts)
}

#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    #[schema(min_length = 1, max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: String,
}

/// Where the order stands now.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: crate::answer writes it")]
pub struct OrderAnswer {
    order_id: Uuid,
    #[schema(minimum = 1)]
    version: i32,
    /// What to give the query side as `?after=`.
    #[schema(pattern = "^orders:[0-9]+$", example = "orders:1234")]
    position: String,
}

impl Body for PlaceOrder {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let order_id = fields.optional("order_id", text);
        let customer_id = fields.required("customer_id", text);
        let currency = fields.required("currency", text);
        let lines = fields.list("lines");
        let shipping_address = fields.required("shipping_address", address);
        let placed_at =
            fields.optional("placed_at", instant(DateTime::UNIX_EPOCH, Utc::now() + PLACED_AHEAD_MAX));
        Some(Self {
            order_id: order_id?,
            customer_id: customer_id?,
            currency: currency?,
            lines: lines?,
            shipping_address: shipping_address?,
            placed_at: placed_at?,
        })
    }
}

impl Body for PlaceOrderLine {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let sku = fields.required("sku", text);
        let quantity = fields.required("quantity", integer);
        let unit_price_minor = fields.required("unit_price_minor", integer_from(0));
        Some(Self { sku: sku?, quantity: quantity?, unit_price_minor: unit_price_minor? })
    }
}

impl Body for CancelOrder {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { reason: fields.required("reason", short_text(REASON_CHARS_MAX))? })
    }
}

fn address(value: &Value) -> Result<Address, Wrong> {
    let parts = match value {
        Value::Object(parts) => parts,
        Value::String(text) => return checked(Address::Text(text.clone())),
        _ => return Err(Wrong::new("must be a string or an object", "a string, or an object of strings")),
    };
    let part = |(name, part): (&String, &Value)| match string(part) {
        Ok(text) => Ok((name.clone(), text.to_owned())),
        Err(wrong) => Err(Wrong::new(format!("part {name:?} {}", wrong.detail), wrong.allowed)),
    };
    checked(Address::Parts(parts.iter().map(part).collect::<Result<_, _>>()?))
}

fn checked(address: Address) -> Result<Address, Wrong> {
    address.check()?;
    Ok(address)
}

/// Place an order
///
/// Accepts the order; stock and payment follow. `GET /v1/orders/{order_id}?wait=settled` on the query side tells how it
/// ended. Without `order_id` the server makes one; repeat with the same `Idempotency-Key` to be sure of one order.
#[utoipa::path(
    post, path = "/v1/orders", tag = "orders", request_body = PlaceOrder,
    responses(
        (status = 201, description = "Placed", body = OrderAnswer, headers(("Location" = String, description = "Of the order on the query side"))),
        (status = 409, description = "order_already_exists"),
        (status = 422, description = "line_count, line_total_too_large, total_too_large, too_many_pieces"),
    ),
)]
async fn place(State(app): State<App>, request: CommandRequest) -> Response {
    let intent = request.body().map(placing);
    carry_out("place_order", &app.orders, &request, intent).await
}

fn placing(body: PlaceOrder) -> Intent<Order> {
    let order_id = body.order_id.unwrap_or_else(|| OrderId(Uuid::now_v7()));
    let line = |line: PlaceOrderLine| OrderLine {
        sku: line.sku,
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    };
    Intent {
        stream: events::orders::stream(order_id),
        command: OrderCommand::PlaceOrder {
            order_id,
            customer_id: body.customer_id,
            currency: body.currency,
            lines: body.lines.into_iter().map(line).collect(),
            shipping_address: body.shipping_address,
            placed_at: body.placed_at.unwrap_or_else(Utc::now),
        },
        accepted: Accepted {
            status: StatusCode::CREATED,
            subject: SUBJECT,
            id: order_id.to_string(),
            location: Some("/v1/orders/"),
        },
    }
}

/// Cancel an order
///
/// Before the goods have left: what was done for the order is undone, and the order is cancelled when nothing is held or
/// owed any more. Cancelling an order that is being cancelled changes nothing.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", tag = "orders", request_body = CancelOrder,
    params(("order_id" = Uuid, Path)),
    responses(
        (status = 202, description = "The cancellation is under way", body = OrderAnswer),
        (status = 404, description = "order_not_found"),
        (status = 409, description = "order_cannot_be_cancelled"),
    ),
)]
async fn cancel(State(app): State<App>, Path(order_id): Path<String>, request: CommandRequest) -> Response {
    carry_out("cancel_order", &app.orders, &request, cancelling(&order_id, &request)).await
}

fn cancelling(order_id: &str, request: &CommandRequest) -> Result<Intent<Order>, Problem> {
    let order_id = order_id_in_path("order_id", order_id)?;
    let CancelOrder { reason } = request.body()?;
    Ok(Intent {
        stream: events::orders::stream(order_id),
        command: OrderCommand::CancelOrder { order_id, reason },
        accepted: Accepted {
            status: StatusCode::ACCEPTED,
            subject: SUBJECT,
            id: order_id.to_string(),
            location: None,
        },
    })
}
