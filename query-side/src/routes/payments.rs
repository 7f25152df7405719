//! `GET /v1/payments/{payment_id}`. A payment has the id of its order.
//!
//! Never: the means of payment; the provider alone knows it. Read next: [`super::sales`].

use std::ops::ControlFlow;
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
use crate::http::wait::{ReadYourWrite, not_found, timeout, until};
use crate::http::{App, failure, reply, schema};
use crate::projection::Projection;
use crate::projections::payments::{Payments, Row};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until this position of the payment is applied.
    #[param(value_type = Option<String>, example = "payments:1234")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only with `after`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

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
    let after = ReadYourWrite::of(Payments::NAME, &[StreamId::payment(id)], query.after, after)?;
    let timeout = timeout(query.timeout_ms, after.is_some())?;
    let key = id.to_string();
    let row: Row = until(&app, Payments::NAME, &key, timeout, async || {
        if let Some(after) = &after
            && !after.is_applied(&app).await?
        {
            return Ok(ControlFlow::Continue(after.not_yet()));
        }
        let sql = "SELECT row_to_json(p) FROM payments p WHERE payment_id = $1";
        let row: Option<Row> = failure::row(&app.pool, sql, &[&key]).await?;
        row.map(ControlFlow::Break).ok_or_else(|| not_found("payment", &key))
    })
    .await?;
    Ok(reply::versioned(&headers, row.version, &row))
}
