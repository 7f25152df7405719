//! `GET /v1/orders/{order_id}` and `GET /v1/orders`.
//!
//! Never: an order in a list with its lines; one order may have thousands. Read next: [`super::order_events`].

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::{OrderId, StreamId};
use runtime::Problem;
use runtime::http::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::cursor::{Cursor, Moment, SortKey, page};
use crate::http::params::{
    After, AfterHeader, Customer, PAGE_LIMIT_DEFAULT, PageLimit, TimeoutMs, WaitFor, order_id,
};
use crate::http::wait::{ReadYourWrite, not_found, timeout, until};
use crate::http::{App, failure, reply, schema};
use crate::projection::Projection;
use crate::projections::orders::{OrderStatus, Orders, Row};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until this position of the order is applied: `position` of a command's answer.
    #[param(value_type = Option<String>, example = "orders:1234")]
    after: Option<After>,
    /// Wait until the order is confirmed, rejected, cancelled, shipped or delivered.
    #[param(inline)]
    wait: Option<WaitFor>,
    /// How long to wait at most; 5000 where it is absent. Allowed only with `after` or `wait`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

/// One order as it stands.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", operation_id = "show_order", tag = "orders",
    params(("order_id" = Uuid, Path), ShowQuery, schema::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The order"),
        (status = 304, description = "The client has this version"),
        (status = 400, response = schema::BadRequest), (status = 404, response = schema::NotFound),
        (status = 503, response = schema::NotYet),
    )
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id("order_id", &id)?;
    let after = ReadYourWrite::of(Orders::NAME, &[StreamId::order(id)], query.after, after)?;
    let timeout = timeout(query.timeout_ms, after.is_some() || query.wait.is_some())?;
    let key = id.to_string();
    let row = until(&app, Orders::NAME, &key, timeout, async || {
        if let Some(after) = &after
            && !after.is_applied(&app).await?
        {
            return Ok(ControlFlow::Continue(after.not_yet()));
        }
        let row: Option<Row> =
            failure::row(&app.pool, "SELECT row_to_json(o) FROM orders o WHERE order_id = $1", &[&key])
                .await?;
        Ok(match (row, query.wait) {
            (Some(row), Some(WaitFor::Settled)) if !row.status.is_settled() => {
                ControlFlow::Continue(not_settled(&row))
            }
            (Some(row), _) => ControlFlow::Break(row),
            // An order placed a moment ago may still be on its way here.
            (None, Some(WaitFor::Settled)) => ControlFlow::Continue(not_found("order", &key)),
            (None, None) => return Err(not_found("order", &key)),
        })
    })
    .await?;
    Ok(reply::versioned(&headers, row.version, &row))
}

fn not_settled(row: &Row) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_settled", "The order has no outcome yet")
        .detail(format!("order {} is {} and the time to wait is over", row.order_id, row.status.name()))
        .with("order_status", row.status)
        .retry_after(std::time::Duration::from_secs(1))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Orders of this customer alone.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64)]
    customer_id: Option<Customer>,
    /// Orders of this status alone.
    status: Option<OrderStatus>,
    /// Orders on one page.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 500, default = 50)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<OrderKey>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OrderKey {
    placed_at: Moment,
    order_id: OrderId,
}

impl SortKey for OrderKey {
    const LIST: &'static str = "orders";
}

/// A page of orders, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPage {
    items: Vec<OrderSummary>,
    /// None: this is the last page.
    next_cursor: Option<String>,
}

/// An order without its lines and its address.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderSummary {
    order_id: Uuid,
    customer_id: String,
    status: OrderStatus,
    currency: String,
    line_count: i64,
    total_minor: i64,
    placed_at: DateTime<Utc>,
    version: i32,
    position: i64,
}

const SELECT_SUMMARIES: &str = "
SELECT json_build_object(
    'order_id', order_id, 'customer_id', customer_id, 'status', status, 'currency', currency,
    'line_count', jsonb_array_length(lines), 'total_minor', total_minor, 'placed_at', placed_at,
    'version', version, 'position', position)
FROM orders
WHERE ($1::text IS NULL OR customer_id = $1) AND ($2::text IS NULL OR status = $2)
    AND ($3::timestamptz IS NULL OR (placed_at, order_id) < ($3, $4::text))
ORDER BY placed_at DESC, order_id DESC
LIMIT $5";

/// Orders, the latest first.
#[utoipa::path(
    get, path = "/v1/orders", operation_id = "list_orders", tag = "orders", params(ListQuery),
    responses(
        (status = 200, body = OrderPage, description = "One page of orders"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = schema::BadRequest), (status = 503, response = schema::Unavailable),
    )
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let customer = query.customer_id.as_ref().map(|customer| customer.0.as_str());
    let status = query.status.map(OrderStatus::name);
    let (placed_at, order_id) = match query.cursor {
        Some(Cursor(key)) => (Some(key.placed_at.0), Some(key.order_id.to_string())),
        None => (None, None),
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&customer, &status, &placed_at, &order_id, &(limit + 1)];
    let summaries: Vec<OrderSummary> = failure::rows(&app.pool, SELECT_SUMMARIES, &params).await?;
    let (items, next_cursor) = page(summaries, limit as usize, |last| OrderKey {
        placed_at: Moment(last.placed_at),
        order_id: OrderId(last.order_id),
    });
    Ok(reply::digested(&headers, &OrderPage { items, next_cursor }))
}
