//! `GET /v1/orders/{order_id}` and `GET /v1/orders`.
//!
//! Never: an order in a list with its lines; one order may have thousands. Read next: [`super::order_events`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
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
use crate::http::read::{Enough, Found, One};
use crate::http::wait::{Wait, not_found, not_settled};
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::orders::{OrderStatus, Orders, Row};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// Wait until the order is confirmed, rejected, cancelled, shipped or delivered.
    #[param(inline)]
    wait: Option<WaitFor>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

const SELECT_ORDER: &str = "SELECT row_to_json(o) FROM orders o WHERE order_id = $1";

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
    let waits_for_more = query.wait.is_some();
    let streams = [events::orders::stream(id)];
    let wait = Wait::or_for(Orders::NAME, &streams, (query.after, after), query.timeout_ms, waits_for_more)?;
    let key = id.to_string();
    let enough = |found: &Found<Row>| match (found.rows.first(), query.wait) {
        (Some(row), Some(WaitFor::Settled)) if !row.status.is_settled() => {
            Enough::NotYet(not_settled(&key, "order_status", row.status))
        }
        // An order placed a moment ago may still be on its way here; one that was named by its position is not.
        (None, Some(WaitFor::Settled)) if wait.after.is_none() => Enough::NotYet(not_found("order", &key)),
        _ => Enough::Yes,
    };
    let found = read::rows_when(&app, &wait, Some(&key), SELECT_ORDER, &[&key], enough).await?;
    let One { row, position } = found.one(|| not_found("order", &key))?;
    Ok(reply::versioned(&headers, &position, row.version, &row))
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
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
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
    get, path = "/v1/orders", operation_id = "list_orders", tag = "orders", params(ListQuery, schema::AfterHeader),
    responses(
        (status = 200, body = OrderPage, description = "One page of orders"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = schema::BadRequest), (status = 503, response = schema::Unavailable),
    )
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = Wait::of(Orders::NAME, &[], (query.after, after), query.timeout_ms)?;
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let customer = query.customer_id.as_ref().map(|customer| customer.0.as_str());
    let status = query.status.map(OrderStatus::name);
    let (placed_at, order_id) = match query.cursor {
        Some(Cursor(key)) => (Some(key.placed_at.0), Some(key.order_id.to_string())),
        None => (None, None),
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&customer, &status, &placed_at, &order_id, &(limit + 1)];
    let found = read::rows::<OrderSummary>(&app, &wait, SELECT_SUMMARIES, &params).await?;
    let (items, next_cursor) = page(found.rows, limit as usize, |last| OrderKey {
        placed_at: Moment(last.placed_at),
        order_id: OrderId(last.order_id),
    });
    Ok(reply::digested(&headers, &found.position, &OrderPage { items, next_cursor }))
}
