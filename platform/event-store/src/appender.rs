//! Group commit: one task per store that sends all waiting appends as one batch.
//!
//! One batch is in flight at a time, and there is no timer. An idle log appends at once; under load the batches grow.
//! Before the appender closes a batch, it waits briefly for clients that it has just answered (docs/decisions/0020).
//!
//! The task has its own connection. If the connection breaks during a batch, the appender does not know whether the
//! batch was committed. It then sends the batch again: the version checks make that harmless, and a command that
//! conflicts with its own events was appended by the first attempt ([`own_events`]). Callers get a definite answer.
//!
//! Never: an unbounded queue, a timer, or two batches at once. A cancelled caller does not cancel its append.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use event_log::ContextName;
use fault::crash_point;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::append::{Appended, Prepared};
use crate::append_notifier::AppendNotifier;
use crate::batch::{self, Command};
use crate::cache::AggregateCache;
use crate::error::{AppendError, StoreError, describe};
use crate::failure::{Failure, own_events};
use crate::in_flight::{AppendHandle, AppendState, OutcomeSender};
use crate::store::StoreOptions;

/// The connection counts as broken after this long without an answer. Longer than the SQL function waits for the lock.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Scheduler turns without a new append; each takes a microsecond or two while no other task is ready.
const IDLE_TURNS_MAX: u32 = 16;
/// The least that a command counts against the queue's bytes.
const COMMAND_BYTES_MIN: usize = 512;

type Outcome = Result<Appended, AppendError>;

/// Handle of the appender's task.
pub(crate) struct Appender {
    context: ContextName,
    queue: mpsc::Sender<QueuedAppend>,
    queue_bytes: Arc<Semaphore>,
    queue_bytes_max: usize,
    stop: CancellationToken,
    task: TaskTracker,
}

/// An append in the queue, with the channels that report its outcome.
struct QueuedAppend {
    prepared: Prepared,
    /// The appends that it was decided on. When it is sent, each of them is in the log, earlier in the same batch, or
    /// failed.
    depends_on: Vec<AppendHandle>,
    outcome_sender: OutcomeSender,
    caller: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl QueuedAppend {
    fn has_failed_dependency(&self) -> bool {
        self.depends_on.iter().any(|handle| handle.state() == AppendState::Failed)
    }

    fn report(self, outcome: Outcome) {
        self.outcome_sender.settle(outcome.is_ok());
        // A dropped caller no longer receives the outcome.
        let _ = self.caller.send(outcome);
    }
}

impl Appender {
    /// Starts the task. The task connects at the first append, so a process that only reads has no idle connection.
    pub(crate) fn start(
        context: ContextName,
        pool: Pool,
        options: StoreOptions,
        cache: Arc<AggregateCache>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(options.queue_commands_max);
        let queue_bytes_max = options.queue_bytes_max.min(Semaphore::MAX_PERMITS);
        let stop = CancellationToken::new();
        let task = TaskTracker::new();
        let notifier = AppendNotifier::start(context, pool.clone());
        let worker =
            Worker { context, pool, client: None, cache, notifier, options, waiting, held_back: None };
        task.spawn(worker.run(stop.clone()));
        task.close();
        Self {
            context,
            queue,
            queue_bytes: Arc::new(Semaphore::new(queue_bytes_max)),
            queue_bytes_max,
            stop,
            task,
        }
    }

    /// Queues the append at once, or refuses it if the queue is full. The returned future resolves to the outcome.
    /// `depends_on` names the appends that this one was decided on; they were submitted before it.
    pub(crate) fn submit(
        &self,
        prepared: Prepared,
        depends_on: Vec<AppendHandle>,
        outcome_sender: OutcomeSender,
    ) -> Result<impl Future<Output = Outcome> + use<>, AppendError> {
        let bytes = prepared.bytes.max(COMMAND_BYTES_MIN).min(self.queue_bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let overloaded = |what, queued, max| AppendError::Overloaded { what, queued, max };
        let Ok(room) = Arc::clone(&self.queue_bytes).try_acquire_many_owned(permits) else {
            let queued = self.queue_bytes_max - self.queue_bytes.available_permits();
            return Err(overloaded("bytes", queued, self.queue_bytes_max));
        };
        let context = self.context;
        let (caller, answer) = oneshot::channel();
        match self.queue.try_send(QueuedAppend { prepared, depends_on, outcome_sender, caller, _room: room })
        {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let max = self.queue.max_capacity();
                return Err(overloaded("appends", max, max));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(StoreError::ShuttingDown { context }.into());
            }
        }
        Ok(async move { answer.await.unwrap_or(Err(StoreError::ShuttingDown { context }.into())) })
    }

    /// Closes the queue and waits until it is empty.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }
}

struct Worker {
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
    async fn run(mut self, stop: CancellationToken) {
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
