//! Carries out the commands of a context's deadlines that have passed.
//!
//! The effect of a deadline and the end of its row (cleared, or set again) are one append, so two workers side by side do
//! no harm. A deadline is due by the database's clock alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use event_store::{Deadline, EventStore, StoreError};
use fault::crash_point;
use futures::{StreamExt, stream};
use runtime::Check;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::CommitError;

/// Rows read at a time.
const READ_MAX: usize = 256;
/// The pause between two reads of the table: the shorter one while something is due, doubled up to the longer one while nothing
/// is. A poll interval, not the repetition of something that failed, so the library for back-offs does not fit.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A row that is overdue for longer than this means that the worker does not keep up.
const OVERDUE_MAX: TimeDelta = TimeDelta::seconds(30);
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What the deadlines of a context do.
#[async_trait]
pub trait DeadlineActions: Send + Sync + 'static {
    /// The command that was stored with the deadline.
    type Command: DeserializeOwned + Send;

    /// What the command is called in the metrics.
    fn name(&self, command: &Self::Command) -> &'static str;

    /// Commits the command's effect, and in the same append clears the row or sets it again.
    ///
    /// # Errors
    /// [`CommitError`]: the row stays due.
    async fn execute(&self, deadline: &Deadline, command: Self::Command) -> Result<(), CommitError>;
}

/// Carries out the [`DeadlineActions`] of one context. Any number of workers may run.
/// [`Reactors::add_deadlines`](crate::Reactors::add_deadlines) runs it.
pub struct DeadlineWorker<A> {
    store: EventStore,
    actions: A,
    parallel_max: usize,
}

/// Rows that no worker can carry out, by id, with the reason: each stays due until a person has looked.
#[derive(Clone, Default)]
pub(crate) struct Unreadable(Arc<Mutex<BTreeMap<String, String>>>);

impl Unreadable {
    fn add(&self, id: String, reason: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, reason);
    }

    fn replace(&self, rows: BTreeMap<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl<A: DeadlineActions> DeadlineWorker<A> {
    /// `parallel_max`: deadlines carried out at a time.
    pub fn new(store: EventStore, actions: A, parallel_max: usize) -> Self {
        Self { store, actions, parallel_max }
    }

    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    fn context(&self) -> String {
        self.store.context().to_string()
    }

    /// Reads and carries out until `shutdown`; what was begun is finished.
    pub(crate) async fn run(self, check: Check, unreadable: Unreadable, shutdown: CancellationToken) {
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            pause = match self.execute_due(&check, &unreadable).await {
                Ok(0) => (pause * 2).min(PAUSE_MAX),
                Ok(_) => PAUSE_MIN,
                Err(error) => {
                    check.failing(error.to_string());
                    PAUSE_MAX
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Returns how many were carried out. A row that fails stays due, is named, and holds up none behind it.
    async fn execute_due(&self, check: &Check, known: &Unreadable) -> Result<usize, CommitError> {
        let mut done = 0;
        let mut unreadable = BTreeMap::new();
        let mut after = None;
        loop {
            let due = self.store.due_deadlines(after.as_ref(), READ_MAX).await?;
            let is_last = due.len() < READ_MAX;
            after = due.last().cloned();
            let rows = due.into_iter().map(|row| async move { (row.id.clone(), self.execute(row).await) });
            let mut rows = stream::iter(rows).buffer_unordered(self.parallel_max);
            let mut failed = None;
            while let Some((id, outcome)) = rows.next().await {
                match outcome {
                    Ok(()) => done += 1,
                    Err(CommitError::Refused(reason)) => {
                        known.add(id.clone(), reason.clone());
                        unreadable.insert(id, reason);
                    }
                    // This error is about more than one row. Those that were begun are finished.
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if is_last {
                break;
            }
        }
        self.report(check, &unreadable);
        known.replace(unreadable);
        Ok(done)
    }

    fn report(&self, check: &Check, unreadable: &BTreeMap<String, String>) {
        metrics::gauge!("tradewind_deadlines_unreadable", "context" => self.context())
            .set(unreadable.len() as f64);
        match unreadable.iter().next() {
            None => check.ok(),
            Some((id, reason)) => {
                let count = unreadable.len();
                check.degraded(format!("{count} deadlines cannot be read; the first is {id}: {reason}"));
            }
        }
    }

    async fn execute(&self, row: Deadline) -> Result<(), CommitError> {
        let command: A::Command = serde_json::from_value(row.command.clone())
            .map_err(|cause| CommitError::Refused(format!("its command does not parse: {cause}")))?;
        crash_point!("deadlines::due_before_acted");
        let name = self.actions.name(&command);
        let outcome = self.actions.execute(&row, command).await;
        let label = if outcome.is_ok() { "done" } else { "failed" };
        metrics::counter!(
            "tradewind_deadlines_total",
            "context" => self.context(), "kind" => name, "outcome" => label
        )
        .increment(1);
        outcome.inspect_err(
            |error| tracing::warn!(deadline = row.id, %error, "deadline not carried out; it stays due"),
        )
    }
}

/// Reports to readiness and metrics how long the oldest deadline is overdue, read from the table: also while a worker hangs.
/// Never returns.
pub(crate) async fn watch_overdue(store: EventStore, unreadable: Unreadable, check: Check) {
    loop {
        match oldest(&store, &unreadable).await {
            Ok(None) => check.ok(),
            Ok(Some(reason)) => check.failing(reason),
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// What is wrong with the oldest deadline that is due; none when nothing is.
async fn oldest(store: &EventStore, unreadable: &Unreadable) -> Result<Option<String>, StoreError> {
    let oldest = store.oldest_due_deadline(&unreadable.ids()).await?;
    let overdue = oldest.as_ref().map_or_else(TimeDelta::zero, |row| row.seen_at - row.due_at);
    let seconds = overdue.num_seconds();
    metrics::gauge!("tradewind_deadline_lag_seconds", "context" => store.context().to_string())
        .set(seconds as f64);
    Ok(oldest
        .filter(|_| overdue > OVERDUE_MAX)
        .map(|row| format!("the deadline {} of {} has been overdue for {seconds} s", row.id, row.stream)))
}
