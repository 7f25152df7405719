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
pub(crate) enum AppendState {
    Open,
    Appended,
    Failed,
}

/// To learn what becomes of an append. Clones speak of the same one.
#[derive(Clone, Debug)]
pub(crate) struct AppendHandle(watch::Receiver<AppendState>);

/// To tell it. Dropped without a word, it failed.
#[derive(Debug)]
pub(crate) struct OutcomeSender(watch::Sender<AppendState>);

/// For a new append.
pub(crate) fn handle() -> (OutcomeSender, AppendHandle) {
    let (sender, receiver) = watch::channel(AppendState::Open);
    (OutcomeSender(sender), AppendHandle(receiver))
}

impl OutcomeSender {
    /// Before anybody is told otherwise.
    pub(crate) fn settle(&self, appended: bool) {
        self.0.send_replace(if appended { AppendState::Appended } else { AppendState::Failed });
    }

    pub(crate) fn settles(&self, handle: &AppendHandle) -> bool {
        self.0.subscribe().same_channel(&handle.0)
    }
}

impl AppendHandle {
    pub(crate) fn state(&self) -> AppendState {
        let is_given_up = self.0.has_changed().is_err();
        match *self.0.borrow() {
            AppendState::Open if is_given_up => AppendState::Failed,
            fate => fate,
        }
    }

    /// Whether it is in the log, as soon as that is known.
    pub(crate) async fn appended(mut self) -> bool {
        self.0
            .wait_for(|fate| *fate != AppendState::Open)
            .await
            .is_ok_and(|fate| *fate == AppendState::Appended)
    }
}

struct Underway {
    entry: Entry,
    handle: AppendHandle,
}

/// The states that appends under way lead to, by stream: the last one of each.
#[derive(Default)]
pub(crate) struct InFlight {
    streams: Mutex<HashMap<StreamId, Underway>>,
}

impl InFlight {
    /// The state that the last append under way leads to, and that append, unless it is in the log already.
    pub(crate) fn get(&self, stream: &StreamId) -> Option<(Entry, Option<AppendHandle>)> {
        let streams = self.lock();
        let Underway { entry, handle } = streams.get(stream)?;
        match handle.state() {
            AppendState::Open => Some((entry.clone(), Some(handle.clone()))),
            AppendState::Appended => Some((entry.clone(), None)),
            AppendState::Failed => None,
        }
    }

    /// Submits an append that was decided on these versions, unless another one leads further, and holds the states that it
    /// leads to until the guard is dropped. Between the look and the append nobody comes: so units of one process that run
    /// ahead stand in the queue in the order in which they were decided.
    ///
    /// # Errors
    /// [`AppendError::StaleDecision`], and those of `submit`.
    pub(crate) fn submit<T>(
        self: &Arc<Self>,
        decided_on: &[(&StreamId, Version)],
        states: Vec<(StreamId, Entry)>,
        handle: &AppendHandle,
        cache: &AggregateCache,
        submit: impl FnOnce() -> Result<T, AppendError>,
    ) -> Result<(T, InFlightGuard), AppendError> {
        let mut streams = self.lock();
        let is_stale = |(stream, version): &(&StreamId, Version)| {
            let leads_further = |underway: &Underway| {
                underway.entry.version > *version && underway.handle.state() != AppendState::Failed
            };
            streams.get(*stream).is_some_and(leads_further)
                // One that is not under way any more was put there before it was let go here.
                || cache.get(stream).is_some_and(|known| known.version > *version && !known.stale)
        };
        if decided_on.iter().any(is_stale) {
            return Err(AppendError::StaleDecision);
        }
        let submitted = submit()?;
        let mut named = Vec::with_capacity(states.len());
        for (stream, entry) in states {
            named.push(stream.clone());
            streams.insert(stream, Underway { entry, handle: handle.clone() });
        }
        Ok((submitted, InFlightGuard { in_flight: Arc::clone(self), streams: named, handle: handle.clone() }))
    }

    /// What is in the log or failed: whoever reads the stream next reads the log.
    pub(crate) fn forget(&self, stream: &StreamId) {
        let mut streams = self.lock();
        if streams.get(stream).is_some_and(|underway| underway.handle.state() != AppendState::Open) {
            streams.remove(stream);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Underway>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one append holds in [`InFlight`]; also when its caller has gone.
pub(crate) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    streams: Vec<StreamId>,
    handle: AppendHandle,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut streams = self.in_flight.lock();
        for stream in &self.streams {
            if streams.get(stream).is_some_and(|underway| underway.handle.0.same_channel(&self.handle.0)) {
                streams.remove(stream);
            }
        }
    }
}
