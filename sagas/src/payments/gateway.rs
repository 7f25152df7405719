//! Turns to the provider because of an event: the reader of the payments context's own topic.
//!
//! A batch's payments are asked about side by side; when all is told, the answers and the checkpoints are one append.
//! A provider that is down holds nobody up: what it did not tell becomes a deadline. Never: two questions about one
//! payment side by side, or a remote call inside a transaction. Read next: `deadlines.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use domain::Payment;
use event_bus::{Batch, BatchHandler, Checkpoint, HandlerError, Record};
use event_store::{AppendError, EventStore, MayBeConflict, ParkedEvent, Versioned, retry_conflicts};
use events::{Envelope, OrderId, StreamId};

use super::asking::{Asked, Desk, Question, note};
use crate::carry_out::Trouble;
use crate::fate::{self, CONFLICTS_MAX};
use crate::order_fulfilment::payments::turns_to_provider;
use crate::parking::Parking;
use crate::progress::Progress;
use crate::witness::Witness;

const ACTOR: &str = "payments-gateway";

/// The handler of the consumer `sagas.payment-gateway`.
pub struct Gateway {
    store: EventStore,
    consumer: String,
    desk: Desk,
    parking: Parking,
    witness: Witness,
}

enum Undone {
    Append(AppendError),
    Noting(Trouble),
}

impl MayBeConflict for Undone {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(error) if error.is_conflict())
    }
}

/// What a batch asks for: the last event about each payment, and the records that have to be parked.
struct Sorted<'a> {
    triggers: BTreeMap<OrderId, &'a Envelope>,
    parked: Vec<ParkedEvent>,
    parked_streams: HashSet<StreamId>,
}

impl Gateway {
    pub(crate) fn new(
        store: EventStore,
        consumer: String,
        desk: Desk,
        parking: Parking,
        witness: Witness,
    ) -> Self {
        Self { store, consumer, desk, parking, witness }
    }

    fn sort<'a>(&self, batch: &'a Batch, parked_streams: HashSet<StreamId>) -> Sorted<'a> {
        let mut sorted = Sorted { triggers: BTreeMap::new(), parked: Vec::new(), parked_streams };
        for record in &batch.records {
            let stream = StreamId::from(record.stream_name());
            if sorted.parked_streams.contains(&stream) {
                sorted.parked.push(self.parking.behind(record));
                continue;
            }
            match &record.event {
                Ok(event) => {
                    sorted.triggers.extend(turns_to_provider(event).map(|order_id| (order_id, event)))
                }
                Err(unreadable) => {
                    tracing::error!(consumer = self.consumer, %stream, %unreadable, "parked an event: its stream waits for a person");
                    sorted.parked.push(self.parking.park(record, unreadable.to_string()));
                    sorted.parked_streams.insert(stream);
                }
            }
        }
        sorted
    }

    /// What each payment says has to be asked, as it stands now: an event that is long answered asks nothing.
    async fn questions(
        &self,
        triggers: &BTreeMap<OrderId, &Envelope>,
    ) -> Result<Vec<Question>, HandlerError> {
        let streams: Vec<StreamId> =
            triggers.keys().map(|order_id| events::payments::stream(*order_id)).collect();
        let mut payments = self.load(&streams).await?;
        // A question must not be missed because the cache has not seen the event that asks it.
        let behind: Vec<StreamId> = triggers
            .values()
            .filter(|trigger| {
                payments.get(&trigger.stream).is_none_or(|known| known.version < trigger.version)
            })
            .map(|trigger| trigger.stream.clone())
            .collect();
        if !behind.is_empty() {
            self.store.evict(&behind);
            payments.extend(self.load(&behind).await?);
        }
        let question = |(order_id, trigger): (&OrderId, &&Envelope)| {
            let payment = payments.get(&events::payments::stream(*order_id))?;
            let call = payment.state.next_provider_call()?;
            let cause = fate::caused_by(trigger, ACTOR);
            Some(Question { order_id: *order_id, call, cause, in_vain: 0, refused: false })
        };
        Ok(triggers.iter().filter_map(question).collect())
    }

    async fn load(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, Versioned<Payment>>, HandlerError> {
        self.store.load_many::<Payment>(streams).await.map_err(|error| fate::of_store_error(&error))
    }

    async fn commit(&self, batch: &Batch, asked: &[Asked], parked: &[ParkedEvent]) -> Result<(), Undone> {
        let mut work = self.store.unit_of_work();
        let streams: Vec<StreamId> =
            asked.iter().map(|asked| events::payments::stream(asked.question.order_id)).collect();
        work.prefetch::<Payment>(&streams).await.map_err(|error| Undone::Noting(error.into()))?;
        for asked in asked {
            note(&mut work, asked, ACTOR).await.map_err(Undone::Noting)?;
        }
        parked.iter().for_each(|parked| work.park(parked.clone()));
        let moves = Progress::at_the_start_of(batch).moves_up_to(batch, 0, batch.records.len());
        for step in moves.expect("a batch ends where its moves do") {
            work.checkpoint(step);
        }
        work.commit().await.map(|_| ()).map_err(Undone::Append)
    }
}

#[async_trait]
impl BatchHandler for Gateway {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        self.witness.attest().await?;
        let checkpoints = fate::checkpoints(&self.store, &self.consumer).await?;
        self.parking.read().await?;
        Ok(checkpoints)
    }

    fn concerns(&self, record: &Record) -> bool {
        record.event.as_ref().map_or(true, |event| turns_to_provider(event).is_some())
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let sorted = self.sort(batch, self.parking.streams().await?);
        let questions = self.questions(&sorted.triggers).await?;
        let asked = self.desk.ask_all(questions).await;
        let commit = || self.commit(batch, &asked, &sorted.parked);
        retry_conflicts(CONFLICTS_MAX, commit).await.map_err(|undone| match undone {
            Undone::Append(error) => fate::of_append_error(error),
            Undone::Noting(trouble) => HandlerError::Retry(trouble.to_string()),
        })?;
        if !sorted.parked.is_empty() {
            self.parking.know(sorted.parked_streams);
        }
        Ok(())
    }
}
