//! Orders: one row per order, `GET /v1/orders/{order_id}` and `GET /v1/orders`.
//!
//! The orders topic alone feeds the row: what another context did to an order shows when the order itself has an event of it. A list
//! leaves out the lines; one order may have thousands.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::orders::{OrderLine, OrderPlaced, RejectionReason};
use events::{
    Address, Context, ContextName, Currency, Envelope, Event, OrderEvent, OrderId, Position, Version,
};
use projections::http::{
    Cursor, Moment, PAGE_LIMIT_DEFAULT, PageLimit, SortKey, Target, Until, WaitQuery, page, tagged_by_digest,
};
use projections::{Projection, RowSource};
use runtime::Problem;
use runtime::http::Path;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::params::{Customer, WaitFor, not_settled, order_id};
use crate::{App, names, openapi};

pub struct Orders;

/// The current state of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Order)]
pub struct Row {
    #[schema(format = Uuid)]
    pub order_id: String,
    pub customer_id: String,
    pub status: OrderStatus,
    #[schema(value_type = String)]
    pub currency: Currency,
    #[schema(value_type = Vec<openapi::OrderLine>)]
    pub lines: Vec<OrderLine>,
    pub total_minor: i64,
    #[schema(value_type = openapi::Address)]
    pub shipping_address: Address,
    pub placed_at: DateTime<Utc>,
    #[schema(value_type = Option<openapi::Rejection>)]
    pub rejection: Option<RejectionReason>,
    pub cancellation: Option<Cancellation>,
    pub shipment: Option<Shipment>,
    /// The version of the order's stream; also the `ETag`.
    pub version: Version,
    /// The position of the order's last event in the log of the orders.
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Confirmed,
    Cancelling,
    Rejected,
    Cancelled,
    Shipped,
    Delivered,
}

impl OrderStatus {
    pub const ALL: [Self; 7] = [
        Self::Placed,
        Self::Confirmed,
        Self::Cancelling,
        Self::Rejected,
        Self::Cancelled,
        Self::Shipped,
        Self::Delivered,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelling => "cancelling",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
        }
    }

    /// Whether the outcome is known: the order will be sent, or it will not.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Confirmed | Self::Rejected | Self::Cancelled | Self::Shipped | Self::Delivered => true,
            Self::Placed | Self::Cancelling => false,
        }
    }
}

/// A request to cancel, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cancellation {
    pub reason: String,
    pub state: CancellationState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancellationState {
    Requested,
    Refused,
    Done,
}

/// How the order was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shipment {
    pub carrier: String,
    pub tracking: String,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const TABLE: &'static str = "orders";
    const KEY_COLUMN: &'static str = "order_id";
    const CONTEXTS: &'static [ContextName] = &names([Context::Orders]);
    const SOURCE: RowSource<Row> = RowSource::OneStream(|row| row.version);
    const WAIT_ENDS_WHEN: Option<&'static str> = Some("status NOT IN ('placed', 'cancelling')");
    type Events = Event;
    type Event = OrderEvent;
    type Row = Row;

    fn key(_event: &OrderEvent, envelope: &Envelope) -> Option<String> {
        events::order_of(&envelope.stream).map(|id| id.to_string())
    }

    fn apply(row: Option<Row>, event: &OrderEvent, envelope: &Envelope) -> Option<Row> {
        let row = match (row, event) {
            (Some(row), _) => evolve(row, event),
            (None, OrderEvent::OrderPlaced(placed)) => begin(placed),
            (None, _) => return None,
        };
        Some(Row { version: envelope.version, position: envelope.position, ..row })
    }
}

fn begin(placed: &OrderPlaced) -> Row {
    Row {
        order_id: placed.order_id.to_string(),
        customer_id: placed.customer_id.to_string(),
        status: OrderStatus::Placed,
        currency: placed.currency,
        lines: placed.lines.clone(),
        total_minor: placed.total_minor,
        shipping_address: placed.shipping_address.clone(),
        placed_at: placed.placed_at,
        rejection: None,
        cancellation: None,
        shipment: None,
        version: 0,
        position: 0,
    }
}

fn evolve(row: Row, event: &OrderEvent) -> Row {
    match event {
        OrderEvent::OrderPlaced(placed) => begin(placed),
        OrderEvent::OrderConfirmed(_) => Row { status: OrderStatus::Confirmed, ..row },
        OrderEvent::OrderRejected(event) => {
            Row { status: OrderStatus::Rejected, rejection: Some(event.reason.clone()), ..row }
        }
        OrderEvent::OrderCancellationRequested(event) => {
            let cancellation =
                Cancellation { reason: event.reason.clone(), state: CancellationState::Requested };
            Row { status: OrderStatus::Cancelling, cancellation: Some(cancellation), ..row }
        }
        OrderEvent::OrderCancellationRefused(_) => Row {
            status: OrderStatus::Confirmed,
            cancellation: row
                .cancellation
                .map(|requested| Cancellation { state: CancellationState::Refused, ..requested }),
            ..row
        },
        OrderEvent::OrderCancelled(event) => {
            let cancellation = Cancellation { reason: event.reason.clone(), state: CancellationState::Done };
            Row { status: OrderStatus::Cancelled, cancellation: Some(cancellation), ..row }
        }
        OrderEvent::OrderShipped(event) => {
            let shipment = Shipment { carrier: event.carrier.clone(), tracking: event.tracking.clone() };
            Row { status: OrderStatus::Shipped, shipment: Some(shipment), ..row }
        }
        OrderEvent::OrderDelivered(_) => Row { status: OrderStatus::Delivered, ..row },
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until the order is confirmed, rejected, cancelled, shipped or delivered.
    #[param(inline)]
    wait: Option<WaitFor>,
}

/// The current state of one order.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", operation_id = "show_order", tag = "orders",
    params(("order_id" = Uuid, Path), ShowQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The order"),
        (status = 304, description = "The client has this version"),
        (status = 400, response = openapi::BadRequest), (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::NotYet),
    )
)]
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    WaitQuery { query, wait }: WaitQuery<ShowQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id("order_id", &id)?;
    let key = id.to_string();
    let target = Target { kind: "order", key: &key, streams: &[events::orders::stream(id)] };
    let until = query.wait.map(|WaitFor::Settled| settled as Until<Row>);
    app.read_models.show::<Orders>(&headers, &wait, &target, until).await
}

fn settled(row: &Row) -> Result<(), Problem> {
    if row.status.is_settled() { Ok(()) } else { Err(not_settled(&row.order_id, "order_status", row.status)) }
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
    get, path = "/v1/orders", operation_id = "list_orders", tag = "orders", params(ListQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = OrderPage, description = "One page of orders"),
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
    let customer = query.customer_id.as_ref().map(|customer| customer.0.as_str());
    let status = query.status.map(OrderStatus::name);
    let (placed_at, order_id) = match query.cursor {
        Some(Cursor(key)) => (Some(key.placed_at.0), Some(key.order_id.to_string())),
        None => (None, None),
    };
    let params: [&(dyn ToSql + Sync); 5] = [&customer, &status, &placed_at, &order_id, &(limit + 1)];
    let found = app.read_models.rows::<Orders, OrderSummary>(&wait, &[], SELECT_SUMMARIES, &params).await?;
    let (items, next_cursor) = page(found.rows, limit as usize, |last| OrderKey {
        placed_at: Moment(last.placed_at),
        order_id: OrderId(last.order_id),
    });
    Ok(tagged_by_digest(&headers, &found.position, &OrderPage { items, next_cursor }))
}
