//! `GET /openapi.json`: what is served, for machines.
//!
//! Never: a route here that is not served, or the other way round (`tests/suite/openapi.rs` compares).
//! Read next: [`crate::http::schema`].

use axum::Json;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{order_events, orders, payments, processes, sales, stock};
use crate::http::schema;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tradewind query side",
        description = "Read models of the order platform. Amounts are integer minor units."
    ),
    paths(
        orders::list,
        orders::show,
        order_events::list,
        processes::show,
        processes::list,
        stock::list,
        stock::show,
        payments::show,
        sales::daily,
    ),
    components(
        schemas(schema::Problem),
        responses(schema::BadRequest, schema::NotFound, schema::NotYet, schema::Unavailable)
    )
)]
struct QuerySide;

pub async fn document() -> Json<Value> {
    let mut document = serde_json::to_value(QuerySide::openapi()).expect("a document is plain data");
    for operation in document["paths"].as_object_mut().expect("it has paths").values_mut() {
        operation["get"]["responses"]["200"]["headers"] = json!({
            "X-Tradewind-Position": {
                "description": "How far the answer has come, in each context: `after` of a later request takes it",
                "schema": {"type": "string", "example": "orders:1234,inventory:56"},
            },
        });
    }
    Json(document)
}
