//! The streams of which a consumer has put a record aside: what comes after it in the stream waits behind it, in
//! order, and every other stream flows.
//!
//! The table `parked_events` is the truth; this is what is known of it, read again on every assignment and, while
//! anything is parked, before every batch. Never: a record dropped. Read next: [`crate::reactor`].

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use event_bus::{HandlerError, Record};
use event_store::{EventStore, ParkedEvent};
use events::StreamId;
use runtime::Check;

use crate::fate;

/// Why a record is parked that is sound itself.
const BEHIND: &str = "an earlier event of this stream is parked";
/// How many streams the readiness names.
const NAMED_MAX: usize = 5;

pub(crate) struct Parking {
    store: EventStore,
    consumer: String,
    check: Check,
    known: Mutex<HashSet<StreamId>>,
}

impl Parking {
    pub(crate) fn new(store: EventStore, consumer: &str, check: Check) -> Self {
        Self { store, consumer: consumer.to_owned(), check, known: Mutex::default() }
    }

    /// Reads the table.
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
        metrics::gauge!("tradewind_parked_streams", "consumer" => self.consumer.clone())
            .set(u32::try_from(parked.len()).unwrap_or(u32::MAX));
        if parked.is_empty() {
            self.check.ok();
        } else {
            let named: Vec<&str> = parked.iter().take(NAMED_MAX).map(StreamId::as_str).collect();
            self.check.failing(format!("{} streams are parked: {}", parked.len(), named.join(", ")));
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    fn known(&self) -> HashSet<StreamId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn behind(&self, record: &Record) -> ParkedEvent {
        self.park(record, BEHIND.to_owned())
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
