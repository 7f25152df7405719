//! `GET /v1/orders/{order_id}/events`: everything that happened to an order, in all contexts.
//!
//! In the order of time; where clocks agree to the microsecond, by context and position.
//! Never: an event edited or left out. Read next: [`super::processes`], which says what it means.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use events::{Context, OrderId, Position, StreamId};
use runtime::Problem;
use runtime::http::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::cursor::{Cursor, Moment, SortKey, page};
use crate::http::params::{After, AfterHeader, PAGE_LIMIT_DEFAULT, PageLimit, TimeoutMs, order_id};
use crate::http::wait::{Wait, not_found};
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::order_events::{OrderEvents, Row};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
    /// Events on one page.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 500, default = 50)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<EventKey>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EventKey {
    recorded_at: Moment,
    context: Context,
    position: Position,
}

impl SortKey for EventKey {
    const LIST: &'static str = "events";
}

/// A page of an order's events, the earliest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    items: Vec<Row>,
    /// None: this is the last page.
    next_cursor: Option<String>,
}

/// The streams of an order, one in each context.
pub fn streams_of(order_id: OrderId) -> [StreamId; 4] {
    [
        events::orders::stream(order_id),
        events::inventory::reservation_stream(order_id),
        events::payments::stream(order_id),
        events::shipping::stream(order_id),
    ]
}

const SELECT_EVENTS: &str = "
SELECT row_to_json(e)
FROM order_events e
WHERE order_id = $1
    AND ($2::timestamptz IS NULL OR (recorded_at, context, position) > ($2, $3::text, $4::bigint))
ORDER BY recorded_at, context, position
LIMIT $5";

/// What happened to an order, in all contexts, the earliest first.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/events", operation_id = "list_order_events", tag = "orders",
    params(("order_id" = Uuid, Path), ListQuery, schema::AfterHeader),
    responses(
        (status = 200, body = EventPage, description = "One page of the order's events, oldest first"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = schema::BadRequest), (status = 404, response = schema::NotFound),
        (status = 503, response = schema::NotYet),
    )
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id("order_id", &id)?;
    let wait = Wait::of(OrderEvents::NAME, &streams_of(id), (query.after, after), query.timeout_ms)?;
    let key = id.to_string();
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let begin = query.cursor.map(|Cursor(key)| key);
    let is_first_page = begin.is_none();
    let (recorded_at, context, position) = match begin {
        Some(key) => (Some(key.recorded_at.0), Some(key.context.name()), Some(key.position)),
        None => (None, None, None),
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&key, &recorded_at, &context, &position, &(limit + 1)];
    let mut found = read::rows::<Row>(&app, &wait, SELECT_EVENTS, &params).await?;
    if is_first_page {
        found = found.some(|| not_found("order", &key))?;
    }
    let (items, next_cursor) = page(found.rows, limit as usize, |last| EventKey {
        recorded_at: Moment(last.recorded_at),
        context: last.context,
        position: last.position,
    });
    Ok(reply::digested(&headers, &found.position, &EventPage { items, next_cursor }))
}
