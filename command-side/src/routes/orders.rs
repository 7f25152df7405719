//! `POST /v1/orders` and `POST /v1/orders/{order_id}/cancel`. The rules on orders are in `domain/src/orders.rs`.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{Order, OrderCommand};
use events::orders::OrderLine;
use events::{Address, Currency, CustomerId, OrderId};
use runtime::Problem;
use runtime::http::Path;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::App;
use crate::execute::{Accepted, PreparedCommand, execute};
use crate::request::fields::{
    FieldProblem, body, instant, integer, integer_from, short_text, string, text, text_schema,
};
use crate::request::{CommandRequest, order_id_in_path};

/// A client's clock may be ahead of ours by this much.
const PLACED_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// The name of the id in a response.
const SUBJECT: &str = "order_id";
const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(place)).routes(routes!(cancel))
}

body! {
    /// The ordered lines, the customer, and the shipping address.
    pub struct PlaceOrder {
        /// The client's id for the order. If absent, the server generates one.
        #[schema(value_type = Option<Uuid>)]
        order_id: Option<OrderId> = optional text,
        #[schema(schema_with = text_schema::<64>)]
        customer_id: CustomerId = required text,
        /// An ISO 4217 code of a currency in circulation.
        #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "GBP")]
        currency: Currency = required text,
        #[schema(min_items = 1, max_items = 2000)]
        lines: Vec<PlaceOrderLine> = list,
        #[schema(schema_with = address_schema)]
        shipping_address: Address = required address,
        /// When the customer ordered, for importing history: 1970 to five minutes from now. If absent: now.
        placed_at: Option<DateTime<Utc>> = optional instant(DateTime::UNIX_EPOCH, Utc::now() + PLACED_AHEAD_MAX),
    }
}

body! {
    /// One line. A SKU may be on several lines, at several prices.
    pub struct PlaceOrderLine {
        #[schema(schema_with = text_schema::<64>)]
        sku: events::Sku = required text,
        #[schema(value_type = i64, minimum = 1, maximum = 1_000_000_000)]
        quantity: events::Quantity = required integer,
        /// In minor units (pence, cents). 0 is a gift.
        #[schema(minimum = 0)]
        unit_price_minor: i64 = required integer_from(0),
    }
}

body! {
    pub struct CancelOrder {
        #[schema(schema_with = text_schema::<REASON_CHARS_MAX>)]
        reason: String = required short_text(REASON_CHARS_MAX),
    }
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

/// The order after the command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: crate::response writes it")]
pub struct OrderAnswer {
    order_id: Uuid,
    #[schema(minimum = 1)]
    version: i32,
    /// The token for the query side's `?after=`.
    #[schema(pattern = "^orders:[0-9]+$", example = "orders:1234")]
    position: String,
}

fn address(value: &Value) -> Result<Address, FieldProblem> {
    let parts = match value {
        Value::Object(parts) => parts,
        Value::String(text) => return checked(Address::Text(text.clone())),
        _ => {
            return Err(FieldProblem::new(
                "must be a string or an object",
                "a string, or an object of strings",
            ));
        }
    };
    let part = |(name, part): (&String, &Value)| match string(part) {
        Ok(text) => Ok((name.clone(), text.to_owned())),
        Err(wrong) => Err(FieldProblem::new(format!("part {name:?} {}", wrong.detail), wrong.allowed)),
    };
    checked(Address::Parts(parts.iter().map(part).collect::<Result<_, _>>()?))
}

fn checked(address: Address) -> Result<Address, FieldProblem> {
    address.check()?;
    Ok(address)
}

/// Place an order
///
/// Accepts the order; stock and payment follow. `GET /v1/orders/{order_id}?wait=settled` on the query side returns its
/// outcome. Without `order_id` the server generates one; repeat with the same `Idempotency-Key` to be sure of one
/// order.
#[utoipa::path(
    post, path = "/v1/orders", tag = "orders", request_body = PlaceOrder,
    responses(
        (status = 201, description = "Placed", body = OrderAnswer, headers(("Location" = String, description = "The order on the query side"))),
        (status = 409, description = "order_already_exists"),
        (status = 422, description = "line_count, line_total_too_large, total_too_large, too_many_pieces"),
    ),
)]
async fn place(State(app): State<App>, request: CommandRequest) -> Response {
    let prepared = request.body().map(placing);
    execute("place_order", &app, &request, prepared).await
}

fn placing(body: PlaceOrder) -> PreparedCommand<Order> {
    let order_id = body.order_id.unwrap_or_else(|| OrderId(Uuid::now_v7()));
    let line = |line: PlaceOrderLine| OrderLine {
        sku: line.sku,
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    };
    PreparedCommand {
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
/// Until the goods are dispatched, compensates the completed steps of the order; the order is cancelled when nothing is
/// held or owed any more. Cancelling an order that is being cancelled changes nothing.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", tag = "orders", request_body = CancelOrder,
    params(("order_id" = Uuid, Path)),
    responses(
        (status = 202, description = "The cancellation has started", body = OrderAnswer),
        (status = 404, description = "order_not_found"),
        (status = 409, description = "order_cannot_be_cancelled"),
    ),
)]
async fn cancel(State(app): State<App>, Path(order_id): Path<String>, request: CommandRequest) -> Response {
    execute("cancel_order", &app, &request, cancelling(&order_id, &request)).await
}

fn cancelling(order_id: &str, request: &CommandRequest) -> Result<PreparedCommand<Order>, Problem> {
    let order_id = order_id_in_path("order_id", order_id)?;
    let CancelOrder { reason } = request.body()?;
    Ok(PreparedCommand {
        command: OrderCommand::CancelOrder { order_id, reason },
        accepted: Accepted {
            status: StatusCode::ACCEPTED,
            subject: SUBJECT,
            id: order_id.to_string(),
            location: None,
        },
    })
}
