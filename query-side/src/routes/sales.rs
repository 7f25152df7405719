//! `GET /v1/sales/daily`: what was sold on each day, in each currency.
//!
//! Counted are the orders that were confirmed and not cancelled afterwards, by the UTC day on which they were placed.
//! Never: amounts of two currencies in one sum. Read next: [`crate::projections::sales`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use runtime::Problem;
use runtime::http::Query;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::params::{After, AfterHeader, Day, TimeoutMs, invalid_query};
use crate::http::wait::Wait;
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::sales::Sales;

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
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
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
    get, path = "/v1/sales/daily", operation_id = "daily_sales", tag = "sales", params(DailyQuery, schema::AfterHeader),
    responses(
        (status = 200, body = DailySales, description = "The sales of each day"),
        (status = 304, description = "The client has this answer"),
        (status = 400, response = schema::BadRequest), (status = 503, response = schema::Unavailable),
    )
)]
pub async fn daily(
    State(app): State<Arc<App>>,
    Query(query): Query<DailyQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (from, to) = (query.from.map(|day| day.0), query.to.map(|day| day.0));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(invalid_query("to", format!("is {to}"), format!("{from} (the value of from) or later")));
    }
    let wait = Wait::of(Sales::NAME, &[], (query.after, after), query.timeout_ms)?;
    let found = read::rows::<SalesDay>(&app, &wait, SELECT_DAYS, &[&from, &to]).await?;
    Ok(reply::digested(&headers, &found.position, &DailySales { days: found.rows }))
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
    let sum = String::deserialize(deserializer)?;
    Ok(sum.parse().expect("a sum of fewer than 2^64 bigints fits in 128 bits"))
}
