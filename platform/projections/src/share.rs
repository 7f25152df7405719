//! One projection's share of a batch: the events that it applies, and the records that it parks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use deadpool_postgres::Transaction;
use event_bus::Record;
use event_log::{Envelope, EventSet};
use fault::mutant;

use crate::parked::{Parked, Parking, storable};
use crate::projector::{Projector, is_refusal, refusal_text};
use crate::set::parked_consumer;

/// Why an event that can be applied is parked all the same.
const AFTER_PARKED: &str = "an earlier event of the stream is parked";

pub(crate) struct Share<'a, E: EventSet> {
    pub projector: &'a dyn Projector<E>,
    /// The parked records are filed under this.
    pub consumer: String,
    pub events: Vec<(&'a Record, &'a Envelope<E>)>,
    pub parkings: Vec<Parking<'a>>,
    /// The keys of the rows that the events touch.
    pub touched: Vec<String>,
}

impl<'a, E: EventSet> Share<'a, E> {
    /// `consumer`: the name of the reader; `parked`: the streams of the batch that are parked already.
    pub fn of(
        projector: &'a dyn Projector<E>,
        consumer: &str,
        records: &'a [Arc<Record>],
        parked: &Parked,
    ) -> Self {
        let consumer = parked_consumer(consumer, projector.name());
        let mut parked_here: HashSet<String> = parked.get(&consumer).cloned().unwrap_or_default();
        let (mut events, mut parkings) = (Vec::new(), Vec::new());
        let is_read = |record: &&Record| projector.contexts().contains(&record.context);
        for record in records.iter().map(|record| &**record).filter(is_read) {
            let stream = || storable(&record.stream_name());
            match record.event::<E>() {
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

    /// All events in one step: a refusal fails them all.
    pub async fn apply_together(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        if self.events.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let events: Vec<&Envelope<E>> = self.events.iter().map(|(_, event)| *event).collect();
        self.touched = self.projector.apply(transaction, &events).await?;
        metrics::histogram!("tradewind_projection_batch_seconds", "projection" => self.projector.name())
            .record(started.elapsed());
        Ok(())
    }

    /// Under a savepoint; after a refusal, event by event.
    pub async fn apply_apart(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), tokio_postgres::Error> {
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

    /// Metrics and log lines of what was committed.
    pub fn report(&self) {
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
