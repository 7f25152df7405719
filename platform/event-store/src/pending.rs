//! What is on its way into the log, so that the next decision on a stream need not wait for it.
//!
//! A decision may be made on states that are not in the log yet. It then stands on the appends that lead to them: the
//! appender sends it with them or after them, and it is refused when one of them did not pass. The version check alone
//! would not do: somebody else may have brought the stream to the same version with other events.
//! Never: such a state in the cache, or given to a unit that did not ask to run ahead. Read next: `appender.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_log::{StreamId, Version};
use tokio::sync::watch;

use crate::AppendError;
use crate::cache::{AggregateCache, Entry};

/// What has become of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Appended,
    Failed,
}

/// To learn what becomes of an append. Clones speak of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(watch::Receiver<Fate>);

/// To tell it. Dropped without a word, it failed.
#[derive(Debug)]
pub(crate) struct Settler(watch::Sender<Fate>);

/// For a new append.
pub(crate) fn ticket() -> (Settler, Ticket) {
    let (sender, receiver) = watch::channel(Fate::Open);
    (Settler(sender), Ticket(receiver))
}

impl Settler {
    /// Before anybody is told otherwise.
    pub(crate) fn settle(&self, appended: bool) {
        self.0.send_replace(if appended { Fate::Appended } else { Fate::Failed });
    }

    pub(crate) fn settles(&self, ticket: &Ticket) -> bool {
        self.0.subscribe().same_channel(&ticket.0)
    }
}

impl Ticket {
    pub(crate) fn fate(&self) -> Fate {
        let is_given_up = self.0.has_changed().is_err();
        match *self.0.borrow() {
            Fate::Open if is_given_up => Fate::Failed,
            fate => fate,
        }
    }

    /// Whether it is in the log, as soon as that is known.
    pub(crate) async fn appended(mut self) -> bool {
        self.0.wait_for(|fate| *fate != Fate::Open).await.is_ok_and(|fate| *fate == Fate::Appended)
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
        match ticket.fate() {
            Fate::Open => Some((entry.clone(), Some(ticket.clone()))),
            Fate::Appended => Some((entry.clone(), None)),
            Fate::Failed => None,
        }
    }

    /// Submits an append that was decided on these versions, unless another one leads further, and holds the states that it
    /// leads to until the guard is dropped. Between the look and the append nobody comes: so units of one process that run
    /// ahead stand in the queue in the order in which they were decided.
    ///
    /// # Errors
    /// [`AppendError::Overtaken`], and those of `submit`.
    pub(crate) fn submit<T>(
        self: &Arc<Self>,
        decided_on: &[(&StreamId, Version)],
        states: Vec<(StreamId, Entry)>,
        ticket: &Ticket,
        cache: &AggregateCache,
        submit: impl FnOnce() -> Result<T, AppendError>,
    ) -> Result<(T, Held), AppendError> {
        let mut streams = self.lock();
        let is_overtaken = |(stream, version): &(&StreamId, Version)| {
            let leads_further = |underway: &Underway| {
                underway.entry.version > *version && underway.ticket.fate() != Fate::Failed
            };
            streams.get(*stream).is_some_and(leads_further)
                // One that is not under way any more was put there before it was let go here.
                || cache.get(stream).is_some_and(|known| known.version > *version && !known.behind)
        };
        if decided_on.iter().any(is_overtaken) {
            return Err(AppendError::Overtaken);
        }
        let submitted = submit()?;
        let mut named = Vec::with_capacity(states.len());
        for (stream, entry) in states {
            named.push(stream.clone());
            streams.insert(stream, Underway { entry, ticket: ticket.clone() });
        }
        Ok((submitted, Held { pending: Arc::clone(self), streams: named, ticket: ticket.clone() }))
    }

    /// What is in the log or failed: whoever reads the stream next reads the log.
    pub(crate) fn forget(&self, stream: &StreamId) {
        let mut streams = self.lock();
        if streams.get(stream).is_some_and(|underway| underway.ticket.fate() != Fate::Open) {
            streams.remove(stream);
        }
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
            if streams.get(stream).is_some_and(|underway| underway.ticket.0.same_channel(&self.ticket.0)) {
                streams.remove(stream);
            }
        }
    }
}
