//! A unit of work: loads, decides, and appends all of its decisions as one [`Append`](crate::Append).
//!
//! A later decision in the same unit sees the events of the earlier ones before they are in the log. The commit checks
//! the version of every stream that was read, also of those that were not written, because the decisions depend on
//! them. So a refusal is only returned if the state that caused it is current. There is no query between a decision and
//! its append.

mod commit;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_log::{CheckpointMove, Decide, Metadata, State, StreamId, Version};
use serde_json::Value;
use uuid::Uuid;

use crate::append::{Append, Appended, DeadlineChange, IdempotencyClaim, NewEvent, ParkedEvent, StreamWrite};
use crate::cache::{Entry, state_of};
use crate::error::{AppendError, StoreError};
use crate::in_flight::AppendHandle;
use crate::snapshots;
use crate::store::EventStore;

/// The result of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The number of its events. 0: the command was fulfilled already.
    pub events: usize,
    /// The stream's version after them.
    pub version: Version,
}

/// The result of a commit.
#[derive(Debug, Clone)]
pub struct Committed {
    pub appended: Appended,
    /// The version of every stream that the unit read or wrote.
    pub versions: HashMap<StreamId, Version>,
}

/// One unit of work.
pub struct UnitOfWork {
    store: EventStore,
    streams: HashMap<StreamId, Overlay>,
    append: Append,
    /// Whether it may decide on appends in flight.
    ahead: bool,
}

/// A stream as this unit sees it.
struct Overlay {
    /// The version that was loaded.
    base: Version,
    /// The state with the unit's own events.
    current: Entry,
    snapshots: Option<snapshots::Writer>,
    /// The id of the last event that this unit added.
    last_event: Option<Uuid>,
    /// The append that produces the base, if that may not be in the log yet.
    depends_on: Option<AppendHandle>,
}

impl UnitOfWork {
    pub(crate) fn new(store: EventStore, ahead: bool) -> Self {
        Self { store, streams: HashMap::new(), append: Append::default(), ahead }
    }

    /// Loads the streams that are not loaded yet, with one query.
    ///
    /// # Errors
    /// As [`EventStore::load`].
    pub async fn prefetch<A: State>(&mut self, streams: &[StreamId]) -> Result<(), StoreError> {
        let unknown = |stream: &&StreamId| !self.streams.contains_key(stream);
        let mut missing: Vec<StreamId> = streams.iter().filter(unknown).cloned().collect();
        missing.retain(|stream| !self.take_in_flight::<A>(stream));
        if missing.is_empty() {
            return Ok(());
        }
        for (stream, entry) in self.store.load_entries::<A>(&missing).await? {
            self.begin::<A>(stream, entry, None);
        }
        Ok(())
    }

    /// Begins with the state of an append in flight, if this unit runs ahead and there is one. Returns whether it did.
    fn take_in_flight<A: State>(&mut self, stream: &StreamId) -> bool {
        let found = if self.ahead { self.store.inner.in_flight.get(stream) } else { None };
        let Some((entry, depends_on)) = found else { return false };
        self.begin::<A>(stream.clone(), entry, depends_on);
        true
    }

    fn begin<A: State>(&mut self, stream: StreamId, entry: Entry, depends_on: Option<AppendHandle>) {
        let (base, snapshots) = (entry.version, snapshots::writer::<A>());
        self.streams
            .insert(stream, Overlay { base, current: entry, snapshots, last_event: None, depends_on });
    }

    /// Waits until everything that was read is in the log.
    ///
    /// [`AppendError::DependencyFailed`] when an append in flight that was read has failed.
    pub async fn await_dependencies(&mut self) -> Result<(), AppendError> {
        for overlay in self.streams.values_mut() {
            if let Some(handle) = overlay.depends_on.take()
                && !handle.appended().await
            {
                return Err(AppendError::DependencyFailed);
            }
        }
        Ok(())
    }

    /// Assumes that a stream which is not cached is empty, without a query. The append checks it, and conflicts if it
    /// was not empty.
    pub fn assume_empty<A: State>(&mut self, stream: &StreamId) {
        if self.streams.contains_key(stream) || self.take_in_flight::<A>(stream) {
            return;
        }
        let known = self.store.inner.cache.get(stream).filter(|entry| !entry.stale);
        let current = known.unwrap_or_else(|| Entry {
            version: 0,
            state: std::sync::Arc::new(A::default()),
            bytes: 0,
            stale: false,
        });
        self.begin::<A>(stream.clone(), current, None);
    }

    /// The aggregate, including what this unit has decided so far.
    ///
    /// # Errors
    /// As [`EventStore::load`].
    pub async fn load<A: State>(&mut self, stream: &StreamId) -> Result<&A, StoreError> {
        self.prefetch::<A>(std::slice::from_ref(stream)).await?;
        Ok(self.loaded(stream).expect("it was loaded above"))
    }

    /// The same for a stream that this unit has loaded; none if it has not.
    pub fn loaded<A: State>(&self, stream: &StreamId) -> Option<&A> {
        let overlay = self.streams.get(stream)?;
        Some(overlay.current.state.downcast_ref().expect("a stream is loaded as one aggregate only"))
    }

    /// As [`EventStore::database_now`]: the time from which deadlines are set.
    ///
    /// # Errors
    /// As there.
    pub async fn database_now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.store.database_now().await
    }

    /// Loads the stream and the other streams that the decision reads, decides, and adds the events. The inner error is
    /// the aggregate's refusal: nothing was added.
    ///
    /// # Errors
    /// As [`EventStore::load`].
    ///
    /// # Panics
    /// When the decision writes to a stream that it does not declare to read.
    pub async fn decide<D: Decide>(
        &mut self,
        stream: &StreamId,
        command: &D::Command,
        metadata: &Metadata,
    ) -> Result<Result<Decided, D::Refusal>, StoreError> {
        let reads = self.load::<D>(stream).await?.reads(command);
        if !reads.is_empty() {
            self.prefetch::<D::Other>(&reads).await?;
        }
        let state = self.loaded::<D>(stream).expect("it was loaded above");
        let others = reads.into_iter().map(|stream| {
            let other = self.loaded(&stream).expect("it was loaded above");
            (stream, other)
        });
        let decision = state.decide_with(command, &others.collect());
        Ok(decision.map(|decision| {
            let others = decision.others.iter().map(|(_, events)| events.len());
            let count = decision.own.len() + others.sum::<usize>();
            self.add::<D>(stream, decision.own, metadata);
            for (other, events) in decision.others {
                self.add::<D::Other>(&other, events, metadata);
            }
            Decided { events: count, version: self.version(stream) }
        }))
    }

    /// Adds events that were decided outside of a [`Decide`].
    ///
    /// When the stream was not loaded in this unit, so that the decision could not depend on it.
    pub fn write<A: State>(&mut self, stream: &StreamId, events: Vec<A::Event>, metadata: &Metadata) {
        self.add::<A>(stream, events, metadata);
    }

    fn add<A: State>(&mut self, stream: &StreamId, events: Vec<A::Event>, metadata: &Metadata) {
        let overlay = self.streams.get_mut(stream).expect("a stream is loaded before it is written to");
        if events.is_empty() {
            return;
        }
        let current = &mut overlay.current;
        let expected_version = current.version;
        let mut state = A::clone(&state_of::<A>(current.state.clone()));
        let mut new = Vec::with_capacity(events.len());
        for event in events {
            state = state.evolve(&event);
            current.version += 1;
            new.push(NewEvent::new(&event, metadata.clone()));
        }
        overlay.last_event = new.last().map(|event| event.event_id);
        current.state = std::sync::Arc::new(state);
        match self.append.writes.last_mut().filter(|write| write.stream == *stream) {
            Some(last) => last.events.extend(new),
            None => {
                self.append.writes.push(StreamWrite { stream: stream.clone(), expected_version, events: new })
            }
        }
    }

    /// The stream's version including this unit's events; 0 if it was not loaded.
    pub fn version(&self, stream: &StreamId) -> Version {
        self.streams.get(stream).map_or(0, |overlay| overlay.current.version)
    }

    pub fn set_deadline(&mut self, id: &str, stream: &StreamId, due_at: DateTime<Utc>, command: Value) {
        let (id, stream) = (id.to_owned(), stream.clone());
        self.append.deadlines.push(DeadlineChange::Set { id, stream, due_at, command });
    }

    pub fn clear_deadline(&mut self, id: &str) {
        self.append.deadlines.push(DeadlineChange::Clear { id: id.to_owned() });
    }

    pub fn checkpoint(&mut self, checkpoint: CheckpointMove) {
        self.append.checkpoints.push(checkpoint);
    }

    pub fn claim(&mut self, claim: IdempotencyClaim) {
        self.append.claim = Some(claim);
    }

    pub fn park(&mut self, parked: ParkedEvent) {
        self.append.parked.push(parked);
    }
}
