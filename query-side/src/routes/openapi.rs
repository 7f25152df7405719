//! `GET /openapi.json`: what is served, for machines.
//!
//! Never: a route here that is not served, or the other way round (`tests/openapi.rs` compares).
//! Read next: [`crate::http::schema`].

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

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

pub async fn document() -> Json<Document> {
    Json(QuerySide::openapi())
}
