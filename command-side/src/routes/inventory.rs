//! `POST /v1/stock/{sku}/register`, `/receive` and `/adjust`. The rules on stock are in
//! `domain/src/inventory/stock_item.rs`.

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

/// The name of the id in a response.
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
        /// The delivery note, for later reference.
        #[schema(min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
        reference: Option<String> = optional short_text(REFERENCE_CHARS_MAX),
    }
}

body! {
    pub struct AdjustStock {
        /// The number of pieces to add, or to remove if negative. Never 0.
        delta: i64 = required whole_number,
        #[schema(schema_with = text_schema::<REASON_CHARS_MAX>)]
        reason: String = required short_text(REASON_CHARS_MAX),
    }
}

/// The stock item after the command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: crate::response writes it")]
pub struct StockAnswer {
    sku: String,
    #[schema(minimum = 1)]
    version: i32,
    /// The token for the query side's `?after=`.
    #[schema(pattern = "^inventory:[0-9]+$", example = "inventory:1234")]
    position: String,
}

/// Register a SKU
///
/// Registers the SKU without stock. A known SKU does not change. The first receipt also registers a SKU.
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
/// Adds received pieces to the available ones. Registers the SKU if it is new.
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
/// Corrects a count. Reserved and shipped pieces do not change, so at most the available pieces can be removed.
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
