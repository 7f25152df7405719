//! Sales: one row per order that was ever confirmed, `GET /v1/sales/daily`.
//!
//! A day's sum is made when it is asked for: a sum kept per day would be one row that every order of the day waits for. An order counts
//! from its confirmation until it is cancelled, on the UTC day on which it was placed.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use events::orders::OrderConfirmed;
use events::{Context, ContextName, Currency, Envelope, Event, OrderEvent, Position, Version};
use projections::http::{WaitQuery, invalid_query, tagged_by_digest};
use projections::{Projection, RowSource};
use runtime::Problem;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::params::Day;
use crate::{App, names, openapi};

pub struct Sales;

/// What one confirmed order adds to the sales of its day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub order_id: String,
    /// The day of `placed_at`, in UTC.
    pub placed_on: NaiveDate,
    pub currency: Currency,
    pub units: i64,
    pub revenue_minor: i64,
    /// Whether it still counts: it was not cancelled afterwards.
    pub counted: bool,
    pub version: Version,
    pub position: Position,
}

impl Projection for Sales {
    const NAME: &'static str = "sales";
    const TABLE: &'static str = "sales";
    const KEY_COLUMN: &'static str = "order_id";
    const CONTEXTS: &'static [ContextName] = &names([Context::Orders]);
    const SOURCE: RowSource<Row> = RowSource::OneStream(|row| row.version);
    type Events = Event;
    type Event = OrderEvent;
    type Row = Row;

    fn key(event: &OrderEvent, envelope: &Envelope) -> Option<String> {
        match event {
            OrderEvent::OrderConfirmed(_) | OrderEvent::OrderCancelled(_) => {
                events::order_of(&envelope.stream).map(|id| id.to_string())
            }
            OrderEvent::OrderPlaced(_)
            | OrderEvent::OrderRejected(_)
            | OrderEvent::OrderCancellationRequested(_)
            | OrderEvent::OrderCancellationRefused(_)
            | OrderEvent::OrderShipped(_)
            | OrderEvent::OrderDelivered(_) => None,
        }
    }

    fn apply(row: Option<Row>, event: &OrderEvent, envelope: &Envelope) -> Option<Row> {
        match (row, event) {
            (_, OrderEvent::OrderConfirmed(confirmed)) => Some(counted(confirmed, envelope)),
            (Some(row), OrderEvent::OrderCancelled(_)) => {
                Some(Row { counted: false, version: envelope.version, position: envelope.position, ..row })
            }
            // Cancelled before it was confirmed: it never counted.
            (row, _) => row,
        }
    }
}

fn counted(confirmed: &OrderConfirmed, envelope: &Envelope) -> Row {
    Row {
        order_id: confirmed.order_id.to_string(),
        placed_on: confirmed.placed_at.date_naive(),
        currency: confirmed.total.currency(),
        units: confirmed.items.iter().map(|item| item.quantity.get()).sum(),
        revenue_minor: confirmed.total.amount_minor(),
        counted: true,
        version: envelope.version,
        position: envelope.position,
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(daily))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DailyQuery {
    /// The first day, inclusive.
    #[param(value_type = Option<NaiveDate>)]
    from: Option<Day>,
    /// The last day, inclusive.
    #[param(value_type = Option<NaiveDate>)]
    to: Option<Day>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DailySales {
    /// By date, then by currency. Days without sales are left out.
    days: Vec<SalesDay>,
}

/// The sales of one day in one currency.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SalesDay {
    date: NaiveDate,
    currency: String,
    orders: i64,
    /// Sums may be larger than 64 bits.
    #[schema(value_type = u64)]
    #[serde(deserialize_with = "whole_number")]
    units: i128,
    #[schema(value_type = u64)]
    #[serde(deserialize_with = "whole_number")]
    revenue_minor: i128,
}

/// `sum` of bigint is numeric: text carries it whole.
const SELECT_DAYS: &str = "
SELECT json_build_object('date', placed_on, 'currency', currency, 'orders', count(*), 'units', sum(units)::text,
                         'revenue_minor', sum(revenue_minor)::text)
FROM sales
WHERE counted AND ($1::date IS NULL OR placed_on >= $1) AND ($2::date IS NULL OR placed_on <= $2)
GROUP BY placed_on, currency
ORDER BY placed_on, currency";

/// What was sold on each day.
#[utoipa::path(
    get, path = "/v1/sales/daily", operation_id = "daily_sales", tag = "sales", params(DailyQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = DailySales, description = "The sales of each day"),
        (status = 304, description = "The client has this answer"),
        (status = 400, response = openapi::BadRequest), (status = 503, response = openapi::Unavailable),
    )
)]
pub async fn daily(
    State(app): State<App>,
    WaitQuery { query, wait }: WaitQuery<DailyQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (from, to) = (query.from.map(|day| day.0), query.to.map(|day| day.0));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(invalid_query("to", format!("is {to}"), format!("{from} (the value of from) or later")));
    }
    let found = app.read_models.rows::<Sales, SalesDay>(&wait, &[], SELECT_DAYS, &[&from, &to]).await?;
    Ok(tagged_by_digest(&headers, &found.position, &DailySales { days: found.rows }))
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
    let sum = String::deserialize(deserializer)?;
    Ok(sum.parse().expect("a sum of fewer than 2^64 bigints fits in 128 bits"))
}
