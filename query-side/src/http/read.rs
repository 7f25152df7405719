//! Reads rows, and with them how far the read models have come: one statement, so both are of the same moment.
//!
//! A request that waits looks, and looks again when a batch was committed that may concern it. Never: rows without the
//! positions that they depend on. Read next: [`crate::arrivals`].

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use axum::http::HeaderValue;
use events::{Position, Positions};
use runtime::Problem;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_postgres::types::{Json, ToSql};

use super::App;
use super::failure::{ReadError, connection};
use super::wait::{RETRY_AFTER, Wait, not_yet_applied};
use crate::arrivals::TooManyWaiters;
use crate::progress::{COLUMNS, Progress};

/// The header that says how far an answer has come.
pub const POSITION_HEADER: &str = "x-tradewind-position";
/// How often a waiter looks by itself, whether it is woken or not.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Params<'a> = [&'a (dyn ToSql + Sync)];

/// Rows, and how far the read models had come when they were read.
#[derive(Debug)]
pub struct Found<T> {
    pub rows: Vec<T>,
    pub position: Positions,
}

impl<T> Found<T> {
    /// At least one row.
    ///
    /// # Errors
    /// `absent`, with the position, when there is none.
    pub fn some(self, absent: impl FnOnce() -> Problem) -> Result<Self, Problem> {
        match self.rows.is_empty() {
            true => Err(with_position(absent(), &self.position)),
            false => Ok(self),
        }
    }

    /// The first row.
    ///
    /// # Errors
    /// `absent`, with the position, when there is none.
    pub fn one(self, absent: impl FnOnce() -> Problem) -> Result<One<T>, Problem> {
        let Self { mut rows, position } = self.some(absent)?;
        Ok(One { row: rows.swap_remove(0), position })
    }
}

/// A row, and how far the read models had come when it was read.
#[derive(Debug)]
pub struct One<T> {
    pub row: T,
    pub position: Positions,
}

/// The value of [`POSITION_HEADER`]; none when nothing was ever applied.
pub fn position_value(position: &Positions) -> Option<HeaderValue> {
    let named: Positions = position.iter().filter(|token| token.position > 0).collect();
    (!named.is_empty()).then(|| HeaderValue::try_from(named.to_string()).expect("positions are ASCII"))
}

fn with_position(problem: Problem, position: &Positions) -> Problem {
    match position_value(position) {
        Some(value) => problem.header(POSITION_HEADER, value),
        None => problem,
    }
}

/// Whether what was found will do, or what to answer if the time to wait is over.
pub enum Enough {
    Yes,
    NotYet(Problem),
}

/// The rows of a query whose one column is JSON, once the request's positions are applied.
///
/// # Errors
/// 503 when that is not so in time, when too many wait already, or when the read models are away.
pub async fn rows<T: DeserializeOwned>(
    app: &App,
    wait: &Wait,
    sql: &str,
    params: &Params<'_>,
) -> Result<Found<T>, Problem> {
    rows_when(app, wait, None, sql, params, |_| Enough::Yes).await
}

/// The same, and once what was found is `enough`; it is looked at again when the projection's row of the order changes.
///
/// # Errors
/// As [`rows`]; or what `enough` last said.
pub async fn rows_when<T: DeserializeOwned>(
    app: &App,
    wait: &Wait,
    order_id: Option<&str>,
    sql: &str,
    params: &Params<'_>,
    enough: impl Fn(&Found<T>) -> Enough,
) -> Result<Found<T>, Problem> {
    let Some(timeout) = wait.timeout else {
        return match look(app, wait, sql, params, &enough).await? {
            ControlFlow::Break(found) => Ok(found),
            ControlFlow::Continue(not_yet) => Err(not_yet.instead),
        };
    };
    let deadline = Instant::now() + timeout;
    let mut watch = match app.arrivals.watch(order_id.map(|id| (wait.consumer.as_str(), id))) {
        Ok(watch) => watch,
        Err(error) => {
            return match look(app, wait, sql, params, &enough).await? {
                ControlFlow::Break(found) => Ok(found),
                ControlFlow::Continue(_) => Err(too_many_waiting(error)),
            };
        }
    };
    let order = watch.order();
    loop {
        // Listen first, then look: what changes in between is heard.
        watch.begin();
        let mut changed = pin!(order.as_ref().map(|order| order.notified()));
        if let Some(changed) = changed.as_mut().as_pin_mut() {
            changed.enable();
        }
        let NotYet { instead, is_behind } = match look(app, wait, sql, params, &enough).await? {
            ControlFlow::Break(found) => return Ok(found),
            ControlFlow::Continue(not_yet) => not_yet,
        };
        let now = Instant::now();
        if now >= deadline {
            return Err(instead);
        }
        let woken = async {
            match (&wait.after, changed.as_mut().as_pin_mut()) {
                (Some(after), _) if is_behind => watch.applied(after).await,
                (_, Some(changed)) => changed.await,
                (_, None) => std::future::pending().await,
            }
        };
        // Whichever comes first; then look again.
        let _ = tokio::time::timeout_at(deadline.min(now + LOOK_EVERY), woken).await;
    }
}

fn too_many_waiting(error: TooManyWaiters) -> Problem {
    Problem::unavailable("too_many_waiting", "Too many requests wait already", RETRY_AFTER)
        .detail(error.to_string())
}

/// What to answer if the time to wait is over; whether it is positions that are waited for.
struct NotYet {
    instead: Problem,
    is_behind: bool,
}

async fn look<T: DeserializeOwned>(
    app: &App,
    wait: &Wait,
    sql: &str,
    params: &Params<'_>,
    enough: impl Fn(&Found<T>) -> Enough,
) -> Result<ControlFlow<Found<T>, NotYet>, Problem> {
    let (found, applied, parked) = read::<T>(app, wait, sql, params).await?;
    let position = found.position.clone();
    let not_yet = |problem, is_behind| {
        ControlFlow::Continue(NotYet { instead: with_position(problem, &position), is_behind })
    };
    if let Some(after) = &wait.after
        && (parked || !applied.include(after))
    {
        return Ok(not_yet(not_yet_applied(after, &applied, parked), true));
    }
    Ok(match enough(&found) {
        Enough::Yes => ControlFlow::Break(found),
        Enough::NotYet(problem) => not_yet(problem, false),
    })
}

/// The rows, what is applied, and whether something up to the request's positions is parked.
async fn read<T: DeserializeOwned>(
    app: &App,
    wait: &Wait,
    sql: &str,
    params: &Params<'_>,
) -> Result<(Found<T>, Positions, bool), ReadError> {
    let (first, after) = (params.len() + 1, wait.after.as_ref());
    // What is named is not parked, nor anything before it in the streams that are asked for.
    let parked = match after {
        None => "false".to_owned(),
        Some(_) => format!(
            "EXISTS (SELECT FROM parked_events k, unnest(${}::text[], ${}::bigint[]) AS a (topic, position)
                      WHERE k.consumer = ${first} AND k.topic = a.topic
                        AND (k.position = a.position OR (k.stream = ANY(${}) AND k.position <= a.position)))",
            first + 1,
            first + 2,
            first + 3,
        ),
    };
    let sql = format!(
        "SELECT (SELECT coalesce(json_agg(json_build_array(context, applied, seen)), '[]')
                   FROM (SELECT {COLUMNS} FROM progress) AS p (context, applied, seen)),
                (SELECT coalesce(json_agg(found.entry), '[]') FROM ({sql}) AS found (entry)),
                {parked}"
    );
    let (topics, positions): (Vec<String>, Vec<Position>) = after
        .into_iter()
        .flat_map(Positions::iter)
        .map(|at| (app.bus.topic(at.context), at.position))
        .unzip();
    let of_wait: [&(dyn ToSql + Sync); 4] = [&wait.consumer, &topics, &positions, &wait.streams];
    let params: Vec<_> = params.iter().chain(of_wait.iter().filter(|_| after.is_some())).copied().collect();
    let client = connection(&app.pool).await?;
    let statement = client.prepare_cached(&sql).await?;
    let row = client.query_one(&statement, &params).await?;
    let Json(progress) = row.try_get::<_, Json<Vec<(String, Position, Position)>>>(0)?;
    let Json(rows) = row.try_get::<_, Json<Vec<T>>>(1)?;
    let Progress { applied, seen } = Progress::from_rows(progress);
    Ok((Found { rows, position: seen }, applied, row.try_get(2)?))
}
