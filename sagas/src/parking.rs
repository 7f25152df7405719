//! The streams of which a consumer has put a record aside: what comes after it in the stream waits behind it, in
//! order, and every other stream flows.
//!
//! The table `parked_events` is the truth; this is what is known of it, read again on every assignment and, while
//! anything is parked, before every batch. Readiness and metrics look at the table for themselves ([`watch`]).
//! Never: a record dropped; what is known overwritten by who only watches. Read next: [`crate::reactor`], `retry.rs`.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event_bus::parked::Notice;
use event_bus::{HandlerError, Record};
use event_store::{EventStore, ParkedEvent};
use events::StreamId;
use runtime::Check;

use crate::fate;

const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Parking {
    store: EventStore,
    consumer: String,
    known: Mutex<HashSet<StreamId>>,
}

impl Parking {
    pub(crate) fn new(store: EventStore, consumer: &str) -> Self {
        Self { store, consumer: consumer.to_owned(), known: Mutex::default() }
    }

    /// Reads the table. On an assignment: after the checkpoints. Whoever had the partition before may commit in between;
    /// then the checkpoints are old, and the first batch finds out. The other way round its parking would be missed.
    pub(crate) async fn read(&self) -> Result<(), HandlerError> {
        let parked = self.store.parked_streams(&self.consumer).await;
        self.know(parked.map_err(|error| fate::of_store_error(&error))?);
        Ok(())
    }

    /// The streams that are parked, as of now.
    pub(crate) async fn streams(&self) -> Result<HashSet<StreamId>, HandlerError> {
        if !self.known().is_empty() {
            self.read().await?;
        }
        Ok(self.known())
    }

    /// After a commit that parked something.
    pub(crate) fn know(&self, parked: HashSet<StreamId>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    fn known(&self) -> HashSet<StreamId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn behind(&self, record: &Record) -> ParkedEvent {
        self.park(record, ParkedEvent::BEHIND.to_owned())
    }

    pub(crate) fn park(&self, record: &Record, reason: String) -> ParkedEvent {
        ParkedEvent {
            consumer: self.consumer.clone(),
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            stream: StreamId::from(record.stream_name()),
            position: record.position,
            key: record.key.clone(),
            payload: record.payload.clone(),
            reason,
        }
    }
}

/// Tells readiness and metrics what is parked, as the table has it; never returns.
pub(crate) async fn watch(store: EventStore, consumer: String, check: Check) {
    let mut notice = Notice::new(consumer);
    loop {
        match store.parked_streams(&notice.consumer).await {
            Ok(parked) => match notice.tell(parked.iter().map(StreamId::as_str).collect()) {
                None => check.ok(),
                Some(told) => check.degraded(told),
            },
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
