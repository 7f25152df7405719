//! The routes: one file per context, all of the same form: bodies, how they are read, handlers.
//!
//! Never: a handler that does more than parse and call `execute`. Read next: `orders.rs`.

pub mod inventory;
pub mod orders;
pub mod shipping;

use axum::routing::get;
use axum::{Json, Router};
use events::Context;
use runtime::{Health, ops_router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::openapi::{self, Document};

/// The routes of one context.
pub type Routes = fn() -> OpenApiRouter<App>;

/// The contexts that take commands over HTTP, each with its routes. Payments has none: only the sagas command it.
pub const ROUTES: [(Context, Routes); 3] = [
    (Context::Orders, orders::router),
    (Context::Inventory, inventory::router),
    (Context::Shipping, shipping::router),
];

/// All routes.
pub fn router(app: App, health: Health) -> Router {
    let all = OpenApiRouter::with_openapi(Document::openapi());
    let (commands, document) =
        ROUTES.iter().fold(all, |all, (_, routes)| all.merge(routes())).split_for_parts();
    let document = openapi::completed(&document);
    commands
        .with_state(app)
        .route("/openapi.json", get(async move || Json(document)))
        .merge(ops_router(health))
}
