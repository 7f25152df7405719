//! The routes: one file for each thing that commands go to, all of one form: bodies, how they are read, handlers.
//!
//! Never: a handler that does more than parse and hand on to `answer::carry_out`. Read next: `orders.rs`.

pub mod orders;
pub mod shipments;
pub mod stock;

use axum::routing::get;
use axum::{Json, Router};
use runtime::{Health, ops_router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::openapi::{self, Document};

/// Everything that is served.
pub fn router(app: App, health: Health) -> Router {
    let (commands, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(orders::router())
        .merge(stock::router())
        .merge(shipments::router())
        .split_for_parts();
    let document = openapi::completed(&document);
    commands
        .with_state(app)
        .route("/openapi.json", get(async move || Json(document)))
        .merge(ops_router(health))
}
