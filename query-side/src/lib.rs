//! The query side: Kafka in, tables, HTTP out.
//!
//! Never: `domain`. No rule is decided twice; a projection tells what happened. Nothing here writes to a log or a topic.
//! Read next: [`projections::orders`] (how facts become answers), [`engine`] (how a batch becomes rows), [`consumer`]
//! (how both happen exactly once), [`routes::router`].

use std::sync::Arc;
use std::time::Duration;

use event_bus::{BusConfig, ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, run_consumer};
use runtime::http::{BindError, Limits, bind, serve};
use runtime::postgres::{self, PostgresError};
use runtime::{Check, Health, ops_router};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub mod arrivals;
mod config;
pub mod consumer;
pub mod engine;
pub mod http;
mod migrate;
pub mod parked;
pub mod projection;
pub mod projections;
pub mod rebuild;
pub mod routes;
pub mod story;

pub use config::Config;
pub use migrate::{MigrateError, migrate};

use arrivals::Arrivals;
use consumer::ProjectionHandler;
use engine::consumer_name;

/// The owner of the read models: their schema, and the end of their role's name.
pub const READ_MODEL: &str = "readmodel";

/// A consumer that stands still longer than this while records wait is not ready.
const WITHOUT_PROGRESS_MAX: Duration = Duration::from_secs(10);
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
    let mut consumers = JoinSet::new();
    let mut parked_checks = Vec::new();
    for projector in projections::all() {
        let mut options = ConsumerOptions::new(consumer_name(projector.name()), projector.contexts());
        options.batch_max = config.projection_batch_max;
        options.pause_percent = 100;
        let check = health.check(format!("projection {}", projector.name()));
        let parked = health.check(format!("projection {} parked", projector.name()));
        parked_checks.push((consumer_name(projector.name()), parked));
        // One connection applies batches; the other reads checkpoints when partitions are assigned meanwhile.
        let handler = ProjectionHandler::new(projector, postgres::pool(&url, 2)?, arrivals.clone());
        consumers.spawn(consume(config.bus.clone(), options, handler, check, shutdown.clone()));
    }
    let limits = Limits {
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX + config.query_waiters_max,
        request_max: REQUEST_MAX,
        ..Limits::default()
    };
    let watch = AbortOnDropHandle::new(tokio::spawn(parked::watch(app.pool.clone(), parked_checks)));
    let router = routes::router(Arc::new(app)).merge(ops_router(health));
    let stop = shutdown.child_token();
    let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
    tracing::info!(listen = %config.listen, "query side answers");
    let ended = first_error(&mut consumers).await;
    stop.cancel();
    // After an error others may be in the middle of a batch: its transaction is rolled back, and comes again.
    consumers.shutdown().await;
    let _ = server.await;
    drop(watch);
    ended
}

async fn consume(
    bus: BusConfig,
    options: ConsumerOptions,
    handler: ProjectionHandler,
    check: Check,
    shutdown: CancellationToken,
) -> Result<(), ConsumerError> {
    let told = check.clone();
    let report: HealthReport = Arc::new(move |health: &ConsumerHealth| match trouble(health) {
        None => told.ok(),
        Some(why) => told.failing(why),
    });
    let ended = run_consumer(&bus, options, Arc::new(handler), report, shutdown.clone()).await;
    if let Err(error) = &ended
        && error.wants_reconciliation()
    {
        // What was applied is still answered; and whoever asks shall be told why nothing more is.
        check.failing(error.to_string());
        shutdown.cancelled().await;
    }
    ended
}

/// What is wrong with a consumer, from its progress; none when it is ready.
fn trouble(health: &ConsumerHealth) -> Option<String> {
    health.trouble.clone().or_else(|| health.stuck(WITHOUT_PROGRESS_MAX))
}

/// Waits until all have ended, or one has failed.
async fn first_error(consumers: &mut JoinSet<Result<(), ConsumerError>>) -> Result<(), Error> {
    while let Some(ended) = consumers.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(())
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
