//! From a batch of records to the tables of all projections: effects, parked records, checkpoints and progress in one
//! transaction.
//!
//! So every read model shows the same moment. What one projection cannot apply is parked for that projection and that stream; the
//! others go on.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Pool, PoolError, Transaction};
use event_bus::{Batch, BatchHandler, Checkpoint, CheckpointError, HandlerError, Record, checkpoint};
use event_log::EventSet;
use fault::{crash_point, mutant};
use futures::future::join_all;
use tokio_postgres::error::SqlState;

use crate::change_notifier::ChangeNotifier;
use crate::parked::{Parked, park, parked_among, storable};
use crate::progress::{self, Progress};
use crate::projector::{error_text, is_refusal};
use crate::share::Share;
use crate::{ProjectionSet, Projector};

/// How often the checkpoints are compared with what this process committed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Read models are derived, and their checkpoints are in the same transaction: what a crash of the database loses is read from
/// Kafka again (docs/decisions/0023).
const WITHOUT_THE_DISK: &str = "SET LOCAL synchronous_commit = off";

/// Applies the batches of the reader to all projections of a set.
pub struct ProjectionHandler<E: EventSet> {
    set: ProjectionSet<E>,
    pool: Pool,
    notifier: ChangeNotifier,
    /// The checkpoints as this process committed or read them.
    committed: Mutex<HashMap<(String, i32), i64>>,
    /// The database has lost some of them.
    lost_commits: AtomicBool,
}

/// Why nothing of a batch was committed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("no connection: {0}")]
    Pool(#[from] PoolError),
    #[error("the database fails: {}", error_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl From<ApplyError> for HandlerError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Checkpoint(error) => error.into(),
            ApplyError::Postgres(_) | ApplyError::Pool(_) => Self::Retry(error.to_string()),
        }
    }
}

/// How the events of a batch are applied.
enum Strategy {
    /// All statements of all projections are sent without waiting for one another.
    Pipelined,
    /// Each projection under a savepoint: a projection that is refused goes through its events one by one.
    Apart,
}

impl<E: EventSet> ProjectionHandler<E> {
    /// `pool`: as the role of the set's schema. Two connections serve it: one applies batches, the other reads checkpoints.
    pub fn new(set: ProjectionSet<E>, pool: Pool, notifier: ChangeNotifier) -> Self {
        Self { set, pool, notifier, committed: Mutex::default(), lost_commits: AtomicBool::default() }
    }

    /// Pipelined; where the database refuses the data of any projection, once more with each of them apart.
    async fn commit(&self, batch: &Batch) -> Result<(), ApplyError> {
        match self.commit_by(batch, Strategy::Pipelined).await {
            Err(ApplyError::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(consumer = self.set.consumer, %error, "the database refuses an event of the batch");
                self.commit_by(batch, Strategy::Apart).await
            }
            result => result,
        }
    }

    async fn commit_by(&self, batch: &Batch, strategy: Strategy) -> Result<(), ApplyError> {
        let mut client = self.pool.get().await?;
        let early = mutant!("projector::checkpoint_before_effect");
        if early {
            let apart = client.transaction().await?;
            checkpoint::move_all(&apart, &batch.moves).await?;
            apart.commit().await?;
        }
        let mut transaction = client.transaction().await?;
        // The checkpoints first: a process that lost the partition finds out before it reads or writes anything, and a rebuild
        // that swaps tables holds these rows and stops us here.
        let (moves, streams) = (if early { &[][..] } else { &batch.moves }, streams_of(&batch.records));
        let (_, moved, parked) = futures::join!(
            transaction.batch_execute(WITHOUT_THE_DISK),
            checkpoint::move_all(&transaction, moves),
            parked_among(&transaction, &streams),
        );
        moved?;
        let mut shares = self.shares(&batch.records, &parked?);
        match strategy {
            Strategy::Pipelined => apply_pipelined(&transaction, &mut shares).await?,
            Strategy::Apart => {
                for share in &mut shares {
                    share.apply_apart(&mut transaction).await?;
                }
            }
        }
        for share in shares.iter().filter(|share| !share.parkings.is_empty()) {
            park(&transaction, &share.consumer, &share.parkings).await?;
        }
        // Last, since every process writes these rows: the locks are held as briefly as possible.
        let progress = progress::advance::<E>(&transaction, &batch.records).await?;
        crash_point!("projector::applied_before_commit");
        transaction.commit().await?;
        crash_point!("projector::committed");
        self.notify(&shares, &progress);
        Ok(())
    }

    /// The batch as each projection sees it.
    fn shares<'a>(&'a self, records: &'a [Arc<Record>], parked: &Parked) -> Vec<Share<'a, E>> {
        let share = |projector: &'a Arc<dyn Projector<E>>| {
            Share::of(&**projector, self.set.consumer, records, parked)
        };
        self.set.projectors.iter().map(share).collect()
    }

    fn committed(&self) -> MutexGuard<'_, HashMap<(String, i32), i64>> {
        // No code that holds the lock can panic between two changes that belong together.
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the checkpoints in the database with what this process committed: a crash loses what was not on the disk, and
    /// in a quiet partition nothing else would ever notice. Never returns.
    pub(crate) async fn watch_commits(&self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            // What is committed after this line and before the query is in the database as well.
            let committed = self.committed().clone();
            match self.stored().await {
                Ok(stored) => {
                    let is_stored =
                        |at: &(String, i32), offset| stored.get(at).is_some_and(|known| *known >= offset);
                    if committed.iter().any(|(at, offset)| !is_stored(at, *offset)) {
                        self.lost_commits.store(true, Ordering::SeqCst);
                    }
                }
                Err(error) => tracing::debug!(%error, "the checkpoints cannot be read"),
            }
        }
    }

    async fn stored(&self) -> Result<HashMap<(String, i32), i64>, ApplyError> {
        let checkpoints = checkpoint::load(&self.pool.get().await?, self.set.consumer).await?;
        Ok(checkpoints.into_iter().map(|at| ((at.topic, at.partition), at.next_offset)).collect())
    }

    /// After the commit.
    fn notify(&self, shares: &[Share<'_, E>], progress: &Progress) {
        for share in shares {
            share.report();
            if share.projector.wait_ends_when().is_some() {
                self.notifier.notify(share.projector.table(), &share.touched);
            }
        }
        self.notifier.notify_applied(&progress.applied);
    }
}

fn streams_of(records: &[Arc<Record>]) -> Vec<String> {
    let streams: HashSet<String> = records.iter().map(|record| storable(&record.stream_name())).collect();
    streams.into_iter().collect()
}

/// A refusal fails the whole batch.
async fn apply_pipelined<E: EventSet>(
    transaction: &Transaction<'_>,
    shares: &mut [Share<'_, E>],
) -> Result<(), tokio_postgres::Error> {
    let applied = join_all(shares.iter_mut().map(|share| share.apply_together(transaction))).await;
    // The statements behind the one that failed fail too, without its reason.
    let follows = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let mut failures: Vec<_> = applied.into_iter().filter_map(Result::err).collect();
    let cause = failures.iter().position(|error| !follows(error)).unwrap_or(0);
    if failures.is_empty() { Ok(()) } else { Err(failures.swap_remove(cause)) }
}

#[async_trait]
impl<E: EventSet> BatchHandler for ProjectionHandler<E> {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        let client = self.pool.get().await.map_err(ApplyError::from)?;
        let checkpoints = checkpoint::load(&client, self.set.consumer).await?;
        // What a crash of the database lost is not applied any more.
        let progress = progress::read(&client).await.map_err(ApplyError::from)?;
        self.notifier.reset_applied(&progress.applied);
        let known = checkpoints.iter().map(|at| ((at.topic.clone(), at.partition), at.next_offset));
        *self.committed() = known.collect();
        self.lost_commits.store(false, Ordering::SeqCst);
        Ok(checkpoints)
    }

    fn has_lost_commits(&self) -> bool {
        self.lost_commits.load(Ordering::SeqCst)
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        self.commit(batch).await?;
        let moved = batch.moves.iter().map(|step| ((step.topic.clone(), step.partition), step.to_offset));
        self.committed().extend(moved);
        Ok(())
    }
}
