//! `GET /v1/payments/{payment_id}`. A payment has the id of its order.
//!
//! Never: the means of payment; the provider alone knows it. Read next: [`super::sales`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use events::StreamId;
use runtime::Problem;
use runtime::http::{Path, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::params::{After, AfterHeader, TimeoutMs, order_id};
use crate::http::read::One;
use crate::http::wait::{Wait, not_found};
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::payments::{Payments, Row};

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

const SELECT_PAYMENT: &str = "SELECT row_to_json(p) FROM payments p WHERE payment_id = $1";

/// One payment as it stands.
#[utoipa::path(
    get, path = "/v1/payments/{payment_id}", operation_id = "show_payment", tag = "payments",
    params(("payment_id" = Uuid, Path), ShowQuery, schema::AfterHeader),
    responses(
        (status = 200, body = Row, description = "The payment"),
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
    let id = order_id("payment_id", &id)?;
    let wait =
        Wait::of(Payments::NAME, &[events::payments::stream(id)], (query.after, after), query.timeout_ms)?;
    let key = id.to_string();
    let found = read::rows(&app, &wait, SELECT_PAYMENT, &[&key]).await?;
    let One::<Row> { row, position } = found.one(|| not_found("payment", &key))?;
    Ok(reply::versioned(&headers, &position, row.version, &row))
}
