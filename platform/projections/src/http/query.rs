//! Reads rows, and with them how far the read models have come: one statement, so both are of the same moment.
//!
//! A request that waits reads, and reads again when a batch was committed that may concern it.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use deadpool_postgres::Pool;
use event_bus::BusConfig;
use event_log::{ContextName, EventSet, Position, Positions, StreamId};
use runtime::Problem;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_postgres::types::{Json, ToSql};

use super::etag::{tagged_by_digest, tagged_by_version};
use super::found::{Found, Target, not_yet_applied, with_position};
use super::query_error::QueryError;
use super::wait::{RETRY_AFTER, WaitRequest};
use crate::ProjectionSet;
use crate::change_notifier::{ChangeNotifier, NotifyKey};
use crate::progress::{COLUMNS, Progress};
use crate::projection::{Projection, RowSource};
use crate::set::parked_consumer;

/// How often a waiting request reads by itself, whether it is woken or not.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Whether a row is what the request waits for; an error is what to answer when it is not so in time.
pub type Until<R> = fn(&R) -> Result<(), Problem>;

type Params<'a> = [&'a (dyn ToSql + Sync)];

/// The read models of a process, as its requests read them. Clones are the same.
#[derive(Clone)]
pub struct ReadModels {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    /// Names the topics that parked events are filed under.
    bus: BusConfig,
    notifier: ChangeNotifier,
    consumer: &'static str,
    contexts: &'static [ContextName],
}

/// What a query is about, beside its SQL.
struct Scope<'a> {
    /// The projection's parked events are filed under this.
    parked_consumer: String,
    streams: Vec<&'a str>,
    after: Option<&'a Positions>,
    /// None: the request waits for nothing, and reads once.
    timeout: Option<Duration>,
    row: Option<NotifyKey<'a>>,
}

/// What a waiting request answers when its time is over, and whether it waits for positions.
struct NotYet {
    problem: Problem,
    is_behind: bool,
}

impl ReadModels {
    /// `pool`: the connections that answer requests.
    pub fn new<E: EventSet>(
        set: &ProjectionSet<E>,
        pool: Pool,
        bus: BusConfig,
        notifier: ChangeNotifier,
    ) -> Self {
        let (consumer, contexts) = (set.consumer, set.contexts);
        Self { shared: Arc::new(Shared { pool, bus, notifier, consumer, contexts }) }
    }

    pub(crate) fn contexts(&self) -> &'static [ContextName] {
        self.shared.contexts
    }

    /// The rows of a query on the table of `P`, whose one column is JSON, once the request's positions are applied. `streams` as
    /// in [`Target`]; none for a list.
    ///
    /// # Errors
    /// 503 when the positions are not applied in time, when too many requests wait already, or when the read models are
    /// unavailable; 400 when there is a time-out and nothing to wait for.
    pub async fn rows<P: Projection, T: DeserializeOwned>(
        &self,
        wait: &WaitRequest,
        streams: &[StreamId],
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Found<Vec<T>>, Problem> {
        let scope = self.scope::<P>(wait, streams, None)?;
        self.query(&scope, sql, params, |_| Ok(())).await
    }

    /// The row of `P` that the request is about, once its positions are applied. `until`, where the request waits for more.
    ///
    /// # Errors
    /// As [`Self::rows`]; 404; what `until` last returned.
    pub async fn row<P: Projection>(
        &self,
        wait: &WaitRequest,
        target: &Target<'_>,
        until: Option<Until<P::Row>>,
    ) -> Result<Found<P::Row>, Problem> {
        let row = until.map(|_| NotifyKey { table: P::TABLE, key: target.key });
        let scope = self.scope::<P>(wait, target.streams, row)?;
        let sql = format!("SELECT row_to_json(t) FROM {} t WHERE {} = $1", P::TABLE, P::KEY_COLUMN);
        let enough = |rows: &[P::Row]| match (rows.first(), until) {
            (Some(row), Some(until)) => until(row),
            // A thing that was made a moment ago may not be applied yet, unless the request names its position.
            (None, Some(_)) if wait.after.is_none() => Err(target.not_found()),
            (None, Some(_)) | (_, None) => Ok(()),
        };
        let found = self.query(&scope, &sql, &[&target.key], enough).await?;
        let Found { mut rows, position } = found.some(target)?;
        Ok(Found { rows: rows.swap_remove(0), position })
    }

    /// Answers with the row itself. Its entity tag is the version of its stream, where one stream feeds it.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn show<P: Projection>(
        &self,
        headers: &HeaderMap,
        wait: &WaitRequest,
        target: &Target<'_>,
        until: Option<Until<P::Row>>,
    ) -> Result<Response, Problem> {
        let Found { rows: row, position } = self.row::<P>(wait, target, until).await?;
        Ok(match P::SOURCE {
            RowSource::OneStream(version) => tagged_by_version(headers, &position, version(&row), &row),
            RowSource::OneEvent | RowSource::SeveralStreams => tagged_by_digest(headers, &position, &row),
        })
    }

    fn scope<'a, P: Projection>(
        &self,
        wait: &'a WaitRequest,
        streams: &'a [StreamId],
        row: Option<NotifyKey<'a>>,
    ) -> Result<Scope<'a>, Problem> {
        Ok(Scope {
            parked_consumer: parked_consumer(self.shared.consumer, P::NAME),
            streams: streams.iter().map(StreamId::as_str).collect(),
            after: wait.after.as_ref(),
            timeout: wait.timeout(row.is_some())?,
            row,
        })
    }

    async fn query<T: DeserializeOwned>(
        &self,
        scope: &Scope<'_>,
        sql: &str,
        params: &Params<'_>,
        enough: impl Fn(&[T]) -> Result<(), Problem>,
    ) -> Result<Found<Vec<T>>, Problem> {
        let once = async |instead: Option<Problem>| match self.try_query(scope, sql, params, &enough).await? {
            ControlFlow::Break(found) => Ok(found),
            ControlFlow::Continue(NotYet { problem, .. }) => Err(instead.unwrap_or(problem)),
        };
        let Some(timeout) = scope.timeout else { return once(None).await };
        let deadline = Instant::now() + timeout;
        // Most waiting requests come before there is anything to read: they subscribe first, and so read once less.
        let mut subscription = match self.shared.notifier.subscribe(scope.row) {
            Ok(subscription) => subscription,
            Err(error) => {
                let problem =
                    Problem::unavailable("too_many_waiting", "Too many waiting requests", RETRY_AFTER);
                return once(Some(problem.detail(error.to_string()))).await;
            }
        };
        let row = subscription.row();
        loop {
            // Subscribe first, then read: a change in between is noticed.
            subscription.begin();
            let mut changed = pin!(row.as_ref().map(|row| row.notified()));
            if let Some(changed) = changed.as_mut().as_pin_mut() {
                changed.enable();
            }
            let NotYet { problem, is_behind } = match self.try_query(scope, sql, params, &enough).await? {
                ControlFlow::Break(found) => return Ok(found),
                ControlFlow::Continue(not_yet) => not_yet,
            };
            let now = Instant::now();
            if now >= deadline {
                return Err(problem);
            }
            let woken = async {
                match (scope.after, changed.as_mut().as_pin_mut()) {
                    (Some(after), _) if is_behind => subscription.applied(after).await,
                    (_, Some(changed)) => changed.await,
                    (_, None) => std::future::pending().await,
                }
            };
            // Whichever comes first; then read again.
            let _ = tokio::time::timeout_at(deadline.min(now + POLL_INTERVAL), woken).await;
        }
    }

    async fn try_query<T: DeserializeOwned>(
        &self,
        scope: &Scope<'_>,
        sql: &str,
        params: &Params<'_>,
        enough: impl Fn(&[T]) -> Result<(), Problem>,
    ) -> Result<ControlFlow<Found<Vec<T>>, NotYet>, Problem> {
        let (found, applied, is_parked) = self.read::<T>(scope, sql, params).await?;
        let not_yet = |problem, is_behind| {
            ControlFlow::Continue(NotYet { problem: with_position(problem, &found.position), is_behind })
        };
        if let Some(after) = scope.after
            && (is_parked || !applied.include(after))
        {
            return Ok(not_yet(not_yet_applied(after, &applied, is_parked), true));
        }
        Ok(match enough(&found.rows) {
            Ok(()) => ControlFlow::Break(found),
            Err(problem) => not_yet(problem, false),
        })
    }

    /// The rows, what is applied, and whether anything up to the request's positions is parked.
    async fn read<T: DeserializeOwned>(
        &self,
        scope: &Scope<'_>,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<(Found<Vec<T>>, Positions, bool), QueryError> {
        let Shared { pool, bus, contexts, .. } = &*self.shared;
        let sql = with_progress(sql, params.len() + 1, scope.after.is_some());
        let (topics, positions): (Vec<String>, Vec<Position>) = scope
            .after
            .into_iter()
            .flat_map(Positions::iter)
            .map(|at| (bus.topic(at.context), at.position))
            .unzip();
        let of_scope: [&(dyn ToSql + Sync); 4] =
            [&scope.parked_consumer, &topics, &positions, &scope.streams];
        let of_scope = of_scope.iter().filter(|_| scope.after.is_some());
        let params: Vec<_> = params.iter().chain(of_scope).copied().collect();
        let client = pool.get().await?;
        let statement = client.prepare_cached(&sql).await?;
        let row = client.query_one(&statement, &params).await?;
        let Json(progress) = row.try_get::<_, Json<Vec<(String, Position, Position)>>>(0)?;
        let Json(rows) = row.try_get::<_, Json<Vec<T>>>(1)?;
        let Progress { applied, seen } = Progress::from_rows(progress);
        // A context that only a newer build knows cannot be named in a request.
        let position = seen.iter().filter(|token| contexts.contains(&token.context)).collect();
        Ok((Found { rows, position }, applied, row.try_get(2)?))
    }
}

/// A statement of one row: how far the read models have come, the rows of `sql` as one JSON, and whether anything up to the
/// request's positions is parked. The parameters of the last begin at `first`.
fn with_progress(sql: &str, first: usize, has_positions: bool) -> String {
    // The named events are not parked, nor anything before them in the streams of the target.
    let parked = match has_positions {
        false => "false".to_owned(),
        true => format!(
            "EXISTS (SELECT FROM parked_events k, unnest(${}::text[], ${}::bigint[]) AS a (topic, position)
                      WHERE k.consumer = ${first} AND k.topic = a.topic
                        AND (k.position = a.position OR (k.stream = ANY(${}::text[]) AND k.position <= a.position)))",
            first + 1,
            first + 2,
            first + 3,
        ),
    };
    format!(
        "SELECT (SELECT coalesce(json_agg(json_build_array(context, applied, seen)), '[]')
                   FROM (SELECT {COLUMNS} FROM progress) AS p (context, applied, seen)),
                (SELECT coalesce(json_agg(found.entry), '[]') FROM ({sql}) AS found (entry)),
                {parked}"
    )
}
