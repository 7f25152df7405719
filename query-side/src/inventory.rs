//! Stock: one row per SKU, `GET /v1/stock/{sku}` and `GET /v1/stock`.
//!
//! In every row, received = available + reserved + shipped. The answer is no promise: what is available now may be reserved by the
//! next order.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use events::{Context, ContextName, Envelope, Event, Position, Sku, StockEvent, Version};
use fault::mutant;
use projections::http::{
    Bounded, Cursor, PAGE_LIMIT_DEFAULT, PageLimit, SortKey, Target, WaitQuery, page, tagged_by_digest,
};
use projections::{Projection, RowSource};
use runtime::Problem;
use runtime::http::Path;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::params::{NoParams, sku};
use crate::{App, names, openapi};

/// A number of pieces.
type Pieces = Bounded<0, { i64::MAX }>;

pub struct Stock;

/// The stock of one SKU, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Stock)]
pub struct Row {
    pub sku: String,
    /// Receipts plus adjustments.
    pub received: i64,
    /// How much of `received` came from adjustments.
    pub adjusted: i64,
    pub available: i64,
    pub reserved: i64,
    pub shipped: i64,
    /// The version of the item's stream; also the `ETag`.
    pub version: Version,
    pub position: Position,
}

impl Projection for Stock {
    const NAME: &'static str = "stock";
    const TABLE: &'static str = "stock";
    const KEY_COLUMN: &'static str = "sku";
    const CONTEXTS: &'static [ContextName] = &names([Context::Inventory]);
    const SOURCE: RowSource<Row> = RowSource::OneStream(|row| row.version);
    type Events = Event;
    type Event = StockEvent;
    type Row = Row;

    fn key(_event: &StockEvent, envelope: &Envelope) -> Option<String> {
        Some(envelope.stream.key().to_owned())
    }

    fn apply(row: Option<Row>, event: &StockEvent, envelope: &Envelope) -> Option<Row> {
        let row = row.unwrap_or_else(|| Row { sku: envelope.stream.key().to_owned(), ..Row::default() });
        let row = evolve(row, event);
        Some(Row { version: envelope.version, position: envelope.position, ..row })
    }
}

/// The sums stay within 64 bits: the inventory refuses more than `domain::inventory::stock_item::STOCK_PIECES_MAX` pieces.
fn evolve(row: Row, event: &StockEvent) -> Row {
    match event {
        StockEvent::SkuRegistered(_) => row,
        StockEvent::StockReceived(event) => {
            let pieces = event.quantity.get();
            Row { received: row.received + pieces, available: row.available + pieces, ..row }
        }
        StockEvent::StockAdjusted(event) => Row {
            received: row.received + event.delta,
            adjusted: row.adjusted + event.delta,
            available: row.available + event.delta,
            ..row
        },
        StockEvent::StockReserved(event) => {
            let pieces = event.quantity.get();
            Row { available: row.available - pieces, reserved: row.reserved + pieces, ..row }
        }
        StockEvent::StockReleased(event) => {
            let pieces = event.quantity.get();
            if mutant!("projector::release_in_the_wrong_column") {
                return Row { reserved: row.reserved - pieces, shipped: row.shipped + pieces, ..row };
            }
            Row { available: row.available + pieces, reserved: row.reserved - pieces, ..row }
        }
        StockEvent::StockShipped(event) => {
            let pieces = event.quantity.get();
            Row { reserved: row.reserved - pieces, shipped: row.shipped + pieces, ..row }
        }
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(list))
}

/// The stock of one SKU.
#[utoipa::path(
    get, path = "/v1/stock/{sku}", operation_id = "show_stock", tag = "stock",
    params(("sku" = String, Path, min_length = 1, max_length = 64), openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The stock of the SKU"),
        (status = 304, description = "The client has this version"),
        (status = 400, response = openapi::BadRequest), (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::NotYet),
    )
)]
pub async fn show(
    State(app): State<App>,
    Path(key): Path<String>,
    WaitQuery { query: NoParams {}, wait }: WaitQuery<NoParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stream = events::inventory::stock_stream(&sku(&key)?);
    let target = Target { kind: "sku", key: &key, streams: &[stream] };
    app.read_models.show::<Stock>(&headers, &wait, &target, None).await
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
    get, path = "/v1/stock", operation_id = "list_stock", tag = "stock", params(ListQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = StockPage, description = "One page of the stock"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = openapi::BadRequest), (status = 503, response = openapi::Unavailable),
    )
)]
pub async fn list(
    State(app): State<App>,
    WaitQuery { query, wait }: WaitQuery<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let below = query.below.map(|below| below.0);
    let begin = query.cursor.map(|Cursor(key)| key.sku.to_string());
    let params: [&(dyn ToSql + Sync); 3] = [&below, &begin, &(limit + 1)];
    let found = app.read_models.rows::<Stock, Row>(&wait, &[], SELECT_STOCK, &params).await?;
    let (items, next_cursor) = page(found.rows, limit as usize, |last| StockKey {
        sku: last.sku.parse().expect("a SKU of the read model was accepted once"),
    });
    Ok(tagged_by_digest(&headers, &found.position, &StockPage { items, next_cursor }))
}
