//! The logs, read from some applied positions to later ones: one COPY out of the server, taken page by page.
//!
//! Of the events up to the later positions, those of a partition that has not come so far are left for the next reading, which begins
//! at the first of them; or at one that was parked and then retried.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{ContextName, Envelope, EventSet, Position};
use event_store::{EventStore, Scan, StoreOptions};
use runtime::{Secret, postgres};

use crate::Error;
use crate::applied_positions::AppliedPositions;

/// A page has at most so many events, and about so many bytes of payloads.
const PAGE_EVENTS: usize = 4_000;
const PAGE_BYTES: usize = 2 << 20;

/// The logs of the contexts that are read.
pub struct Logs {
    stores: BTreeMap<ContextName, EventStore>,
}

impl Logs {
    /// # Errors
    /// [`Error`] when a log cannot be reached.
    pub async fn open(
        contexts: &BTreeSet<ContextName>,
        url: impl Fn(ContextName) -> Secret,
    ) -> Result<Self, Error> {
        let mut stores = BTreeMap::new();
        for &context in contexts {
            let pool = postgres::pool(&url(context), 1)?;
            stores.insert(context, EventStore::new(context, pool, StoreOptions::default()).await?);
        }
        Ok(Self { stores })
    }

    pub fn of(&self, context: ContextName) -> &EventStore {
        &self.stores[&context]
    }
}

/// One context's events between two applied positions.
pub struct Reading {
    store: EventStore,
    from: AppliedPositions,
    to: AppliedPositions,
    /// The events that the server sends, from the first page on.
    scan: Option<Scan>,
    /// The last position looked at.
    after: Position,
    /// The last position before the first event that was left for the next reading.
    left_after: Option<Position>,
}

/// A part of a reading.
pub struct Page<E> {
    /// To be applied, in order.
    pub events: Vec<Envelope<E>>,
    /// The size of their payloads.
    pub payload_bytes: usize,
    /// How many positions were looked at.
    pub positions: u64,
}

impl Reading {
    /// `after` is where the reading that ended at `from` said to go on.
    pub fn new(store: &EventStore, from: &AppliedPositions, to: &AppliedPositions, after: Position) -> Self {
        let after = to.first_freed_since(from).map_or(after, |freed| after.min(freed - 1));
        Self { store: store.clone(), from: from.clone(), to: to.clone(), scan: None, after, left_after: None }
    }

    /// The next page; none at the end.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Unreadable`].
    pub async fn page<E: EventSet>(&mut self) -> Result<Option<Page<E>>, Error> {
        let context = self.store.context();
        let last = self.to.last(context);
        if last <= self.after {
            return Ok(None);
        }
        let scan = match &mut self.scan {
            Some(scan) => scan,
            none => none.insert(self.store.scan_all(self.after, last).await?),
        };
        let raw_events = scan.next(PAGE_EVENTS, PAGE_BYTES).await?;
        let Some(last_of_page) = raw_events.last().map(|event| event.position) else {
            self.scan = None;
            return Ok(None);
        };
        let positions = (last_of_page - self.after).unsigned_abs();
        self.after = last_of_page;
        let mut events = Vec::with_capacity(raw_events.len());
        let mut payload_bytes = 0;
        for raw in raw_events {
            if self.from.has_applied(context, &raw.stream, raw.position) {
                continue;
            }
            if !self.to.includes(context, &raw.stream, raw.position) {
                self.left_after.get_or_insert(raw.position - 1);
                continue;
            }
            if !self.to.has_applied(context, &raw.stream, raw.position) {
                continue;
            }
            payload_bytes += raw.payload.get().len();
            let (position, stream) = (raw.position, raw.stream.clone());
            let event = raw.decode(context).map_err(|cause| Error::Unreadable {
                context,
                position,
                stream,
                cause,
            })?;
            events.push(event);
        }
        Ok(Some(Page { events, payload_bytes, positions }))
    }

    /// Where the next reading goes on.
    pub fn resume_after(&self) -> Position {
        self.left_after.unwrap_or(self.after)
    }
}
