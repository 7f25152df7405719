//! `GET /v1/orders/{order_id}/process` and `GET /v1/processes`: how far an order has come, and what it waits for.
//!
//! Whether a process is stuck is a question of the time now, so it is answered here and not stored.
//! Never: an action; what is stuck is shown, and a person decides. Read next: [`crate::story`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use events::{Context, OrderId};
use runtime::Problem;
use runtime::http::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::order_events::streams_of;
use crate::http::cursor::{Cursor, Moment, SortKey, page};
use crate::http::params::{After, AfterHeader, PAGE_LIMIT_DEFAULT, PageLimit, TimeoutMs, WaitFor, order_id};
use crate::http::read::{Enough, Found, One};
use crate::http::wait::{Wait, not_found, not_settled};
use crate::http::{App, read, reply, schema};
use crate::projection::Projection;
use crate::projections::processes::{Processes, Row};
use crate::story::{Cause, Outcome, Stage, Step};

/// Where a process stands, as seen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// A machine is at work on the next step.
    Running,
    /// The next step is a person's: to dispatch, or to deliver.
    Waiting,
    /// What was done is being undone.
    Compensating,
    /// Running or compensating, and nothing has happened for longer than a machine needs.
    Stuck,
    /// Nothing is to come.
    Done,
}

impl ProcessState {
    fn seen(stage: Stage, since: DateTime<Utc>, stuck_before: DateTime<Utc>) -> Self {
        match stage {
            Stage::Running | Stage::Compensating if since < stuck_before => Self::Stuck,
            Stage::Running => Self::Running,
            Stage::Compensating => Self::Compensating,
            Stage::Waiting => Self::Waiting,
            Stage::Done => Self::Done,
        }
    }

    /// The stored stages that may look like this, and whether they must (not) have stood still for long.
    fn filter(self) -> (&'static [&'static str], Option<bool>) {
        match self {
            Self::Running => (&["running"], Some(false)),
            Self::Compensating => (&["compensating"], Some(false)),
            Self::Stuck => (&["running", "compensating"], Some(true)),
            Self::Waiting => (&["waiting"], None),
            Self::Done => (&["done"], None),
        }
    }
}

/// The process of one order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Process {
    #[schema(format = Uuid)]
    order_id: String,
    customer_id: Option<String>,
    state: ProcessState,
    outcome: Option<Outcome>,
    done: Vec<DoneStep>,
    waiting_for: Option<Waiting>,
    /// The steps after the one that is waited for.
    to_come: Vec<Step>,
    compensation: Option<Compensation>,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct DoneStep {
    step: Step,
    #[schema(value_type = schema::Context)]
    context: Context,
    event: String,
    at: DateTime<Utc>,
}

/// The next step, and since when it is the next.
#[derive(Debug, Serialize, ToSchema)]
pub struct Waiting {
    step: Step,
    #[schema(value_type = schema::Context)]
    context: Context,
    /// Any one of these ends the wait.
    for_events: Vec<&'static str>,
    by: Actor,
    since: DateTime<Utc>,
    /// When the order is given up; none for a step without a deadline.
    deadline: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    Machine,
    Person,
}

/// What is or was undone, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Compensation {
    cause: Cause,
    /// What whoever cancelled the order gave as the reason.
    reason: Option<String>,
    undone: Vec<Step>,
    still_to_undo: Vec<Step>,
}

fn stuck_before(stuck_after: Duration) -> DateTime<Utc> {
    Utc::now() - TimeDelta::from_std(stuck_after).unwrap_or(TimeDelta::MAX)
}

fn view(row: Row, stuck_before: DateTime<Utc>) -> Process {
    let stand = row.facts().stand();
    let mut done: Vec<DoneStep> = Context::ALL
        .into_iter()
        .flat_map(|context| row.track(context).facts.iter().map(move |fact| (context, fact)))
        .filter_map(|(context, fact)| {
            let step = Step::of_event(&fact.event)?;
            Some(DoneStep { step, context, event: fact.event.clone(), at: fact.at })
        })
        .collect();
    // Stable: events of one context stay in their order also where the clock stood still.
    done.sort_by_key(|step| step.at);
    let waiting_for = stand.waiting_for.map(|step| Waiting {
        step,
        context: step.context(),
        for_events: step.ended_by().to_vec(),
        by: if step.is_a_persons() { Actor::Person } else { Actor::Machine },
        since: row.since,
        deadline: row.payment_deadline.filter(|_| step == Step::AuthorisePayment),
    });
    Process {
        order_id: row.order_id,
        customer_id: row.customer_id,
        state: ProcessState::seen(stand.stage, row.since, stuck_before),
        outcome: stand.outcome,
        done,
        waiting_for,
        to_come: stand.to_come,
        compensation: stand.compensation.map(|compensation| Compensation {
            cause: compensation.cause,
            reason: row.cancellation_reason.filter(|_| compensation.cause == Cause::OrderCancelled),
            undone: compensation.undone,
            still_to_undo: compensation.still_to_undo,
        }),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// Wait until no machine is at work on the order: it waits for a person, or is done.
    #[param(inline)]
    wait: Option<WaitFor>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

const SELECT_PROCESS: &str = "SELECT row_to_json(p) FROM processes p WHERE order_id = $1";

/// How far an order has come: done, waiting for what and since when, still to come, being undone.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/process", operation_id = "show_process", tag = "processes",
    params(("order_id" = Uuid, Path), ShowQuery, schema::AfterHeader),
    responses(
        (status = 200, body = Process, description = "The process of the order"),
        (status = 304, description = "The client has this answer"),
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
    let id = order_id("order_id", &id)?;
    let (streams, waits) = (streams_of(id), query.wait.is_some());
    let wait = Wait::or_for(Processes::NAME, &streams, (query.after, after), query.timeout_ms, waits)?;
    let key = id.to_string();
    let enough = |found: &Found<Row>| match (found.rows.first(), query.wait) {
        (Some(row), Some(WaitFor::Settled)) if !row.state.is_settled() => {
            Enough::NotYet(not_settled(&row.order_id, "process_state", row.state))
        }
        (None, Some(WaitFor::Settled)) if wait.after.is_none() => Enough::NotYet(not_found("order", &key)),
        _ => Enough::Yes,
    };
    let found = read::rows_when(&app, &wait, Some(&key), SELECT_PROCESS, &[&key], enough).await?;
    let One { row, position } = found.one(|| not_found("order", &key))?;
    Ok(reply::digested(&headers, &position, &view(row, stuck_before(app.stuck_after))))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Processes in this state alone.
    state: Option<ProcessState>,
    /// Processes on one page.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 500, default = 50)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<ProcessKey>>,
    /// Wait until everything up to these positions is applied: `position` of a command's answer, or the
    /// `X-Tradewind-Position` of any answer.
    #[param(value_type = Option<String>, example = "orders:1234,inventory:56")]
    after: Option<After>,
    /// How long to wait at most; 5000 where it is absent. Allowed only where something is waited for.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 60_000)]
    timeout_ms: Option<TimeoutMs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessKey {
    since: Moment,
    order_id: OrderId,
}

impl SortKey for ProcessKey {
    const LIST: &'static str = "processes";
}

/// A page of processes, the one that has stood still longest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessPage {
    items: Vec<ProcessSummary>,
    /// None: this is the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessSummary {
    order_id: Uuid,
    customer_id: Option<String>,
    state: ProcessState,
    waiting_for: Option<String>,
    /// When the last thing happened.
    since: DateTime<Utc>,
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct SummaryRow {
    order_id: Uuid,
    customer_id: Option<String>,
    state: Stage,
    waiting_for: Option<String>,
    since: DateTime<Utc>,
    outcome: Option<Outcome>,
}

const SELECT_SUMMARIES: &str = "
SELECT json_build_object(
    'order_id', order_id, 'customer_id', customer_id, 'state', state, 'waiting_for', waiting_for,
    'since', since, 'outcome', outcome)
FROM processes
WHERE ($1::text[] IS NULL OR state = ANY($1))
    AND ($2::boolean IS NULL OR (since < $3::timestamptz) = $2)
    AND ($4::timestamptz IS NULL OR (since, order_id) > ($4, $5::text))
ORDER BY since, order_id
LIMIT $6";

/// The processes of all orders, the one that has stood still longest first.
#[utoipa::path(
    get, path = "/v1/processes", operation_id = "list_processes", tag = "processes", params(ListQuery, schema::AfterHeader),
    responses(
        (status = 200, body = ProcessPage, description = "One page of processes"),
        (status = 304, description = "The client has this page"),
        (status = 400, response = schema::BadRequest), (status = 503, response = schema::Unavailable),
    )
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
    after: AfterHeader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = Wait::of(Processes::NAME, &[], (query.after, after), query.timeout_ms)?;
    let limit = query.limit.unwrap_or(PAGE_LIMIT_DEFAULT).0;
    let stuck_before = stuck_before(app.stuck_after);
    let (stages, stands_still) = match query.state.map(ProcessState::filter) {
        Some((stages, stands_still)) => (Some(stages), stands_still),
        None => (None, None),
    };
    let (since, order_id) = match query.cursor {
        Some(Cursor(key)) => (Some(key.since.0), Some(key.order_id.to_string())),
        None => (None, None),
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&stages, &stands_still, &stuck_before, &since, &order_id, &(limit + 1)];
    let found = read::rows::<SummaryRow>(&app, &wait, SELECT_SUMMARIES, &params).await?;
    let (rows, next_cursor) = page(found.rows, limit as usize, |last| ProcessKey {
        since: Moment(last.since),
        order_id: OrderId(last.order_id),
    });
    let items = rows
        .into_iter()
        .map(|row| ProcessSummary {
            order_id: row.order_id,
            customer_id: row.customer_id,
            state: ProcessState::seen(row.state, row.since, stuck_before),
            waiting_for: row.waiting_for,
            since: row.since,
            outcome: row.outcome,
        })
        .collect();
    Ok(reply::digested(&headers, &found.position, &ProcessPage { items, next_cursor }))
}
