//! The streams of which a consumer has parked a record: what follows in such a stream is parked behind it, in order, and
//! every other stream flows.
//!
//! The table `parked_events` is the truth. This is a copy of it, read again on every assignment and, while anything is
//! parked, before every batch. Readiness and metrics read the table for themselves ([`watch`]).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event_bus::parked::ParkedMetrics;
use event_bus::{HandlerError, Record};
use event_log::StreamId;
use event_store::{EventStore, ParkedEvent};
use runtime::Check;

use crate::error_mapping;

const WATCH_EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Parking {
    store: EventStore,
    consumer: String,
    known: Mutex<HashSet<StreamId>>,
}

impl Parking {
    pub(crate) fn new(store: EventStore, consumer: &str) -> Self {
        Self { store, consumer: consumer.to_owned(), known: Mutex::default() }
    }

    /// Reads the table. On an assignment the checkpoints must be read before: the consumer that had the partition may
    /// commit in between. Then the checkpoints are old, and the first batch finds out; in the other order, what it parked
    /// would be missed.
    pub(crate) async fn read(&self) -> Result<(), HandlerError> {
        let parked = self.store.parked_streams(&self.consumer).await;
        self.set(parked.map_err(|error| error_mapping::of_store_error(&error))?);
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
    pub(crate) fn set(&self, parked: HashSet<StreamId>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    fn known(&self) -> HashSet<StreamId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A sound record of a parked stream.
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

/// Reports to readiness and metrics what is parked; never returns.
pub(crate) async fn watch(store: EventStore, consumer: String, check: Check) {
    let mut notice = ParkedMetrics::new(consumer);
    loop {
        match store.parked_streams(&notice.consumer).await {
            Ok(parked) => match notice.update(parked.iter().map(StreamId::as_str).collect()) {
                None => check.ok(),
                Some(reason) => check.degraded(reason),
            },
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
