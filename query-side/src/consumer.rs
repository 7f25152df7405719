//! From Kafka to a projection's table: effect, parked records and checkpoints in one transaction.
//!
//! Never: an effect without its checkpoint, a checkpoint without its effect, a record skipped in silence.
//! Read next: [`crate::arrivals`] (who is told afterwards).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use deadpool_postgres::{Pool, PoolError, Transaction};
use event_bus::{Batch, BatchHandler, Checkpoint, CheckpointError, HandlerError, Record, checkpoint};
use events::Envelope;
use fault::{crash_point, planted_bug};

use crate::arrivals::Arrivals;
use crate::engine::{Projector, consumer_name, is_refusal};
use crate::parked::{Parking, park, parked_among, storable};

/// Why an event in order is parked all the same.
const AFTER_PARKED: &str = "an earlier event of the stream is parked";

/// Applies the batches of one projection's consumer.
pub struct ProjectionHandler {
    projector: Arc<dyn Projector>,
    consumer: String,
    pool: Pool,
    arrivals: Arrivals,
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
            ApplyError::Pool(_) | ApplyError::Postgres(_) => Self::Retry(error.to_string()),
        }
    }
}

/// How the events of a batch are applied.
enum Way {
    Together,
    OneByOne,
}

/// The records of a batch, sorted by fate.
struct Sorted<'a> {
    events: Vec<(&'a Record, &'a Envelope)>,
    parkings: Vec<Parking<'a>>,
}

impl ProjectionHandler {
    pub fn new(projector: Arc<dyn Projector>, pool: Pool, arrivals: Arrivals) -> Self {
        let consumer = consumer_name(projector.name());
        Self { projector, consumer, pool, arrivals }
    }

    /// All events at once; where the database refuses the data of any, one by one, so that only that one is parked.
    async fn commit(&self, batch: &Batch) -> Result<Vec<String>, ApplyError> {
        match self.commit_by(batch, Way::Together).await {
            Err(ApplyError::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(consumer = self.consumer, %error, "the database refuses an event of the batch");
                self.commit_by(batch, Way::OneByOne).await
            }
            result => result,
        }
    }

    async fn commit_by(&self, batch: &Batch, way: Way) -> Result<Vec<String>, ApplyError> {
        let mut client = self.pool.get().await?;
        if planted_bug!("projector::checkpoint_before_effect") {
            let apart = client.transaction().await?;
            checkpoint::move_all(&apart, &batch.moves).await?;
            apart.commit().await?;
        }
        let mut transaction = client.transaction().await?;
        // The checkpoints first: whoever lost the partition finds out before anything is read or written, and
        // whoever holds these rows (a rebuild that swaps tables) stops us here.
        if !planted_bug!("projector::checkpoint_before_effect") {
            checkpoint::move_all(&transaction, &batch.moves).await?;
        }
        let mut sorted = self.sort(&transaction, &batch.records).await?;
        let keys = match way {
            Way::Together => apply_together(&*self.projector, &transaction, &sorted).await?,
            Way::OneByOne => apply_one_by_one(&*self.projector, &mut transaction, &mut sorted).await?,
        };
        if !sorted.parkings.is_empty() {
            park(&transaction, &self.consumer, &sorted.parkings).await?;
        }
        crash_point!("projector::applied_before_commit");
        transaction.commit().await?;
        crash_point!("projector::committed");
        self.count(&sorted);
        Ok(keys)
    }

    async fn sort<'a>(
        &self,
        transaction: &Transaction<'_>,
        records: &'a [Arc<Record>],
    ) -> Result<Sorted<'a>, tokio_postgres::Error> {
        let streams: HashSet<String> = records.iter().map(|record| storable(&record.stream_name())).collect();
        let streams: Vec<String> = streams.into_iter().collect();
        let mut parked = parked_among(transaction, &self.consumer, &streams).await?;
        let mut sorted = Sorted { events: Vec::with_capacity(records.len()), parkings: Vec::new() };
        for record in records.iter().map(|record| &**record) {
            let stream = storable(&record.stream_name());
            match &record.event {
                Ok(event) if !parked.contains(&stream) => sorted.events.push((record, event)),
                Ok(_) => {
                    sorted.parkings.push(Parking { record, reason: AFTER_PARKED.to_owned() });
                }
                Err(_) if planted_bug!("projector::poison_skipped") => {}
                Err(error) => {
                    sorted.parkings.push(Parking { record, reason: error.to_string() });
                    parked.insert(stream);
                }
            }
        }
        Ok(sorted)
    }

    fn count(&self, sorted: &Sorted<'_>) {
        let projection = self.projector.name();
        metrics::counter!("tradewind_projection_events_total", "projection" => projection)
            .increment(sorted.events.len() as u64);
        for (_, event) in &sorted.events {
            let (stream, position) = (&event.stream, event.position);
            let correlation_id = event.metadata.correlation_id;
            tracing::debug!(projection, %stream, position, %correlation_id, "applied");
        }
        for parking in &sorted.parkings {
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
        Ok(checkpoint::load(&client, &self.consumer).await?)
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let begun = Instant::now();
        let keys = self.commit(batch).await?;
        self.arrivals.announce(self.projector.name(), keys);
        metrics::histogram!("tradewind_projection_batch_seconds", "projection" => self.projector.name())
            .record(begun.elapsed());
        Ok(())
    }
}

/// Set-based: a refusal fails the whole batch.
async fn apply_together(
    projector: &dyn Projector,
    transaction: &Transaction<'_>,
    sorted: &Sorted<'_>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let events: Vec<&Envelope> = sorted.events.iter().map(|(_, event)| *event).collect();
    projector.apply(transaction, &events).await
}

/// Each event under a savepoint: a refused one is parked, and with it the rest of its stream.
async fn apply_one_by_one(
    projector: &dyn Projector,
    transaction: &mut Transaction<'_>,
    sorted: &mut Sorted<'_>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut keys = Vec::new();
    let mut parked_streams = HashSet::new();
    for (record, event) in std::mem::take(&mut sorted.events) {
        if parked_streams.contains(&event.stream) {
            sorted.parkings.push(Parking { record, reason: AFTER_PARKED.to_owned() });
            continue;
        }
        let savepoint = transaction.savepoint("event").await?;
        match projector.apply(&savepoint, &[event]).await {
            Ok(touched) => {
                savepoint.commit().await?;
                keys.extend(touched);
                sorted.events.push((record, event));
            }
            Err(error) if is_refusal(&error) => {
                savepoint.rollback().await?;
                parked_streams.insert(&event.stream);
                sorted.parkings.push(Parking { record, reason: refusal_text(&error) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

pub(crate) fn refusal_text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |refusal| format!("Postgres refuses it: {} ({})", refusal.message(), refusal.code().code()),
    )
}
