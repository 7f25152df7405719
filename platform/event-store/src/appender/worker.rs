//! The appender's task: takes appends from the queue, sends them, and reports their outcomes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use event_log::ContextName;
use fault::crash_point;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Outcome, QueuedAppend};
use crate::append_notifier::AppendNotifier;
use crate::batch::{self, Command};
use crate::cache::AggregateCache;
use crate::error::{AppendError, StoreError, describe};
use crate::failure::{Failure, own_events};
use crate::in_flight::{AppendHandle, AppendState};
use crate::store::StoreOptions;

/// The connection counts as broken after this long without an answer. Longer than the SQL function waits for the lock.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Scheduler turns without a new append; each takes a microsecond or two while no other task is ready.
const IDLE_TURNS_MAX: u32 = 16;

pub(super) struct Worker {
    context: ContextName,
    pool: Pool,
    client: Option<ClientWrapper>,
    cache: Arc<AggregateCache>,
    notifier: AppendNotifier,
    options: StoreOptions,
    waiting: mpsc::Receiver<QueuedAppend>,
    /// Taken from the queue, but too large for the batch: it begins the next one.
    held_back: Option<QueuedAppend>,
}

impl Worker {
    pub(super) fn new(
        context: ContextName,
        pool: Pool,
        options: StoreOptions,
        cache: Arc<AggregateCache>,
        waiting: mpsc::Receiver<QueuedAppend>,
    ) -> Self {
        let notifier = AppendNotifier::start(context, pool.clone());
        Self { context, pool, client: None, cache, notifier, options, waiting, held_back: None }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut answered = 0;
        while let Some(first) = self.next(&stop).await {
            self.wait_for_followers(answered).await;
            let batch = self.fill(first);
            answered = batch.len();
            if batch.is_empty() {
                continue;
            }
            self.measure(&batch);
            let started = Instant::now();
            self.settle(batch, started, false).await;
            metrics::histogram!("tradewind_append_duration_seconds", "context" => self.context.to_string())
                .record(started.elapsed());
        }
    }

    /// Waits for follow-up appends of clients that were just answered, so that these join this batch instead of
    /// queueing behind it. Stops when as many have arrived as were answered, or when none arrives for some scheduler
    /// turns.
    async fn wait_for_followers(&self, answered: usize) {
        let mut turns = 0;
        // The first append is no longer in the queue.
        while self.waiting.len() + 1 < answered && turns < IDLE_TURNS_MAX {
            let before = self.waiting.len();
            tokio::task::yield_now().await;
            turns = if self.waiting.len() > before { 0 } else { turns + 1 };
        }
    }

    /// The next append, as soon as there is one. None if the store is shutting down and the queue is empty.
    async fn next(&mut self, stop: &CancellationToken) -> Option<QueuedAppend> {
        if stop.is_cancelled() {
            self.waiting.close();
        }
        if let Some(held_back) = self.held_back.take() {
            return Some(held_back);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.waiting.close();
                self.waiting.recv().await
            }
            next = self.waiting.recv() => next,
        }
    }

    /// Collects the waiting appends, up to the limits. The result is empty if all of them depended on failed appends.
    fn fill(&mut self, first: QueuedAppend) -> Vec<QueuedAppend> {
        let mut events = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(waiting) = next {
            if waiting.has_failed_dependency() {
                waiting.report(Err(AppendError::DependencyFailed));
            } else {
                events += waiting.prepared.metadata.len();
                if events > self.options.batch_events_max && !batch.is_empty() {
                    self.held_back = Some(waiting);
                    break;
                }
                batch.push(waiting);
            }
            let has_room = batch.len() < self.options.batch_commands_max;
            next = if has_room { self.waiting.try_recv().ok() } else { None };
        }
        batch
    }

    /// Sends the batch until its outcome is known, and reports it to each caller. `open`: an earlier attempt may be in
    /// the log.
    async fn settle(&mut self, batch: Vec<QueuedAppend>, started: Instant, mut open: bool) {
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            match self.attempt(&batch, open).await {
                Ok(outcomes) => {
                    crash_point!("appender::committed_before_answer");
                    return self.report(batch, outcomes);
                }
                Err(Failure::Refused(cause)) if batch.len() > 1 => {
                    // One command caused the refusal. The appender sends each alone, so that the others succeed.
                    warn!(context = %self.context, cause = describe(&cause), commands = batch.len(), "batch refused; sending its commands one by one");
                    for alone in batch {
                        if alone.has_failed_dependency() {
                            alone.report(Err(AppendError::DependencyFailed));
                        } else {
                            Box::pin(self.settle(vec![alone], started, open)).await;
                        }
                    }
                    return;
                }
                Err(Failure::Refused(cause)) => return self.fail(batch, || self.database_error(&cause)),
                Err(Failure::Temporary(cause)) if !open => {
                    self.client = None;
                    return self.fail(batch, || self.database_error(&cause));
                }
                Err(Failure::Temporary(_) | Failure::NotSent) => self.client = None,
                Err(Failure::Open) => {
                    self.client = None;
                    open = true;
                }
            }
            let (context, waited) = (self.context, started.elapsed());
            if waited > self.options.outage_wait_max {
                return self.fail(batch, || match open {
                    true => StoreError::OutcomeUnknown { context, waited },
                    false => StoreError::Unavailable { context, waited },
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    /// Returns the open connection or makes a new one. It belongs to the appender alone and does not count against the
    /// pool.
    async fn connection(&mut self) -> Result<&ClientWrapper, Failure> {
        let context = self.context;
        match self.client.take().filter(|client| !client.is_closed()) {
            Some(open) => Ok(self.client.insert(open)),
            None => match tokio::time::timeout(ANSWER_WAIT_MAX, self.pool.get()).await {
                Ok(Ok(object)) => {
                    info!(%context, "the appender connected");
                    // The database may have been restored from a backup, so cached states may belong to another log.
                    self.cache.clear();
                    Ok(self.client.insert(Object::take(object)))
                }
                Ok(Err(cause)) => {
                    let error = StoreError::NoConnection { context, cause: Arc::new(cause) };
                    warn!(%context, %error, "the appender could not connect");
                    Err(Failure::NotSent)
                }
                Err(_) => Err(Failure::NotSent),
            },
        }
    }

    async fn attempt(&mut self, batch: &[QueuedAppend], open: bool) -> Result<Vec<Outcome>, Failure> {
        let client = self.connection().await?;
        let commands: Vec<Command> = batch.iter().map(|waiting| command(waiting, batch)).collect();
        crash_point!("appender::before_send");
        let sent = async {
            let mut outcomes = batch::append(client, &commands).await?;
            if open {
                for (outcome, own) in outcomes.iter_mut().zip(own_events(client, &commands).await?) {
                    if let (Err(_), Some(appended)) = (&outcome, own) {
                        *outcome = Ok(appended);
                    }
                }
            }
            Ok(outcomes)
        };
        match tokio::time::timeout(ANSWER_WAIT_MAX, sent).await {
            Ok(answer) => answer.map_err(Failure::of),
            Err(_) => Err(Failure::Open),
        }
    }

    fn report(&self, batch: Vec<QueuedAppend>, outcomes: Vec<Outcome>) {
        let conflicts =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(e) if e.is_conflict())).count();
        metrics::counter!("tradewind_append_conflicts_total", "context" => self.context.to_string())
            .increment(conflicts as u64);
        if outcomes.iter().flatten().any(|appended| appended.first_position > 0) {
            self.notifier.notify();
        }
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            waiting.report(outcome);
        }
    }

    fn fail(&self, batch: Vec<QueuedAppend>, error: impl Fn() -> StoreError) {
        warn!(context = %self.context, commands = batch.len(), error = %error(), "appends failed");
        for waiting in batch {
            waiting.report(Err(error().into()));
        }
    }

    fn database_error(&self, cause: &Arc<tokio_postgres::Error>) -> StoreError {
        StoreError::Database { context: self.context, doing: "append", cause: Arc::clone(cause) }
    }

    fn measure(&self, batch: &[QueuedAppend]) {
        let events: usize = batch.iter().map(|waiting| waiting.prepared.metadata.len()).sum();
        let context = self.context.to_string();
        metrics::histogram!("tradewind_append_batch_commands", "context" => context.clone())
            .record(batch.len() as f64);
        metrics::histogram!("tradewind_append_batch_events", "context" => context.clone())
            .record(events as f64);
        metrics::gauge!("tradewind_append_queue_commands", "context" => context.clone())
            .set(self.waiting.len() as f64);
    }
}

/// Adds the indexes in the batch of the appends that it depends on and that are not in the log yet.
fn command<'a>(waiting: &'a QueuedAppend, batch: &[QueuedAppend]) -> Command<'a> {
    let index_of =
        |handle: &AppendHandle| batch.iter().position(|earlier| earlier.outcome_sender.settles(handle));
    let open = waiting.depends_on.iter().filter(|handle| handle.state() == AppendState::Open);
    let depends_on = open.map(|handle| index_of(handle).expect("one batch is in flight at a time")).collect();
    Command { prepared: &waiting.prepared, depends_on }
}
