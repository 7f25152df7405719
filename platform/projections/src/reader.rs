//! Runs the reader of a process's projections, and the tasks beside it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use event_bus::{BusConfig, ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, run_consumer};
use event_log::{EventSet, TOPIC_PARTITIONS};
use runtime::{Check, Health};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::change_notifier::{ChangeNotifier, watch_other_processes};
use crate::{ProjectionHandler, ProjectionSet, parked};

/// A reader without progress for longer than this while records wait is not ready.
const WITHOUT_PROGRESS_MAX: Duration = Duration::from_secs(10);
/// After a batch the reader pauses for as long as the batch took: half of the time is spent on batches at most, until they are
/// full.
const PAUSE_PERCENT: u32 = 100;

/// What a process needs to apply its projections.
pub struct Reader<E: EventSet> {
    pub set: ProjectionSet<E>,
    pub bus: BusConfig,
    /// Two connections of its own, as the role of the set's schema.
    pub pool: Pool,
    /// The connections that answer requests: what is parked and what other processes applied is read by them.
    pub query_pool: Pool,
    pub notifier: ChangeNotifier,
    /// At most this many records are applied in one transaction.
    pub batch_max: usize,
}

impl<E: EventSet> Reader<E> {
    /// Applies the projections until `shutdown`. Each projection has two checks in `health`: `projection <name>`, which says how
    /// the reader does, and `projection <name> parked`.
    ///
    /// # Errors
    /// [`ConsumerError`]: someone must act. Where only `tradewind reconcile` helps, the requests are still answered, and health
    /// says why nothing more is applied: then it returns at the shutdown.
    pub async fn run(self, health: &Health, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        let Self { set, bus, pool, query_pool, notifier, batch_max } = self;
        let check = |name: String| health.check(format!("projection {name}"));
        let names: Vec<&str> = set.projectors.iter().map(|projector| projector.name()).collect();
        let checks: Vec<Check> = names.iter().map(|name| check((*name).to_owned())).collect();
        let parked_checks =
            names.iter().map(|name| (set.parked_consumer(name), check(format!("{name} parked")))).collect();
        let mut options = ConsumerOptions::new(set.consumer, set.contexts.iter().copied());
        options.batch_max = batch_max;
        options.pause_percent = PAUSE_PERCENT;
        let partitions = set.contexts.len() * TOPIC_PARTITIONS as usize;
        let projectors = set.projectors.clone();
        let handler = Arc::new(ProjectionHandler::new(set, pool, notifier.clone()));
        let watched = Arc::clone(&handler);
        let _tasks = [
            AbortOnDropHandle::new(tokio::spawn(parked::watch(query_pool.clone(), parked_checks))),
            AbortOnDropHandle::new(tokio::spawn(watch_other_processes(
                query_pool,
                notifier.clone(),
                projectors,
            ))),
            AbortOnDropHandle::new(tokio::spawn(async move { watched.watch_commits().await })),
        ];
        let report = health_report(checks.clone(), notifier, partitions);
        let ended = run_consumer(&bus, options, handler, report, shutdown.clone()).await;
        if let Err(error) = &ended
            && error.wants_reconciliation()
        {
            checks.iter().for_each(|check| check.failing(error.to_string()));
            shutdown.cancelled().await;
        }
        ended
    }
}

/// Every projection's check says how the one reader does.
fn health_report(checks: Vec<Check>, notifier: ChangeNotifier, partitions: usize) -> HealthReport {
    Arc::new(move |health: &ConsumerHealth| {
        notifier.set_reads_all(health.assigned == partitions);
        checks.iter().for_each(|check| match trouble(health) {
            None => check.ok(),
            Some(why) => check.failing(why),
        });
    })
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

    fn health(lag_records: Option<i64>, seconds: u64, reason: Option<&str>) -> ConsumerHealth {
        ConsumerHealth {
            assigned: 12,
            lag_records,
            furthest_behind: Some(("cups.events".to_owned(), 7, 4)),
            without_progress: Duration::from_secs(seconds),
            trouble: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_reader_without_progress_while_records_wait_is_not_ready() {
        assert_eq!(trouble(&health(Some(0), 3600, None)), None);
        assert_eq!(trouble(&health(Some(5), 1, None)), None);
        assert_eq!(
            trouble(&health(Some(5), 11, None)),
            Some("5 records wait, 4 of them in cups.events/7, and nothing was done for 11 s".to_owned())
        );
        assert_eq!(
            trouble(&health(None, 0, Some("joining the group"))),
            Some("joining the group".to_owned())
        );
    }
}
