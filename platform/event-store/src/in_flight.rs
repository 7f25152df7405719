//! The states of appends in flight, so that the next decision on a stream need not wait for them.
//!
//! A unit of work may decide on states that are not in the log yet. Its append then depends on the appends that produce
//! these states: the appender sends it with them or after them, and the database refuses it if one of them failed. The
//! version check alone is not enough, because another process may have brought the stream to the same version with
//! other events.
//!
//! Such a state never enters the cache, and only units that run ahead see it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_log::{StreamId, Version};
use tokio::sync::watch;

use crate::cache::{AggregateCache, Entry};
use crate::error::AppendError;

/// The state of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendState {
    Open,
    Appended,
    Failed,
}

/// Receives the outcome of an append. Clones refer to the same append.
#[derive(Clone, Debug)]
pub(crate) struct AppendHandle(watch::Receiver<AppendState>);

/// Reports the outcome. Dropping it without a report counts as failed.
#[derive(Debug)]
pub(crate) struct OutcomeSender(watch::Sender<AppendState>);

/// Both ends for a new append.
pub(crate) fn handle() -> (OutcomeSender, AppendHandle) {
    let (sender, receiver) = watch::channel(AppendState::Open);
    (OutcomeSender(sender), AppendHandle(receiver))
}

impl OutcomeSender {
    /// Reports the outcome. Runs before the caller gets its answer.
    pub(crate) fn settle(&self, appended: bool) {
        self.0.send_replace(if appended { AppendState::Appended } else { AppendState::Failed });
    }

    pub(crate) fn settles(&self, handle: &AppendHandle) -> bool {
        self.0.subscribe().same_channel(&handle.0)
    }
}

impl AppendHandle {
    pub(crate) fn state(&self) -> AppendState {
        let is_dropped = self.0.has_changed().is_err();
        match *self.0.borrow() {
            AppendState::Open if is_dropped => AppendState::Failed,
            state => state,
        }
    }

    /// Resolves to whether the append is in the log.
    pub(crate) async fn appended(mut self) -> bool {
        self.0
            .wait_for(|state| *state != AppendState::Open)
            .await
            .is_ok_and(|state| *state == AppendState::Appended)
    }
}

struct InFlightState {
    entry: Entry,
    handle: AppendHandle,
}

/// The state that the last append in flight produces, by stream.
#[derive(Default)]
pub(crate) struct InFlight {
    streams: Mutex<HashMap<StreamId, InFlightState>>,
}

impl InFlight {
    /// The state that the last append in flight produces, and that append unless it is in the log already.
    pub(crate) fn get(&self, stream: &StreamId) -> Option<(Entry, Option<AppendHandle>)> {
        let streams = self.lock();
        let InFlightState { entry, handle } = streams.get(stream)?;
        match handle.state() {
            AppendState::Open => Some((entry.clone(), Some(handle.clone()))),
            AppendState::Appended => Some((entry.clone(), None)),
            AppendState::Failed => None,
        }
    }

    /// Submits an append that was decided on these versions, and keeps the states that it produces until the guard is
    /// dropped. Refuses it if another append in flight produced a later version. Check and submit happen under one
    /// lock, so appends of units that run ahead are queued in the order they were decided.
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
            let is_newer = |in_flight: &InFlightState| {
                in_flight.entry.version > *version && in_flight.handle.state() != AppendState::Failed
            };
            streams.get(*stream).is_some_and(is_newer)
                // An append enters the cache before it leaves this map.
                || cache.get(stream).is_some_and(|known| known.version > *version && !known.stale)
        };
        if decided_on.iter().any(is_stale) {
            return Err(AppendError::StaleDecision);
        }
        let submitted = submit()?;
        let mut kept = Vec::with_capacity(states.len());
        for (stream, entry) in states {
            kept.push(stream.clone());
            streams.insert(stream, InFlightState { entry, handle: handle.clone() });
        }
        Ok((submitted, InFlightGuard { in_flight: Arc::clone(self), streams: kept, handle: handle.clone() }))
    }

    /// Removes a stream whose append is in the log or failed: the next load reads the log.
    pub(crate) fn forget(&self, stream: &StreamId) {
        let mut streams = self.lock();
        if streams.get(stream).is_some_and(|in_flight| in_flight.handle.state() != AppendState::Open) {
            streams.remove(stream);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, InFlightState>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of one append in [`InFlight`]. They are removed when it is dropped, also when the caller was cancelled.
pub(crate) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    streams: Vec<StreamId>,
    handle: AppendHandle,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut streams = self.in_flight.lock();
        for stream in &self.streams {
            if streams.get(stream).is_some_and(|in_flight| in_flight.handle.0.same_channel(&self.handle.0)) {
                streams.remove(stream);
            }
        }
    }
}
