//! From Kafka to the tables of all projections: effects, parked records, checkpoints and progress in one transaction.
//!
//! So every read model shows the same moment. What one projection cannot apply is parked for that projection and that
//! stream; the others go on. Never: an effect without its checkpoint, a checkpoint without its effect, a record skipped
//! in silence. Read next: [`crate::progress`] (how far the read models have come), [`crate::arrivals`] (who is told).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::{Pool, PoolError, Transaction};
use event_bus::{Batch, BatchHandler, Checkpoint, CheckpointError, HandlerError, Record, checkpoint};
use events::Envelope;
use fault::{crash_point, mutant};
use futures::future::join_all;
use tokio_postgres::error::SqlState;

use crate::arrivals::Arrivals;
use crate::engine::{Projector, READER, consumer_name, is_refusal};
use crate::parked::{Parked, Parking, park, parked_among, storable};
use crate::progress::{self, Progress};
use crate::projection::Projection;
use crate::projections::orders::Orders;
use crate::projections::processes::Processes;

/// Why an event in order is parked all the same.
const AFTER_PARKED: &str = "an earlier event of the stream is parked";
/// How often it is looked whether the database still has what was committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Read models are derived, and their checkpoints are in the same transaction: what a crash of the database takes away is
/// read from Kafka again (docs/decisions/0023).
const WITHOUT_THE_DISK: &str = "SET LOCAL synchronous_commit = off";

/// Applies the batches of the one reader to all projections.
pub struct ProjectionHandler {
    projectors: Vec<Arc<dyn Projector>>,
    pool: Pool,
    arrivals: Arrivals,
    /// The checkpoints as this process committed or read them.
    committed: Mutex<HashMap<(String, i32), i64>>,
    /// The database has forgotten some of them.
    lost_commits: AtomicBool,
}

/// Why nothing of a batch was committed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("no connection: {0}")]
    Pool(#[from] PoolError),
    #[error("the database fails: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl From<ApplyError> for HandlerError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Checkpoint(error) => error.into(),
            ApplyError::Postgres(error) => Self::Retry(format!("the database fails: {}", told_by(&error))),
            ApplyError::Pool(_) => Self::Retry(error.to_string()),
        }
    }
}

/// How the events of a batch are applied.
enum Way {
    /// All statements of all projections are sent without waiting for one another.
    Pipelined,
    /// Each projection under a savepoint: the one that is refused goes through its events one by one.
    Apart,
}

/// What a projection does with a batch.
struct Share<'a> {
    projector: &'a dyn Projector,
    consumer: String,
    events: Vec<(&'a Record, &'a Envelope)>,
    parkings: Vec<Parking<'a>>,
    /// The keys of the rows that the events touch.
    touched: Vec<String>,
}

impl ProjectionHandler {
    pub fn new(projectors: Vec<Arc<dyn Projector>>, pool: Pool, arrivals: Arrivals) -> Self {
        Self { projectors, pool, arrivals, committed: Mutex::default(), lost_commits: AtomicBool::default() }
    }

    /// The fast way; where the database refuses the data of any projection, the careful one.
    async fn commit(&self, batch: &Batch) -> Result<(), ApplyError> {
        match self.commit_by(batch, Way::Pipelined).await {
            Err(ApplyError::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(consumer = READER, %error, "the database refuses an event of the batch");
                self.commit_by(batch, Way::Apart).await
            }
            result => result,
        }
    }

    async fn commit_by(&self, batch: &Batch, way: Way) -> Result<(), ApplyError> {
        let mut client = self.pool.get().await?;
        let early = mutant!("projector::checkpoint_before_effect");
        if early {
            let apart = client.transaction().await?;
            checkpoint::move_all(&apart, &batch.moves).await?;
            apart.commit().await?;
        }
        let mut transaction = client.transaction().await?;
        // The checkpoints first: whoever lost the partition finds out before anything is read or written, and
        // whoever holds these rows (a rebuild that swaps tables) stops us here.
        let (moves, streams) = (if early { &[][..] } else { &batch.moves }, streams_of(&batch.records));
        let (_, moved, parked) = futures::join!(
            transaction.batch_execute(WITHOUT_THE_DISK),
            checkpoint::move_all(&transaction, moves),
            parked_among(&transaction, &streams),
        );
        moved?;
        let mut shares = self.shares(&batch.records, &parked?);
        match way {
            Way::Pipelined => apply_pipelined(&transaction, &mut shares).await?,
            Way::Apart => {
                for share in &mut shares {
                    share.apply_apart(&mut transaction).await?;
                }
            }
        }
        for share in shares.iter().filter(|share| !share.parkings.is_empty()) {
            park(&transaction, &share.consumer, &share.parkings).await?;
        }
        // Last, since every process writes these rows: they are locked for as short as can be.
        let progress = progress::advance(&transaction, &batch.records).await?;
        crash_point!("projector::applied_before_commit");
        transaction.commit().await?;
        crash_point!("projector::committed");
        self.tell(&shares, progress);
        Ok(())
    }

    /// The records of the batch, by projection, sorted by what becomes of them.
    fn shares<'a>(&'a self, records: &'a [Arc<Record>], parked: &Parked) -> Vec<Share<'a>> {
        let share = |projector: &'a Arc<dyn Projector>| Share::of(&**projector, records, parked);
        self.projectors.iter().map(share).collect()
    }

    fn committed(&self) -> MutexGuard<'_, HashMap<(String, i32), i64>> {
        // No code that holds the lock can panic between two changes that belong together.
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks now and then whether the database still has what this process committed: a crash takes away what had not come
    /// to the disk, and in a quiet partition nothing else would ever notice. Never returns.
    pub async fn watch_commits(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // What is committed after this and before the database is asked is there as well.
            let committed = self.committed().clone();
            match self.stored().await {
                Ok(stored) => {
                    let is_there =
                        |at: &(String, i32), offset| stored.get(at).is_some_and(|known| *known >= offset);
                    if committed.iter().any(|(at, offset)| !is_there(at, *offset)) {
                        self.lost_commits.store(true, Ordering::SeqCst);
                    }
                }
                Err(error) => tracing::debug!(%error, "the checkpoints cannot be looked at"),
            }
        }
    }

    async fn stored(&self) -> Result<HashMap<(String, i32), i64>, ApplyError> {
        let checkpoints = checkpoint::load(&self.pool.get().await?, READER).await?;
        Ok(checkpoints.into_iter().map(|at| ((at.topic, at.partition), at.next_offset)).collect())
    }

    /// After the commit.
    fn tell(&self, shares: &[Share<'_>], progress: Progress) {
        for share in shares {
            share.count();
            if [Orders::NAME, Processes::NAME].contains(&share.projector.name()) {
                self.arrivals.changed(&share.consumer, &share.touched);
            }
        }
        self.arrivals.applied(&progress.applied);
    }
}

fn streams_of(records: &[Arc<Record>]) -> Vec<String> {
    let streams: HashSet<String> = records.iter().map(|record| storable(&record.stream_name())).collect();
    streams.into_iter().collect()
}

/// Set-based: a refusal fails the whole batch.
async fn apply_pipelined(
    transaction: &Transaction<'_>,
    shares: &mut [Share<'_>],
) -> Result<(), tokio_postgres::Error> {
    let applied = join_all(shares.iter_mut().map(|share| share.apply_together(transaction))).await;
    // What came behind the statement that failed failed with it, and says so and no more.
    let follows = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let mut failures: Vec<_> = applied.into_iter().filter_map(Result::err).collect();
    let cause = failures.iter().position(|error| !follows(error)).unwrap_or(0);
    if failures.is_empty() { Ok(()) } else { Err(failures.swap_remove(cause)) }
}

impl<'a> Share<'a> {
    fn of(projector: &'a dyn Projector, records: &'a [Arc<Record>], parked: &Parked) -> Self {
        let consumer = consumer_name(projector.name());
        let mut parked_here: HashSet<String> = parked.get(&consumer).cloned().unwrap_or_default();
        let (mut events, mut parkings) = (Vec::new(), Vec::new());
        let heard = |record: &&Record| projector.contexts().contains(&record.context);
        for record in records.iter().map(|record| &**record).filter(heard) {
            let stream = || storable(&record.stream_name());
            match &record.event {
                Ok(event) if parked_here.is_empty() || !parked_here.contains(&stream()) => {
                    events.push((record, event));
                }
                Ok(_) => parkings.push(Parking { record, reason: AFTER_PARKED.to_owned() }),
                Err(_) if mutant!("projector::poison_skipped") => {}
                Err(error) => {
                    parkings.push(Parking { record, reason: error.to_string() });
                    parked_here.insert(stream());
                }
            }
        }
        Self { projector, consumer, events, parkings, touched: Vec::new() }
    }

    async fn apply_together(&mut self, transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
        if self.events.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let events: Vec<&Envelope> = self.events.iter().map(|(_, event)| *event).collect();
        self.touched = self.projector.apply(transaction, &events).await?;
        metrics::histogram!("tradewind_projection_batch_seconds", "projection" => self.projector.name())
            .record(begun.elapsed());
        Ok(())
    }

    async fn apply_apart(&mut self, transaction: &mut Transaction<'_>) -> Result<(), tokio_postgres::Error> {
        let savepoint = transaction.savepoint("projection").await?;
        match self.apply_together(&savepoint).await {
            Ok(()) => savepoint.commit().await,
            Err(error) if is_refusal(&error) => {
                savepoint.rollback().await?;
                self.apply_one_by_one(transaction).await
            }
            Err(error) => Err(error),
        }
    }

    /// Each event under a savepoint: a refused one is parked, and with it the rest of its stream.
    async fn apply_one_by_one(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let mut parked_streams = HashSet::new();
        for (record, event) in std::mem::take(&mut self.events) {
            if parked_streams.contains(&event.stream) {
                self.parkings.push(Parking { record, reason: AFTER_PARKED.to_owned() });
                continue;
            }
            let savepoint = transaction.savepoint("event").await?;
            match self.projector.apply(&savepoint, &[event]).await {
                Ok(touched) => {
                    savepoint.commit().await?;
                    self.touched.extend(touched);
                    self.events.push((record, event));
                }
                Err(error) if is_refusal(&error) => {
                    savepoint.rollback().await?;
                    parked_streams.insert(&event.stream);
                    self.parkings.push(Parking { record, reason: refusal_text(&error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn count(&self) {
        let projection = self.projector.name();
        metrics::counter!("tradewind_projection_events_total", "projection" => projection)
            .increment(self.events.len() as u64);
        for (_, event) in &self.events {
            let (stream, position) = (&event.stream, event.position);
            let correlation_id = event.metadata.correlation_id;
            tracing::debug!(projection, %stream, position, %correlation_id, "applied");
        }
        for parking in &self.parkings {
            metrics::counter!("tradewind_projection_parked_total", "projection" => projection).increment(1);
            let stream = parking.record.stream_name();
            tracing::error!(
                projection,
                stream,
                offset = parking.record.offset,
                reason = parking.reason,
                "parked"
            );
        }
    }
}

#[async_trait]
impl BatchHandler for ProjectionHandler {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        let client = self.pool.get().await.map_err(ApplyError::from)?;
        let checkpoints = checkpoint::load(&client, READER).await?;
        // What a crash of the database took away is not applied any more.
        let progress = progress::read(&client).await.map_err(ApplyError::from)?;
        self.arrivals.begin_at(&progress.applied);
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

pub(crate) fn refusal_text(error: &tokio_postgres::Error) -> String {
    format!("Postgres refuses it: {}", told_by(error))
}

/// What the database says, where it does; the driver's own text says only that it failed.
fn told_by(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |told| format!("{} ({})", told.message(), told.code().code()))
}
