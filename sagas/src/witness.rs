//! Whether the log that we write to is the one that the topics tell of.
//!
//! A log that was restored to an older state does not have the last events of its own topic; whoever reacted on it would
//! decide, and charge, a second time. So this is looked at before a partition is read. Never: a look into another
//! context's log; what is wrong with that one, its relay has written at the end of its topic (a halt).
//! Read next: docs/decisions/0012.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_bus::{BusConfig, HandlerError, PartitionTail, TailRecord, read_tail};
use event_store::EventStore;
use events::Context;
use futures::future::try_join_all;
use tokio::sync::Mutex;

use crate::fate;

/// The handlers of a reader look at the same time: the tail of a topic is read once for all of them. What comes to a topic
/// later is read as a record.
const FRESH_FOR: Duration = Duration::from_secs(1);

type Tail = Arc<Vec<PartitionTail>>;

/// The tails of the topics, shared by the handlers of a reader.
pub(crate) struct Tails {
    bus: BusConfig,
    read: BTreeMap<Context, Mutex<Option<(Instant, Tail)>>>,
}

impl Tails {
    pub(crate) fn new(bus: BusConfig) -> Arc<Self> {
        let read = Context::ALL.into_iter().map(|context| (context, Mutex::default())).collect();
        Arc::new(Self { bus, read })
    }

    async fn of(&self, context: Context) -> Result<Tail, HandlerError> {
        let mut known = self.read[&context].lock().await;
        if let Some((read_at, tail)) = &*known
            && read_at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(tail));
        }
        let began_at = Instant::now();
        let tail = read_tail(&self.bus, context).await;
        let tail = Arc::new(tail.map_err(|error| HandlerError::Retry(error.to_string()))?);
        *known = Some((began_at, Arc::clone(&tail)));
        Ok(tail)
    }
}

pub(crate) struct Witness {
    tails: Arc<Tails>,
    store: EventStore,
    sources: Vec<Context>,
}

impl Witness {
    pub(crate) fn new(tails: Arc<Tails>, store: EventStore, sources: impl Into<Vec<Context>>) -> Self {
        Self { tails, store, sources: sources.into() }
    }

    /// # Errors
    /// [`HandlerError::Restored`]: stop. [`HandlerError::Retry`] when it cannot be found out now.
    pub(crate) async fn attest(&self) -> Result<(), HandlerError> {
        let own = self.store.context();
        let others = self.sources.iter().copied().filter(|context| *context != own);
        try_join_all(std::iter::once(own).chain(others).map(|context| self.attest_of(context))).await?;
        Ok(())
    }

    async fn attest_of(&self, context: Context) -> Result<(), HandlerError> {
        for tail in &*self.tails.of(context).await? {
            if let Some(reason) = &tail.halted {
                let topic = self.tails.bus.topic(context);
                return Err(HandlerError::Restored(format!("the relay halted {topic}: {reason}")));
            }
            if let Some(last) = tail.last.filter(|_| context == self.store.context()) {
                self.attest_event(tail.partition, last).await?;
            }
        }
        Ok(())
    }

    /// The last event of a partition of our own topic is in our log.
    async fn attest_event(&self, partition: i32, last: TailRecord) -> Result<(), HandlerError> {
        let logged = self.store.scan(last.position - 1, 1).await;
        let logged = logged.map_err(|error| fate::of_store_error(&error))?;
        if logged.first().is_some_and(|event| event.event_id == last.event_id) {
            return Ok(());
        }
        let (own, TailRecord { position, event_id, .. }) = (self.store.context(), last);
        Err(HandlerError::Restored(format!(
            "{}/{partition} holds event {event_id} at position {position}, which the log of {own} does not have: the \
             log was restored to an older state",
            self.tails.bus.topic(own)
        )))
    }
}
