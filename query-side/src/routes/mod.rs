//! What the query side answers: one file per resource, each with its query, its route and its body.
//!
//! Never: a write, a command, an answer that is not from a read model. Read next: [`orders`], then
//! [`crate::http::wait`] (how a request sees its own write).

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::http::App;

mod openapi;
mod order_events;
mod orders;
mod payments;
mod processes;
mod sales;
mod stock;

/// Every route of the query side but those of `runtime::ops_router`.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/orders", get(orders::list))
        .route("/v1/orders/{order_id}", get(orders::show))
        .route("/v1/orders/{order_id}/events", get(order_events::list))
        .route("/v1/orders/{order_id}/process", get(processes::show))
        .route("/v1/processes", get(processes::list))
        .route("/v1/stock", get(stock::list))
        .route("/v1/stock/{sku}", get(stock::show))
        .route("/v1/payments/{payment_id}", get(payments::show))
        .route("/v1/sales/daily", get(sales::daily))
        .route("/openapi.json", get(openapi::document))
        .with_state(app)
}
