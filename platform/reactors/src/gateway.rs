//! Calls to the world outside because of a context's own events.
//!
//! The calls of a batch are made side by side, outside of any transaction. When all of them have returned, the responses
//! and the checkpoints are one append. A call that fails holds up nothing: its response notes a deadline, which repeats it.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use event_bus::parked::Retried;
use event_bus::{Batch, BatchHandler, BusConfig, Checkpoint, HandlerError, Record};
use event_log::{Envelope, EventSet, Metadata, State, StreamId};
use event_store::{EventStore, ParkedEvent, UnitOfWork, Versioned, retry_conflicts};

use crate::batch_progress::BatchProgress;
use crate::parking::Parking;
use crate::restore_detector::RestoreDetector;
use crate::retry::{self, RetryError, RetryHandler};
use crate::{CONFLICTS_MAX, CommitError, caused_by, error_mapping};

/// The calls of one context. Which call is due follows from the state of a stream alone, so it does not matter which event
/// triggers it, how often, or after which crash. A call must be idempotent.
#[async_trait]
pub trait OutsideCalls: Send + Sync + 'static {
    type Event: EventSet;
    /// The state that says which call is due.
    type State: State;
    type Request: Send;
    type Response: Send + Sync;

    /// Whether a call may be due because of this event of one of the context's own streams.
    fn is_trigger(&self, event: &Envelope<Self::Event>) -> bool;

    /// The call that is due in this state; none when there is none, for example because it was made before.
    fn request(
        &self,
        trigger: &Envelope<Self::Event>,
        state: &Self::State,
        cause: Metadata,
    ) -> Option<Self::Request>;

    /// Makes the calls, in any order. A failed call is a response too.
    async fn call(&self, requests: Vec<Self::Request>) -> Vec<Self::Response>;

    /// Notes the events of the response, and the deadline of a call that has to be repeated.
    ///
    /// # Errors
    /// [`CommitError`]: the batch comes again.
    async fn note(&self, work: &mut UnitOfWork, response: &Self::Response) -> Result<(), CommitError>;

    /// Notes a deadline that is due at once and makes the call: used for a parked record, because a tool makes no calls.
    ///
    /// # Errors
    /// [`CommitError`].
    async fn call_later(
        &self,
        work: &mut UnitOfWork,
        trigger: &Envelope<Self::Event>,
        cause: Metadata,
    ) -> Result<(), CommitError>;
}

/// Makes the [`OutsideCalls`] of one context. [`Reactors::add_gateway`](crate::Reactors::add_gateway) runs it.
pub struct Gateway<C> {
    store: EventStore,
    consumer: String,
    actor: String,
    calls: C,
    parking: Parking,
    /// None in a gateway that reads no topic.
    detector: Option<RestoreDetector>,
}

/// The last trigger of each stream of a batch, and the records that have to be parked.
struct Sorted<'a, E> {
    triggers: BTreeMap<&'a StreamId, &'a Envelope<E>>,
    parked: Vec<ParkedEvent>,
    parked_streams: HashSet<StreamId>,
}

impl<C: OutsideCalls> Gateway<C> {
    /// `consumer` names the checkpoints; `actor` goes into the metadata of what is noted.
    pub fn new(store: EventStore, consumer: impl Into<String>, actor: impl Into<String>, calls: C) -> Self {
        let consumer = consumer.into();
        let parking = Parking::new(store.clone(), &consumer);
        Self { store, consumer, actor: actor.into(), calls, parking, detector: None }
    }

    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.consumer
    }

    pub(crate) fn with_detector(self, detector: RestoreDetector) -> Self {
        Self { detector: Some(detector), ..self }
    }

    /// Has the calls of the stream's parked records made, in order; by the gateway that runs, not by this one. A dry run
    /// commits nothing.
    ///
    /// # Errors
    /// [`RetryError`]: it ended before its time. What was handled before is handled.
    pub async fn retry_parked(
        &self,
        bus: &BusConfig,
        stream: &str,
        dry_run: bool,
    ) -> Result<Retried, RetryError> {
        retry::retry_parked(&self.store, bus, (&self.consumer, stream), self, dry_run).await
    }

    fn sort<'a>(&self, batch: &'a Batch, parked_streams: HashSet<StreamId>) -> Sorted<'a, C::Event> {
        let mut sorted = Sorted { triggers: BTreeMap::new(), parked: Vec::new(), parked_streams };
        for record in &batch.records {
            let stream = StreamId::from(record.stream_name());
            if sorted.parked_streams.contains(&stream) {
                sorted.parked.push(self.parking.behind(record));
                continue;
            }
            match record.event::<C::Event>() {
                Ok(event) if self.calls.is_trigger(event) => {
                    sorted.triggers.insert(&event.stream, event);
                }
                Ok(_) => {}
                Err(unreadable) => {
                    tracing::error!(
                        consumer = self.consumer, %stream, reason = %unreadable,
                        "event parked; its stream waits until someone retries or discards it"
                    );
                    sorted.parked.push(self.parking.park(record, unreadable.to_string()));
                    sorted.parked_streams.insert(stream);
                }
            }
        }
        sorted
    }

    /// The calls that are due now, with the streams that they are about: an event whose call was made before makes none.
    async fn requests(
        &self,
        triggers: &BTreeMap<&StreamId, &Envelope<C::Event>>,
    ) -> Result<(Vec<StreamId>, Vec<C::Request>), HandlerError> {
        let streams: Vec<StreamId> = triggers.keys().map(|stream| (*stream).clone()).collect();
        let mut states = self.load(&streams).await?;
        // A call must not be missed because the cache has not seen the event that triggers it.
        let is_stale = |trigger: &&&Envelope<C::Event>| {
            states.get(&trigger.stream).is_none_or(|known| known.version < trigger.version)
        };
        let stale: Vec<StreamId> =
            triggers.values().filter(is_stale).map(|trigger| trigger.stream.clone()).collect();
        if !stale.is_empty() {
            self.store.invalidate(&stale);
            states.extend(self.load(&stale).await?);
        }
        let requests = triggers.iter().filter_map(|(stream, trigger)| {
            let state = states.get(*stream)?;
            let cause = caused_by(trigger, &self.actor);
            let request = self.calls.request(trigger, &state.state, cause)?;
            Some(((*stream).clone(), request))
        });
        Ok(requests.unzip())
    }

    async fn load(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, Versioned<C::State>>, HandlerError> {
        let loaded = self.store.load_many::<C::State>(streams).await;
        loaded.map_err(|error| error_mapping::of_store_error(&error))
    }

    async fn commit(
        &self,
        batch: &Batch,
        streams: &[StreamId],
        responses: &[C::Response],
        parked: &[ParkedEvent],
    ) -> Result<(), CommitError> {
        let mut work = self.store.unit_of_work();
        work.prefetch::<C::State>(streams).await?;
        for response in responses {
            self.calls.note(&mut work, response).await?;
        }
        parked.iter().for_each(|parked| work.park(parked.clone()));
        let moves = BatchProgress::start_of(batch).moves_up_to(batch, 0, batch.records.len());
        for step in moves.expect("a batch ends where its moves do") {
            work.checkpoint(step);
        }
        work.commit().await?;
        Ok(())
    }
}

#[async_trait]
impl<C: OutsideCalls> BatchHandler for Gateway<C> {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        if let Some(detector) = &self.detector {
            detector.check_not_rewound().await?;
        }
        let checkpoints = error_mapping::checkpoints(&self.store, &self.consumer).await?;
        self.parking.read().await?;
        Ok(checkpoints)
    }

    fn is_relevant(&self, record: &Record) -> bool {
        record.event::<C::Event>().map_or(true, |event| self.calls.is_trigger(event))
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let Sorted { triggers, parked, parked_streams } = self.sort(batch, self.parking.streams().await?);
        let (streams, requests) = self.requests(&triggers).await?;
        let responses = self.calls.call(requests).await;
        let commit = || self.commit(batch, &streams, &responses, &parked);
        retry_conflicts(CONFLICTS_MAX, commit).await.map_err(error_mapping::of_commit_error)?;
        if !parked.is_empty() {
            self.parking.set(parked_streams);
        }
        Ok(())
    }
}

#[async_trait]
impl<C: OutsideCalls> RetryHandler for Gateway<C> {
    async fn handle_again(&self, work: &mut UnitOfWork, record: &Record) -> Result<(), CommitError> {
        let event = record.event::<C::Event>();
        let event = event.map_err(|unreadable| CommitError::Refused(unreadable.to_string()))?;
        if self.calls.is_trigger(event) {
            self.calls.call_later(work, event, caused_by(event, retry::ACTOR)).await?;
        }
        Ok(())
    }
}
