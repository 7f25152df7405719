//! What is on its way into the log, so that the next decision on a stream need not wait for it.
//!
//! A decision may be made on states that are not in the log yet. It is then bound to the appends that made them: sent
//! with them as one command, or after they are known to be in the log, and refused here when one of them failed. The
//! version check alone would not do: another process may have brought the stream to the same version with another event.
//! Never: such a state in the cache, or given to anybody who does not append. Read next: `chain.rs`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::StreamId;

use crate::cache::Entry;

const OPEN: u8 = 0;
const APPENDED: u8 = 1;
const FAILED: u8 = 2;

/// One append, and what has become of it. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == OPEN
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.0.load(Ordering::Acquire) == FAILED
    }

    /// Before anybody is told.
    pub(crate) fn settle(&self, appended: bool) {
        self.0.store(if appended { APPENDED } else { FAILED }, Ordering::Release);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

struct Underway {
    entry: Entry,
    ticket: Ticket,
}

/// The states that appends under way lead to, by stream: the last one of each.
#[derive(Default)]
pub(crate) struct Pending {
    streams: Mutex<HashMap<StreamId, Underway>>,
}

impl Pending {
    /// The state that the last append under way leads to, and that append, unless it is in the log already.
    pub(crate) fn get(&self, stream: &StreamId) -> Option<(Entry, Option<Ticket>)> {
        let streams = self.lock();
        let Underway { entry, ticket } = streams.get(stream)?;
        if ticket.has_failed() {
            return None;
        }
        Some((entry.clone(), ticket.is_open().then(|| ticket.clone())))
    }

    /// Holds them until the returned guard is dropped.
    pub(crate) fn hold(self: &Arc<Self>, states: Vec<(StreamId, Entry)>, ticket: &Ticket) -> Held {
        let mut streams = self.lock();
        let mut named = Vec::with_capacity(states.len());
        for (stream, entry) in states {
            named.push(stream.clone());
            streams.insert(stream, Underway { entry, ticket: ticket.clone() });
        }
        Held { pending: Arc::clone(self), streams: named, ticket: ticket.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Underway>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one append holds in [`Pending`]; also when its caller has gone.
pub(crate) struct Held {
    pending: Arc<Pending>,
    streams: Vec<StreamId>,
    ticket: Ticket,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut streams = self.pending.lock();
        for stream in &self.streams {
            if streams.get(stream).is_some_and(|underway| underway.ticket.is(&self.ticket)) {
                streams.remove(stream);
            }
        }
    }
}
