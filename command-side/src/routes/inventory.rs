//! `POST /v1/stock/{sku}/register`, `/receive` and `/adjust`.
//!
//! Never: a rule on stock; those are in `domain/src/inventory/stock_item.rs`. Read next: `execute.rs`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{StockCommand, StockItem};
use events::{Quantity, Sku};
use runtime::Problem;
use runtime::http::Path;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::execute::{Accepted, PreparedCommand, execute};
use crate::request::fields::{body, integer, short_text, text_schema, whole_number};
use crate::request::{CommandRequest, sku_in_path};

/// What an answer calls the id of what it is about.
const SUBJECT: &str = "sku";
const REFERENCE_CHARS_MAX: usize = 200;
const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(receive)).routes(routes!(adjust))
}

body! {
    pub struct RegisterSku {}
}

body! {
    pub struct ReceiveStock {
        #[schema(value_type = i64, minimum = 1, maximum = 1_000_000_000)]
        quantity: Quantity = required integer,
        /// The delivery note, for the person who looks later.
        #[schema(min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
        reference: Option<String> = optional short_text(REFERENCE_CHARS_MAX),
    }
}

body! {
    pub struct AdjustStock {
        /// Pieces more, or fewer when below 0. Never 0.
        delta: i64 = required whole_number,
        #[schema(schema_with = text_schema::<REASON_CHARS_MAX>)]
        reason: String = required short_text(REASON_CHARS_MAX),
    }
}

/// Where the stock item stands now.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: crate::response writes it")]
pub struct StockAnswer {
    sku: String,
    #[schema(minimum = 1)]
    version: i32,
    /// What to give the query side as `?after=`.
    #[schema(pattern = "^inventory:[0-9]+$", example = "inventory:1234")]
    position: String,
}

/// Register a SKU
///
/// Makes it known without stock. A SKU that is known stays as it is; the first receipt registers a SKU too.
#[utoipa::path(
    post, path = "/v1/stock/{sku}/register", tag = "stock",
    request_body(content = Option<RegisterSku>, description = "None, null, or an empty object"),
    params(("sku" = String, Path, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")),
    responses((status = 200, description = "Known", body = StockAnswer)),
)]
async fn register(State(app): State<App>, Path(sku): Path<String>, request: CommandRequest) -> Response {
    execute("register_sku", &app, &request, registering(&sku, &request)).await
}

fn registering(sku: &str, request: &CommandRequest) -> Result<PreparedCommand<StockItem>, Problem> {
    let sku = sku_in_path(sku)?;
    let RegisterSku {} = request.body_if_any()?;
    Ok(prepared(&sku, StockCommand::RegisterSku { sku: sku.clone() }))
}

/// Receive stock
///
/// Pieces came in: available grows. Registers the SKU where it is new.
#[utoipa::path(
    post, path = "/v1/stock/{sku}/receive", tag = "stock", request_body = ReceiveStock,
    params(("sku" = String, Path, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")),
    responses(
        (status = 200, description = "Received", body = StockAnswer),
        (status = 409, description = "too_much_stock"),
    ),
)]
async fn receive(State(app): State<App>, Path(sku): Path<String>, request: CommandRequest) -> Response {
    execute("receive_stock", &app, &request, receiving(&sku, &request)).await
}

fn receiving(sku: &str, request: &CommandRequest) -> Result<PreparedCommand<StockItem>, Problem> {
    let sku = sku_in_path(sku)?;
    let ReceiveStock { quantity, reference } = request.body()?;
    Ok(prepared(&sku, StockCommand::ReceiveStock { sku: sku.clone(), quantity, reference }))
}

/// Adjust stock
///
/// Puts a count right. What is reserved or shipped is not touched, so no more can go than is available.
#[utoipa::path(
    post, path = "/v1/stock/{sku}/adjust", tag = "stock", request_body = AdjustStock,
    params(("sku" = String, Path, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")),
    responses(
        (status = 200, description = "Adjusted", body = StockAnswer),
        (status = 404, description = "unknown_sku"),
        (status = 409, description = "not_enough_stock, too_much_stock"),
        (status = 422, description = "nothing_to_adjust"),
    ),
)]
async fn adjust(State(app): State<App>, Path(sku): Path<String>, request: CommandRequest) -> Response {
    execute("adjust_stock", &app, &request, adjusting(&sku, &request)).await
}

fn adjusting(sku: &str, request: &CommandRequest) -> Result<PreparedCommand<StockItem>, Problem> {
    let sku = sku_in_path(sku)?;
    let AdjustStock { delta, reason } = request.body()?;
    Ok(prepared(&sku, StockCommand::AdjustStock { sku: sku.clone(), delta, reason }))
}

fn prepared(sku: &Sku, command: StockCommand) -> PreparedCommand<StockItem> {
    PreparedCommand {
        command,
        accepted: Accepted { status: StatusCode::OK, subject: SUBJECT, id: sku.to_string(), location: None },
    }
}
