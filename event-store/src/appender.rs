//! Group commit: one task per store that takes whatever appends wait and sends them as one batch.
//!
//! One batch is under way at a time and there is no timer: an idle log appends at once, a busy one batches by itself.
//! The task has a connection of its own. When that breaks while a batch is under way, nobody knows whether the batch was
//! committed; so it is sent again, which the version checks make harmless, and a command that now meets its own events
//! in the log is known to have been appended ([`own_events`]). Callers get a definite answer.
//!
//! Never: an unbounded queue, a timer, or two batches at once. A caller who is gone changes nothing.
//! Read next: `chain.rs` (what is one command), then `batch.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use events::Context;
use fault::crash_point;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::append::Prepared;
use crate::chain::{Chain, Outcome, Queue, Waiting};
use crate::error::said;
use crate::failure::{Failure, own_events};
use crate::pending::Ticket;
use crate::{AppendError, StoreError, StoreOptions, batch};

/// No answer for that long, and the connection counts as broken. Longer than the function waits for the lock.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What every command counts at least against the queue's bytes.
const COMMAND_BYTES_MIN: usize = 512;

/// The way to the appender's task.
pub(crate) struct Appender {
    context: Context,
    queue: mpsc::Sender<Waiting>,
    queue_bytes: Arc<Semaphore>,
    queue_bytes_max: usize,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Appender {
    /// Starts the task. It connects when there is something to append: who only reads has no idle connection.
    pub(crate) fn start(context: Context, pool: Pool, options: StoreOptions) -> Self {
        let (queue, waiting) = mpsc::channel(options.queue_commands_max);
        let queue_bytes_max = options.queue_bytes_max.min(Semaphore::MAX_PERMITS);
        let stop = CancellationToken::new();
        let task = TaskTracker::new();
        let queued = Queue { waiting, held_back: VecDeque::new() };
        let worker = Worker { context, pool, client: None, options, queued };
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

    /// Puts the append into the queue, now, or says that there is no room. What it becomes is to be awaited. `after`: the
    /// appends that it was decided on and that may not be in the log yet.
    pub(crate) fn submit(
        &self,
        prepared: Prepared,
        after: Vec<Ticket>,
        ticket: Ticket,
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
        match self.queue.try_send(Waiting { prepared, after, ticket, caller, _room: room }) {
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
    context: Context,
    pool: Pool,
    client: Option<ClientWrapper>,
    options: StoreOptions,
    queued: Queue,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        while let Some(first) = self.next(&stop).await {
            let batch = self.queued.fill(first, &self.options);
            if batch.is_empty() {
                continue;
            }
            self.measure(&batch);
            let started = Instant::now();
            self.settle(batch, started, false).await;
            metrics::histogram!("tradewind_append_duration_seconds", "context" => self.context.name())
                .record(started.elapsed());
        }
    }

    /// The next append, as soon as there is one; none when the store was told to stop and all are done.
    async fn next(&mut self, stop: &CancellationToken) -> Option<Waiting> {
        if let Some(held_back) = self.queued.held_back.pop_front() {
            return Some(held_back);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.queued.waiting.close();
                self.queued.waiting.recv().await
            }
            next = self.queued.waiting.recv() => next,
        }
    }

    /// Sends the batch until its outcome is known, and tells each caller. `open`: it was sent before and may be in the log.
    async fn settle(&mut self, batch: Vec<Chain>, started: Instant, mut open: bool) {
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            match self.attempt(&batch, open).await {
                Ok(outcomes) => {
                    crash_point!("appender::committed_before_answer");
                    return self.tell(batch, outcomes);
                }
                Err(Failure::Refused(cause)) if batch.len() > 1 => {
                    // One of them is to blame. The others shall not suffer for it.
                    warn!(context = %self.context, cause = said(&cause), commands = batch.len(), "a batch was refused; sending one by one");
                    for alone in batch {
                        Box::pin(self.settle(vec![alone], started, open)).await;
                    }
                    return;
                }
                Err(Failure::Refused(_)) if batch.iter().any(|chain| chain.parts.len() > 1) => {
                    // The one chain is taken apart; what stood on the one to blame falls with it.
                    for part in batch.into_iter().flat_map(|chain| chain.parts) {
                        if part.after.iter().any(Ticket::has_failed) {
                            part.refuse();
                        } else {
                            Box::pin(self.settle(vec![Chain { parts: vec![part] }], started, open)).await;
                        }
                    }
                    return;
                }
                Err(Failure::Refused(cause)) => return self.fail(batch, || self.database_error(&cause)),
                Err(Failure::NotNow(cause)) if !open => {
                    self.client = None;
                    return self.fail(batch, || self.database_error(&cause));
                }
                Err(Failure::NotNow(_) | Failure::NotSent) => self.client = None,
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

    async fn attempt(&mut self, batch: &[Chain], open: bool) -> Result<Vec<Outcome>, Failure> {
        let client = connection(&mut self.client, &self.pool, self.context).await?;
        let prepared: Vec<Vec<&Prepared>> = batch.iter().map(Chain::prepared).collect();
        crash_point!("appender::before_send");
        let sent = async {
            let mut outcomes = batch::append(client, &prepared).await?;
            if open {
                for (outcome, own) in outcomes.iter_mut().zip(own_events(client, &prepared).await?) {
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

    fn tell(&self, batch: Vec<Chain>, outcomes: Vec<Outcome>) {
        let conflicts =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(e) if e.is_conflict())).count();
        metrics::counter!("tradewind_append_conflicts_total", "context" => self.context.name())
            .increment(conflicts as u64);
        for (chain, outcome) in batch.into_iter().zip(outcomes) {
            chain.tell(outcome);
        }
    }

    fn fail(&self, batch: Vec<Chain>, error: impl Fn() -> StoreError) {
        warn!(context = %self.context, commands = batch.len(), error = %error(), "appends failed");
        for chain in batch {
            chain.tell(Err(error().into()));
        }
    }

    fn database_error(&self, cause: &Arc<tokio_postgres::Error>) -> StoreError {
        StoreError::Database { context: self.context, doing: "append", cause: Arc::clone(cause) }
    }

    fn measure(&self, batch: &[Chain]) {
        let events: usize = batch.iter().map(Chain::events).sum();
        let context = self.context.name();
        metrics::histogram!("tradewind_append_batch_commands", "context" => context)
            .record(batch.len() as f64);
        metrics::histogram!("tradewind_append_batch_events", "context" => context).record(events as f64);
        metrics::gauge!("tradewind_append_queue_commands", "context" => context)
            .set(self.queued.waiting.len() as f64);
    }
}

/// The connection that there is, or a new one. It belongs to the appender alone and does not count against the pool.
async fn connection<'a>(
    client: &'a mut Option<ClientWrapper>,
    pool: &Pool,
    context: Context,
) -> Result<&'a ClientWrapper, Failure> {
    match client.take().filter(|client| !client.is_closed()) {
        Some(living) => Ok(client.insert(living)),
        None => match tokio::time::timeout(ANSWER_WAIT_MAX, pool.get()).await {
            Ok(Ok(object)) => {
                info!(%context, "the appender has a new connection");
                Ok(client.insert(Object::take(object)))
            }
            Ok(Err(cause)) => {
                let error = StoreError::NoConnection { context, cause: Arc::new(cause) };
                warn!(%context, %error, "the appender has no connection");
                Err(Failure::NotSent)
            }
            Err(_) => Err(Failure::NotSent),
        },
    }
}
