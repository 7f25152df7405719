//! `GET /v1/stock/{sku}` and `GET /v1/stock`.
//!
//! Never: a promise; what is available now may be reserved by the next order. Read next: [`super::sales`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use events::{Sku, StreamId};
use runtime::Problem;
use runtime::http::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::cursor::{Cursor, SortKey, page};
use crate::http::params::{After, AfterHeader, PAGE_LIMIT_DEFAULT, PageLimit, Pieces, TimeoutMs, sku};
use crate::http::read::One;
use crate::http::wait::{Wait, not_found};
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::stock::{Row, Stock};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

const SELECT_ITEM: &str = "SELECT row_to_json(s) FROM stock s WHERE sku = $1";

/// The stock of one SKU.
#[utoipa::path(
    get, path = "/v1/stock/{sku}", operation_id = "show_stock", tag = "stock",
    params(("sku" = String, Path, min_length = 1, max_length = 64), ShowQuery, schema::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The stock of the SKU"),
        (status = 304, description = "The client has this version"),
        (status = 400, response = schema::BadRequest), (status = 404, response = schema::NotFound),
        (status = 503, response = schema::NotYet),
    )
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    Query(query): Query<ShowQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stream = events::inventory::stock_stream(&sku(&key)?);
    let wait = Wait::of(Stock::NAME, &[stream], (query.after, after), query.timeout_ms)?;
    let found = read::rows(&app, &wait, SELECT_ITEM, &[&key]).await?;
    let One::<Row> { row, position } = found.one(|| not_found("sku", &key))?;
    Ok(reply::versioned(&headers, &position, row.version, &row))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// SKUs of which fewer pieces than this are available.
    #[param(value_type = Option<i64>, minimum = 0)]
    below: Option<Pieces>,
    /// SKUs on one page.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 500, default = 50)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<StockKey>>,
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StockKey {
    sku: Sku,
}

impl SortKey for StockKey {
    const LIST: &'static str = "stock";
}

/// A page of SKUs, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockPage {
    items: Vec<Row>,
    /// None: this is the last page.
    next_cursor: Option<String>,
}

const SELECT_STOCK: &str = "
SELECT row_to_json(s)
FROM stock s
WHERE ($1::bigint IS NULL OR available < $1) AND ($2::text IS NULL OR sku > $2)
ORDER BY sku
LIMIT $3";

/// The stock of all SKUs, by name.
#[utoipa::path(
    get, path = "/v1/stock", operation_id = "list_stock", tag = "stock", params(ListQuery, schema::AfterHeader),
    responses(
        (status = 200, body = StockPage, description = "One page of the stock"),
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
    let wait = Wait::of(Stock::NAME, &[], (query.after, after), query.timeout_ms)?;
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let below = query.below.map(|below| below.0);
    let begin = query.cursor.map(|Cursor(key)| key.sku.to_string());
    let found = read::rows::<Row>(&app, &wait, SELECT_STOCK, &[&below, &begin, &(limit + 1)]).await?;
    let (items, next_cursor) = page(found.rows, limit as usize, |last| StockKey {
        sku: last.sku.parse().expect("a SKU of the read model was accepted once"),
    });
    Ok(reply::digested(&headers, &found.position, &StockPage { items, next_cursor }))
}
