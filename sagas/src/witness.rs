//! Whether the log that we write to is the one that the topics tell of.
//!
//! A log that was restored to an older state does not have the last events of its own topic; whoever reacted on it would
//! decide, and charge, a second time. So this is looked at before a partition is read. Never: a look into another
//! context's log; what is wrong with that one, its relay has written at the end of its topic (a halt).
//! Read next: docs/decisions/0012.

use event_bus::{BusConfig, HandlerError, TailRecord, read_tail};
use event_store::EventStore;
use events::Context;
use futures::future::try_join_all;

use crate::fate;

pub(crate) struct Witness {
    bus: BusConfig,
    store: EventStore,
    sources: Vec<Context>,
}

impl Witness {
    pub(crate) fn new(bus: BusConfig, store: EventStore, sources: impl Into<Vec<Context>>) -> Self {
        Self { bus, store, sources: sources.into() }
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
        let tails = read_tail(&self.bus, context).await;
        for tail in tails.map_err(|error| HandlerError::Retry(error.to_string()))? {
            if let Some(reason) = tail.halted {
                let topic = self.bus.topic(context);
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
            self.bus.topic(own)
        )))
    }
}
