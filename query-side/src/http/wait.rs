//! How a request sees its own write, and how it waits for an outcome: it looks, and looks again when its row changes.
//!
//! `?after=orders:1234` holds when the projection has applied that position of the entity's own stream: the stream's
//! name gives its partition, whose checkpoint says how far the projection is; and the stream must not be parked before. Never: an older answer in silence, a wait
//! without an end. Read next: [`crate::arrivals`].

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use axum::http::StatusCode;
use events::{Context, PositionToken, StreamId, TOPIC_PARTITIONS, partition_of};
use runtime::Problem;
use tokio::time::Instant;

use super::App;
use super::failure::{ReadError, connection};
use super::params::{After, AfterHeader, TIMEOUT_MS_DEFAULT, TimeoutMs, invalid_query};
use crate::engine::consumer_name;

/// How often a waiter looks by itself: what another process applied is not announced in this one.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a request waits for: that the projection has applied `token`, which stands in `stream`.
#[derive(Debug, Clone)]
pub struct ReadYourWrite {
    projection: &'static str,
    token: PositionToken,
    stream: StreamId,
}

impl ReadYourWrite {
    /// None when the request named no position. `streams` are those of the entity that feed the projection.
    ///
    /// # Errors
    /// 400, when the query and the header differ, or name a context that none of the streams lies in.
    pub fn of(
        projection: &'static str,
        streams: &[StreamId],
        query: Option<After>,
        AfterHeader(header): AfterHeader,
    ) -> Result<Option<Self>, Problem> {
        if let (Some(query), Some(header)) = (query, header)
            && query != header
        {
            let detail = format!("is {}, and the header X-Tradewind-After is {}", query.0, header.0);
            return Err(invalid_query("after", detail, "the same in both, or one of them"));
        }
        let Some(After(token)) = query.or(header) else { return Ok(None) };
        match streams.iter().find(|stream| stream.context() == Some(token.context)) {
            Some(stream) => Ok(Some(Self { projection, token, stream: stream.clone() })),
            None => {
                let contexts: Vec<&str> =
                    streams.iter().filter_map(StreamId::context).map(Context::name).collect();
                let allowed = format!("a position of {}", contexts.join(", "));
                Err(invalid_query("after", format!("is {token}"), allowed))
            }
        }
    }

    /// Whether it is so by now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn is_applied(&self, app: &App) -> Result<bool, ReadError> {
        let Self { projection, token, stream } = self;
        let client = connection(&app.pool).await?;
        let statement = client
            .prepare_cached(
                "SELECT c.last_position >= $4
                        AND NOT EXISTS (SELECT FROM parked_events p
                                         WHERE p.consumer = $1 AND p.stream = $5 AND p.position <= $4)
                   FROM checkpoints c WHERE c.consumer = $1 AND c.topic = $2 AND c.partition = $3",
            )
            .await?;
        let (consumer, topic) = (consumer_name(projection), app.bus.topic(token.context));
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
        let row = client
            .query_opt(&statement, &[&consumer, &topic, &partition, &token.position, &stream.as_str()])
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(token.position == 0))
    }

    pub fn not_yet(&self) -> Problem {
        Problem::unavailable("not_yet_applied", "The read model has not come that far", RETRY_AFTER)
            .detail(format!("{} of {} is not applied yet", self.token, self.stream))
            .with("after", self.token.to_string())
    }
}

/// Looks until it finds, at most `timeout` long; then what was found instead is the answer. A time-out of none looks
/// once.
///
/// # Errors
/// What `look` ends with, what it last found instead, or 503 when too many wait already.
pub async fn until<T, F>(
    app: &App,
    projection: &'static str,
    key: &str,
    timeout: Option<Duration>,
    look: impl Fn() -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Result<ControlFlow<T, Problem>, Problem>>,
{
    let mut instead = match look().await? {
        ControlFlow::Break(found) => return Ok(found),
        ControlFlow::Continue(instead) => instead,
    };
    let Some(timeout) = timeout else { return Err(instead) };
    let deadline = Instant::now() + timeout;
    let watch = app.arrivals.watch(projection, key).map_err(|error| {
        Problem::unavailable("too_many_waiting", "Too many requests wait already", RETRY_AFTER)
            .detail(error.to_string())
    })?;
    loop {
        // Listen first, then look: what changes in between is heard.
        let mut changed = pin!(watch.changed());
        changed.as_mut().enable();
        match look().await? {
            ControlFlow::Break(found) => return Ok(found),
            ControlFlow::Continue(latest) => instead = latest,
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(instead);
        }
        // Whichever comes first; then look again.
        let _ = tokio::time::timeout_at(deadline.min(now + LOOK_EVERY), changed).await;
    }
}

/// The time-out of a request that waits for something; none for one that does not.
///
/// # Errors
/// 400, when a time-out is given and there is nothing to wait for.
pub fn timeout(given: Option<TimeoutMs>, waits: bool) -> Result<Option<Duration>, Problem> {
    match (given, waits) {
        (given, true) => {
            let milliseconds = given.unwrap_or(TIMEOUT_MS_DEFAULT).0;
            Ok(Some(Duration::from_millis(milliseconds.unsigned_abs())))
        }
        (None, false) => Ok(None),
        (Some(_), false) => {
            Err(invalid_query("timeout_ms", "there is nothing to wait for", "together with after or wait"))
        }
    }
}

/// 404, with the name of what is not there.
pub fn not_found(kind: &'static str, key: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{kind}_not_found"), "The read model has no such row")
        .detail(format!("there is no {kind} {key}, or the read model has not heard of it yet"))
}
