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
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::failure::{ReadError, connection};
use crate::http::params::{Day, invalid_query};
use crate::http::{App, reply, schema};

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
#[derive(Debug, Serialize, ToSchema)]
pub struct SalesDay {
    date: NaiveDate,
    currency: String,
    orders: i64,
    /// Sums may be larger than 64 bits.
    #[schema(value_type = u64)]
    units: i128,
    #[schema(value_type = u64)]
    revenue_minor: i128,
}

/// `sum` of bigint is numeric: text carries it whole.
const SELECT_DAYS: &str = "
SELECT placed_on, currency, count(*), sum(units)::text, sum(revenue_minor)::text
FROM sales
WHERE counted AND ($1::date IS NULL OR placed_on >= $1) AND ($2::date IS NULL OR placed_on <= $2)
GROUP BY placed_on, currency
ORDER BY placed_on, currency";

/// What was sold on each day.
#[utoipa::path(
    get, path = "/v1/sales/daily", operation_id = "daily_sales", tag = "sales", params(DailyQuery),
    responses(
        (status = 200, body = DailySales, description = "The sales of each day"),
        (status = 304, description = "The client has this answer"),
        (status = 400, response = schema::BadRequest), (status = 503, response = schema::Unavailable),
    )
)]
pub async fn daily(
    State(app): State<Arc<App>>,
    Query(query): Query<DailyQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (from, to) = (query.from.map(|day| day.0), query.to.map(|day| day.0));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(invalid_query("to", format!("is {to}"), format!("{from} (the value of from) or later")));
    }
    let days = days(&app, from, to).await?;
    Ok(reply::digested(&headers, &DailySales { days }))
}

async fn days(app: &App, from: Option<NaiveDate>, to: Option<NaiveDate>) -> Result<Vec<SalesDay>, ReadError> {
    let client = connection(&app.pool).await?;
    let statement = client.prepare_cached(SELECT_DAYS).await?;
    let rows = client.query(&statement, &[&from, &to]).await?;
    rows.iter()
        .map(|row| {
            Ok(SalesDay {
                date: row.try_get(0)?,
                currency: row.try_get(1)?,
                orders: row.try_get(2)?,
                units: whole_number(row.try_get(3)?),
                revenue_minor: whole_number(row.try_get(4)?),
            })
        })
        .collect()
}

fn whole_number(sum: &str) -> i128 {
    sum.parse().expect("a sum of fewer than 2^64 bigints fits in 128 bits")
}
