//! The events of an order, in all contexts: one row per event, `GET /v1/orders/{order_id}/events`.
//!
//! The events of a stock item are left out; they belong to many orders. A list is in the order of time; where clocks agree to the
//! microsecond, by context and position.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::{Context, ContextName, Envelope, Event, OrderId, Position, StreamId, Version};
use projections::http::{
    Cursor, Moment, PAGE_LIMIT_DEFAULT, PageLimit, SortKey, Target, WaitQuery, page, tagged_by_digest,
};
use projections::{Projection, RowSource};
use runtime::Problem;
use runtime::http::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::types::ToSql;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::params::order_id;
use crate::{App, names, openapi};

pub struct OrderEvents;

/// One event, as it was appended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderEvent)]
pub struct Row {
    #[schema(format = Uuid)]
    pub event_id: String,
    #[schema(format = Uuid)]
    pub order_id: String,
    #[schema(value_type = openapi::Context)]
    pub context: ContextName,
    pub stream: String,
    pub version: Version,
    pub position: Position,
    pub event_type: String,
    pub recorded_at: DateTime<Utc>,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub actor: String,
    /// The event's own fields.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// The contexts that have a stream for each order.
pub const ORDER_CONTEXTS: [Context; 4] =
    [Context::Orders, Context::Inventory, Context::Payments, Context::Shipping];

/// The streams of an order, one in each of [`ORDER_CONTEXTS`].
pub fn streams_of(order_id: OrderId) -> [StreamId; 4] {
    [
        events::orders::stream(order_id),
        events::inventory::reservation_stream(order_id),
        events::payments::stream(order_id),
        events::shipping::stream(order_id),
    ]
}

impl Projection for OrderEvents {
    const NAME: &'static str = "order-events";
    const TABLE: &'static str = "order_events";
    const KEY_COLUMN: &'static str = "event_id";
    const CONTEXTS: &'static [ContextName] = &names(ORDER_CONTEXTS);
    const SOURCE: RowSource<Row> = RowSource::OneEvent;
    type Events = Event;
    type Event = Event;
    type Row = Row;

    fn key(_event: &Event, envelope: &Envelope) -> Option<String> {
        events::order_of(&envelope.stream).map(|_| envelope.event_id.to_string())
    }

    fn apply(row: Option<Row>, event: &Event, envelope: &Envelope) -> Option<Row> {
        let order_id = events::order_of(&envelope.stream)?;
        row.or_else(|| {
            Some(Row {
                event_id: envelope.event_id.to_string(),
                order_id: order_id.to_string(),
                context: envelope.context,
                stream: envelope.stream.to_string(),
                version: envelope.version,
                position: envelope.position,
                event_type: event.event_type().to_owned(),
                recorded_at: envelope.recorded_at,
                correlation_id: envelope.metadata.correlation_id,
                causation_id: envelope.metadata.causation_id,
                actor: envelope.metadata.actor.clone(),
                data: serde_json::from_str(event.payload().get()).expect("an event's payload is JSON"),
            })
        })
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
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
    context: ContextName,
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
    params(("order_id" = Uuid, Path), ListQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = EventPage, description = "One page of the order's events, oldest first"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = openapi::BadRequest), (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::NotYet),
    )
)]
pub async fn list(
    State(app): State<App>,
    Path(id): Path<String>,
    WaitQuery { query, wait }: WaitQuery<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id("order_id", &id)?;
    let (key, streams) = (id.to_string(), streams_of(id));
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let begin = query.cursor.map(|Cursor(key)| key);
    let is_first_page = begin.is_none();
    let recorded_at = begin.as_ref().map(|begin| begin.recorded_at.0);
    let context = begin.as_ref().map(|begin| begin.context.as_str());
    let position = begin.as_ref().map(|begin| begin.position);
    let params: [&(dyn ToSql + Sync); 5] = [&key, &recorded_at, &context, &position, &(limit + 1)];
    let mut found = app.read_models.rows::<OrderEvents, Row>(&wait, &streams, SELECT_EVENTS, &params).await?;
    if is_first_page {
        found = found.some(&Target { kind: "order", key: &key, streams: &streams })?;
    }
    let (items, next_cursor) = page(found.rows, limit as usize, |last| EventKey {
        recorded_at: Moment(last.recorded_at),
        context: last.context,
        position: last.position,
    });
    Ok(tagged_by_digest(&headers, &found.position, &EventPage { items, next_cursor }))
}
