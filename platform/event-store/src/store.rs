//! The store's handle, and how the other modules query the database.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use event_log::{CodecError, ContextName, Position, StreamId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::append::{self, Append, Appended, Prepared};
use crate::appender::Appender;
use crate::cache::AggregateCache;
use crate::error::{AppendError, StoreError};
use crate::in_flight::{self, AppendHandle, InFlight, OutcomeSender};
use crate::snapshots::Snapshots;
use crate::unit_of_work::UnitOfWork;

/// The limits of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Appends that may wait in the queue.
    pub queue_commands_max: usize,
    /// The total size of the appends in the queue.
    pub queue_bytes_max: usize,
    /// Commands in one batch.
    pub batch_commands_max: usize,
    /// Events in one batch; a command with more is sent alone.
    pub batch_events_max: usize,
    /// How long an append waits for an unreachable database.
    pub outage_wait_max: Duration,
    /// The total size of the cached aggregates.
    pub cache_bytes_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            queue_commands_max: 4_096,
            queue_bytes_max: 32 * 1024 * 1024,
            batch_commands_max: 256,
            batch_events_max: 4_096,
            outage_wait_max: Duration::from_secs(15),
            cache_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// One context's log. Clones share the same store.
#[derive(Clone)]
pub struct EventStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    context: ContextName,
    pool: Pool,
    appender: Appender,
    pub(crate) cache: Arc<AggregateCache>,
    pub(crate) snapshots: Snapshots,
    pub(crate) in_flight: Arc<InFlight>,
}

impl EventStore {
    /// Starts the store's appender, which opens its own connection with the pool's settings at the first append.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached now.
    pub async fn new(
        context: impl Into<ContextName>,
        pool: Pool,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let context = context.into();
        let cache = Arc::new(AggregateCache::new(options.cache_bytes_max));
        drop(pool.get().await.map_err(|cause| no_connection(context, cause))?);
        let appender = Appender::start(context, pool.clone(), options, Arc::clone(&cache));
        let snapshots = Snapshots::start(context, pool.clone());
        Ok(Self {
            inner: Arc::new(Inner { context, pool, appender, cache, snapshots, in_flight: Arc::default() }),
        })
    }

    pub fn context(&self) -> ContextName {
        self.inner.context
    }

    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// A new, empty unit of work.
    pub fn unit_of_work(&self) -> UnitOfWork {
        UnitOfWork::new(self.clone(), false)
    }

    /// A unit of work that runs ahead: it may decide on appends in flight of other such units, and they on its own. So
    /// writers of a busy stream do not wait for each other. It must be committed, because what it read may fail to be
    /// appended.
    pub fn unit_of_work_ahead(&self) -> UnitOfWork {
        UnitOfWork::new(self.clone(), true)
    }

    /// Appends through this process's appender. Once polled, the append continues even if the caller is dropped.
    ///
    /// # Errors
    /// [`AppendError`]: nothing of the append is in the log, except for [`StoreError::OutcomeUnknown`].
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let (outcome_sender, _) = in_flight::handle();
        self.submit(append::prepare(append)?, Vec::new(), outcome_sender)?.await
    }

    /// Refuses new appends, and returns when the queued ones are done.
    pub async fn shutdown(self) {
        self.inner.appender.shutdown().await;
    }

    pub(crate) fn submit(
        &self,
        prepared: Prepared,
        depends_on: Vec<AppendHandle>,
        outcome_sender: OutcomeSender,
    ) -> Result<impl Future<Output = Result<Appended, AppendError>> + use<>, AppendError> {
        self.inner.appender.submit(prepared, depends_on, outcome_sender)
    }

    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        self.inner.pool.get().await.map_err(|cause| no_connection(self.context(), cause))
    }

    /// Runs one statement in its own transaction.
    pub(crate) async fn query(
        &self,
        doing: &'static str,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let failed = |cause| self.database_error(doing, cause);
        let client = self.client().await?;
        let prepared = client.prepare_cached(statement).await.map_err(failed)?;
        client.query(&prepared, parameters).await.map_err(failed)
    }

    pub(crate) fn database_error(&self, doing: &'static str, cause: tokio_postgres::Error) -> StoreError {
        StoreError::Database { context: self.context(), doing, cause: Arc::new(cause) }
    }

    pub(crate) fn unreadable(&self, position: Position, stream: &StreamId, cause: CodecError) -> StoreError {
        StoreError::Unreadable {
            context: self.context(),
            position,
            stream: stream.clone(),
            cause: Arc::new(cause),
        }
    }
}

fn no_connection(context: ContextName, cause: PoolError) -> StoreError {
    StoreError::NoConnection { context, cause: Arc::new(cause) }
}

/// A row limit as an SQL `bigint`.
pub(crate) fn sql_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
