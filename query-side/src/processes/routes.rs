//! What a process has done, what it waits for and what is to come, as HTTP shows it.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use events::{Context, OrderId};
use projections::http::{
    Cursor, Moment, PAGE_LIMIT_DEFAULT, PageLimit, SortKey, Target, Until, WaitQuery, page, tagged_by_digest,
};
use runtime::Problem;
use runtime::http::Path;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Processes, Row};
use crate::order_events::streams_of;
use crate::params::{WaitFor, not_settled, order_id};
use crate::process_status::{Cause, Outcome, Stage, Step};
use crate::{App, openapi};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(list))
}

/// The state of a process at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// The system is working on the next step.
    Running,
    /// The next step is a person's: to dispatch, or to deliver.
    Waiting,
    /// What was done is being undone.
    Compensating,
    /// Running or compensating, and nothing has happened for longer than the system needs.
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

    /// The stored stages of this state, and whether the last event must (not) be long ago.
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
    #[schema(value_type = openapi::Context)]
    context: Context,
    event: String,
    at: DateTime<Utc>,
}

/// The next step, and since when the process waits for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Waiting {
    step: Step,
    #[schema(value_type = openapi::Context)]
    context: Context,
    /// Any one of these ends the wait.
    for_events: Vec<&'static str>,
    by: Actor,
    since: DateTime<Utc>,
    /// When the order is rejected; none for a step without a deadline.
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
    /// The reason that was given for the cancellation.
    reason: Option<String>,
    undone: Vec<Step>,
    still_to_undo: Vec<Step>,
}

fn stuck_before(stuck_after: Duration) -> DateTime<Utc> {
    Utc::now() - TimeDelta::from_std(stuck_after).unwrap_or(TimeDelta::MAX)
}

fn view(row: Row, stuck_before: DateTime<Utc>) -> Process {
    let status = row.facts().status();
    let mut done: Vec<DoneStep> = Context::ALL
        .into_iter()
        .flat_map(|context| row.facts_of(context).iter().map(move |fact| (context, fact)))
        .filter_map(|(context, fact)| {
            let step = Step::of_event(&fact.event)?;
            Some(DoneStep { step, context, event: fact.event.clone(), at: fact.at })
        })
        .collect();
    // Stable: events of one context stay in their order also where the clock stood still.
    done.sort_by_key(|step| step.at);
    let waiting_for = status.waiting_for.map(|step| Waiting {
        step,
        context: step.context(),
        for_events: step.ended_by().to_vec(),
        by: if step.is_a_persons() { Actor::Person } else { Actor::Machine },
        since: row.since,
        deadline: row.payment_deadline.filter(|_| step.has_deadline()),
    });
    Process {
        order_id: row.order_id,
        customer_id: row.customer_id,
        state: ProcessState::seen(status.stage, row.since, stuck_before),
        outcome: status.outcome,
        done,
        waiting_for,
        to_come: status.to_come,
        compensation: status.compensation.map(|compensation| Compensation {
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
    /// Wait until the system has nothing to do for the order: it waits for a person, or is done.
    #[param(inline)]
    wait: Option<WaitFor>,
}

/// How far an order has come: done, waiting for what and since when, still to come, being undone.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/process", operation_id = "show_process", tag = "processes",
    params(("order_id" = Uuid, Path), ShowQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = Process, description = "The process of the order"),
        (status = 304, description = "The client has this answer"),
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
    let target = Target { kind: "order", key: &key, streams: &streams_of(id) };
    let until = query.wait.map(|WaitFor::Settled| settled as Until<Row>);
    let found = app.read_models.row::<Processes>(&wait, &target, until).await?;
    Ok(tagged_by_digest(&headers, &found.position, &view(found.rows, stuck_before(app.stuck_after))))
}

fn settled(row: &Row) -> Result<(), Problem> {
    if row.state.is_settled() { Ok(()) } else { Err(not_settled(&row.order_id, "process_state", row.state)) }
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessKey {
    since: Moment,
    order_id: OrderId,
}

impl SortKey for ProcessKey {
    const LIST: &'static str = "processes";
}

/// A page of processes, the longest without an event first.
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
    /// The time of the last event.
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

/// The processes of all orders, the longest without an event first.
#[utoipa::path(
    get, path = "/v1/processes", operation_id = "list_processes", tag = "processes", params(ListQuery, openapi::WaitParams, openapi::AfterHeader),
    responses(
        (status = 200, body = ProcessPage, description = "One page of processes"),
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
    let stuck_before = stuck_before(app.stuck_after);
    let (stages, is_stuck) = match query.state.map(ProcessState::filter) {
        Some((stages, is_stuck)) => (Some(stages), is_stuck),
        None => (None, None),
    };
    let (since, order_id) = match query.cursor {
        Some(Cursor(key)) => (Some(key.since.0), Some(key.order_id.to_string())),
        None => (None, None),
    };
    let params: [&(dyn ToSql + Sync); 6] =
        [&stages, &is_stuck, &stuck_before, &since, &order_id, &(limit + 1)];
    let found = app.read_models.rows::<Processes, SummaryRow>(&wait, &[], SELECT_SUMMARIES, &params).await?;
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
    Ok(tagged_by_digest(&headers, &found.position, &ProcessPage { items, next_cursor }))
}
