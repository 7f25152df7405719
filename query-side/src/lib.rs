//! The query side: Kafka in, tables, HTTP out.
//!
//! Never: `domain`. No rule is decided twice; a projection tells what happened. Nothing here writes to a log or a topic.
//! Read next: [`projections::orders`] (how facts become answers), [`engine`] (how a batch becomes rows), [`consumer`]
//! (how both happen exactly once), [`routes::router`].

use std::sync::Arc;
use std::time::Duration;

use event_bus::{BusConfig, ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, run_consumer};
use events::{Context, TOPIC_PARTITIONS};
use runtime::http::{BindError, Limits, bind, serve};
use runtime::postgres::{self, PostgresError};
use runtime::{Check, Health, ops_router};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub mod arrivals;
mod config;
pub mod consumer;
pub mod engine;
pub mod http;
mod migrate;
pub mod parked;
pub mod progress;
pub mod projection;
pub mod projections;
pub mod rebuild;
pub mod routes;
pub mod story;

pub use config::Config;
pub use migrate::{MigrateError, migrate};

use arrivals::{Arrivals, follow_others};
use consumer::ProjectionHandler;
use engine::{READER, consumer_name};

/// The owner of the read models: their schema, and the end of their role's name.
pub const READ_MODEL: &str = "readmodel";

/// A consumer that stands still longer than this while records wait is not ready.
const WITHOUT_PROGRESS_MAX: Duration = Duration::from_secs(10);
/// Partitions of the topics of all contexts.
const PARTITIONS_OF_ALL: usize = Context::ALL.len() * TOPIC_PARTITIONS as usize;
/// After a batch the reader pauses for as long as the batch took: half of the time is spent on batches at most, until they
/// are full.
const PAUSE_PERCENT: u32 = 100;
/// Requests beyond those that wait.
const REQUESTS_IN_FLIGHT_MAX: usize = 512;
/// Above the longest wait that a request may ask for (`TimeoutMs`).
const REQUEST_MAX: Duration = Duration::from_secs(75);

/// Why the query side stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

/// Projects and answers until `shutdown`.
///
/// # Errors
/// [`Error`]: it could not start, or a projection cannot go on; someone must act.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let listener = bind(config.listen, "--query-side-listen").await?;
    let url = config.read_model_url();
    let health = Health::new();
    let arrivals = Arrivals::new(config.query_waiters_max);
    let app = http::App {
        pool: postgres::pool(&url, config.query_connections_max)?,
        bus: config.bus.clone(),
        arrivals: arrivals.clone(),
        stuck_after: Duration::from_secs(config.stuck_after_seconds),
    };
    let projectors = projections::all();
    let check = |name: String| health.check(format!("projection {name}"));
    let checks = projectors.iter().map(|projector| check(projector.name().to_owned())).collect();
    let parked_checks = projectors
        .iter()
        .map(|projector| (consumer_name(projector.name()), check(format!("{} parked", projector.name()))))
        .collect();
    let mut options = ConsumerOptions::new(READER, Context::ALL);
    options.batch_max = config.projection_batch_max;
    options.pause_percent = PAUSE_PERCENT;
    // One connection applies batches; the other reads checkpoints meanwhile.
    let handler = Arc::new(ProjectionHandler::new(projectors, postgres::pool(&url, 2)?, arrivals.clone()));
    let watched = Arc::clone(&handler);
    let consumer = consume(config.bus.clone(), options, handler, checks, arrivals.clone(), shutdown.clone());
    let limits = Limits {
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX + config.query_waiters_max,
        request_max: REQUEST_MAX,
        ..Limits::default()
    };
    let watches = [
        AbortOnDropHandle::new(tokio::spawn(parked::watch(app.pool.clone(), parked_checks))),
        AbortOnDropHandle::new(tokio::spawn(follow_others(app.pool.clone(), arrivals))),
        AbortOnDropHandle::new(tokio::spawn(async move { watched.watch_commits().await })),
    ];
    let router = routes::router(Arc::new(app)).merge(ops_router(health));
    let stop = shutdown.child_token();
    let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
    tracing::info!(listen = %config.listen, "query side answers");
    let ended = consumer.await;
    stop.cancel();
    let _ = server.await;
    drop(watches);
    Ok(ended?)
}

/// Every projection's check says how the one reader does.
async fn consume(
    bus: BusConfig,
    options: ConsumerOptions,
    handler: Arc<ProjectionHandler>,
    checks: Vec<Check>,
    arrivals: Arrivals,
    shutdown: CancellationToken,
) -> Result<(), ConsumerError> {
    let told = checks.clone();
    let report: HealthReport = Arc::new(move |health: &ConsumerHealth| {
        arrivals.reads_all(health.assigned == PARTITIONS_OF_ALL);
        told.iter().for_each(|check| match trouble(health) {
            None => check.ok(),
            Some(why) => check.failing(why),
        });
    });
    let ended = run_consumer(&bus, options, handler, report, shutdown.clone()).await;
    if let Err(error) = &ended
        && error.wants_reconciliation()
    {
        // What was applied is still answered; and whoever asks shall be told why nothing more is.
        checks.iter().for_each(|check| check.failing(error.to_string()));
        shutdown.cancelled().await;
    }
    ended
}

/// What is wrong with a consumer, from its progress; none when it is ready.
fn trouble(health: &ConsumerHealth) -> Option<String> {
    health.trouble.clone().or_else(|| health.stuck(WITHOUT_PROGRESS_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use event_bus::ConsumerHealth;

    use super::trouble;

    fn health(lag_records: Option<i64>, seconds: u64, said: Option<&str>) -> ConsumerHealth {
        ConsumerHealth {
            assigned: 12,
            lag_records,
            furthest_behind: Some(("orders.events".to_owned(), 7, 4)),
            without_progress: Duration::from_secs(seconds),
            trouble: said.map(str::to_owned),
        }
    }

    #[test]
    fn a_projection_that_stands_still_while_records_wait_is_not_ready() {
        assert_eq!(trouble(&health(Some(0), 3600, None)), None);
        assert_eq!(trouble(&health(Some(5), 1, None)), None);
        assert_eq!(
            trouble(&health(Some(5), 11, None)),
            Some("5 records wait, 4 of them in orders.events/7, and nothing was done for 11 s".to_owned())
        );
        assert_eq!(
            trouble(&health(None, 0, Some("joining the group"))),
            Some("joining the group".to_owned())
        );
    }
}
