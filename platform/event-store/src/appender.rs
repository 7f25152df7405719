//! Group commit: one task per store that sends all waiting appends as one batch.
//!
//! One batch is in flight at a time, and there is no timer. An idle log appends at once; under load the batches grow.
//! Before the appender closes a batch, it waits briefly for clients that it has just answered (docs/decisions/0020).
//!
//! The task has its own connection. If the connection breaks during a batch, the appender does not know whether the
//! batch was committed. It then sends the batch again: the version checks make that harmless, and a command that
//! conflicts with its own events was appended by the first attempt. Callers get a definite answer.
//!
//! Never: an unbounded queue, a timer, or two batches at once. A cancelled caller does not cancel its append.

mod worker;

use std::sync::Arc;

use deadpool_postgres::Pool;
use event_log::ContextName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::append::{Appended, Prepared};
use crate::cache::AggregateCache;
use crate::error::{AppendError, StoreError};
use crate::in_flight::{AppendHandle, AppendState, OutcomeSender};
use crate::store::StoreOptions;
use worker::Worker;

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
        let worker = Worker::new(context, pool, options, cache, waiting);
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
