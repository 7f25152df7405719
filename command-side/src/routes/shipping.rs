//! `POST /v1/shipments/{shipment_id}/dispatch` and `/deliver`. A shipment has its order's id. The rules on shipments
//! are in `domain/src/shipping.rs`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Shipment, ShipmentCommand};
use events::ShipmentId;
use runtime::Problem;
use runtime::http::Path;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::App;
use crate::execute::{Accepted, PreparedCommand, execute};
use crate::request::fields::{body, short_text, text_schema};
use crate::request::{CommandRequest, order_id_in_path};

/// The name of the id in a response.
const SUBJECT: &str = "shipment_id";
const CARRIER_CHARS_MAX: usize = 100;
const TRACKING_CHARS_MAX: usize = 200;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(dispatch)).routes(routes!(deliver))
}

body! {
    pub struct DispatchShipment {
        #[schema(schema_with = text_schema::<CARRIER_CHARS_MAX>)]
        carrier: String = required short_text(CARRIER_CHARS_MAX),
        /// The carrier's tracking number.
        #[schema(schema_with = text_schema::<TRACKING_CHARS_MAX>)]
        tracking: String = required short_text(TRACKING_CHARS_MAX),
    }
}

body! {
    pub struct DeliverShipment {}
}

/// The shipment after the command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: crate::response writes it")]
pub struct ShipmentAnswer {
    shipment_id: Uuid,
    #[schema(minimum = 1)]
    version: i32,
    /// The token for the query side's `?after=`.
    #[schema(pattern = "^shipping:[0-9]+$", example = "shipping:1234")]
    position: String,
}

/// Dispatch a shipment
///
/// Records that the goods were dispatched. From then on the order cannot be cancelled, and the payment is captured. The
/// sagas prepare a shipment once its order is confirmed.
#[utoipa::path(
    post, path = "/v1/shipments/{shipment_id}/dispatch", tag = "shipments", request_body = DispatchShipment,
    params(("shipment_id" = Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, description = "Dispatched", body = ShipmentAnswer),
        (status = 404, description = "shipment_not_found"),
        (status = 409, description = "shipment_wrong_state"),
    ),
)]
async fn dispatch(State(app): State<App>, Path(id): Path<String>, request: CommandRequest) -> Response {
    execute("dispatch_shipment", &app, &request, dispatching(&id, &request)).await
}

fn dispatching(id: &str, request: &CommandRequest) -> Result<PreparedCommand<Shipment>, Problem> {
    let shipment_id = order_id_in_path(SUBJECT, id)?;
    let DispatchShipment { carrier, tracking } = request.body()?;
    Ok(prepared(shipment_id, ShipmentCommand::DispatchShipment { shipment_id, carrier, tracking }))
}

/// Deliver a shipment
///
/// Records that the goods arrived.
#[utoipa::path(
    post, path = "/v1/shipments/{shipment_id}/deliver", tag = "shipments",
    request_body(content = Option<DeliverShipment>, description = "None, null, or an empty object"),
    params(("shipment_id" = Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, description = "Delivered", body = ShipmentAnswer),
        (status = 404, description = "shipment_not_found"),
        (status = 409, description = "shipment_wrong_state"),
    ),
)]
async fn deliver(State(app): State<App>, Path(id): Path<String>, request: CommandRequest) -> Response {
    execute("deliver_shipment", &app, &request, delivering(&id, &request)).await
}

fn delivering(id: &str, request: &CommandRequest) -> Result<PreparedCommand<Shipment>, Problem> {
    let shipment_id = order_id_in_path(SUBJECT, id)?;
    let DeliverShipment {} = request.body_if_any()?;
    Ok(prepared(shipment_id, ShipmentCommand::DeliverShipment { shipment_id }))
}

fn prepared(shipment_id: ShipmentId, command: ShipmentCommand) -> PreparedCommand<Shipment> {
    PreparedCommand {
        command,
        accepted: Accepted {
            status: StatusCode::OK,
            subject: SUBJECT,
            id: shipment_id.to_string(),
            location: None,
        },
    }
}
