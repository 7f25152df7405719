//! The commit of a unit of work.

use std::collections::HashMap;

use event_log::{StreamId, Version};
use fault::mutant;

use super::{Committed, UnitOfWork};
use crate::append::{self, Append, Appended, ParkedPlace, Prepared, StreamWrite};
use crate::cache::Entry;
use crate::error::AppendError;
use crate::in_flight::{self, AppendHandle};
use crate::snapshots;
use crate::store::Inner;

impl UnitOfWork {
    /// Appends everything. On success the cache gets the new states; after a conflict the next load reads the streams
    /// again.
    ///
    /// # Errors
    /// [`AppendError`]; on a conflict begin a new unit ([`retry_conflicts`](crate::retry_conflicts)).
    pub async fn commit(mut self) -> Result<Committed, AppendError> {
        let claimed_apart = match mutant!("unit_of_work::key_claimed_apart") {
            true => self.append.claim.take(),
            false => None,
        };
        let prepared = self.prepare()?;
        let (outcome_sender, handle) = in_flight::handle();
        let submit = || self.store.submit(prepared, self.depends_on(), outcome_sender);
        let (outcome, _guard) = if self.ahead {
            let Inner { in_flight, cache, .. } = &*self.store.inner;
            let (outcome, guard) =
                in_flight.submit(&self.decided_on(), self.decided(), &handle, cache, submit)?;
            (outcome, Some(guard))
        } else {
            (submit()?, None)
        };
        let outcome = outcome.await;
        if let (Some(claim), Ok(_)) = (claimed_apart, &outcome) {
            self.store.append(Append { claim: Some(claim), ..Append::default() }).await?;
        }
        self.settle(outcome)
    }

    /// The same, and removes the parked record whose effect this unit is.
    ///
    /// As [`UnitOfWork::commit`]; the record then stays parked.
    pub async fn commit_unparking(mut self, parked: &ParkedPlace) -> Result<Committed, AppendError> {
        // Only the appender can check dependencies, and this append does not use it.
        self.await_dependencies().await?;
        let prepared = self.prepare()?;
        let outcome = self.store.append_unparking(&prepared, parked).await;
        self.settle(outcome)
    }

    /// The appends that were read and may not be in the log yet.
    fn depends_on(&self) -> Vec<AppendHandle> {
        self.streams.values().filter_map(|overlay| overlay.depends_on.clone()).collect()
    }

    fn prepare(&mut self) -> Result<Prepared, AppendError> {
        self.add_version_checks();
        let prepared = append::prepare(std::mem::take(&mut self.append))?;
        self.weigh(&prepared);
        Ok(prepared)
    }

    fn settle(self, outcome: Result<Appended, AppendError>) -> Result<Committed, AppendError> {
        match outcome {
            Ok(appended) => Ok(Committed { appended, versions: self.into_cache() }),
            Err(error) => {
                match &error {
                    AppendError::Conflict { stream, actual, .. } => self.invalidate(Some((stream, *actual))),
                    AppendError::DependencyFailed => self.invalidate(None),
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// Adds a write without events for each stream that was only read, so that the append checks its version.
    fn add_version_checks(&mut self) {
        let read_only = self.streams.iter().filter(|(_, overlay)| overlay.base == overlay.current.version);
        self.append.writes.extend(read_only.map(|(stream, overlay)| StreamWrite {
            stream: stream.clone(),
            expected_version: overlay.base,
            events: Vec::new(),
        }));
    }

    /// Adds the sizes of the new events, which the cache needs.
    fn weigh(&mut self, prepared: &Prepared) {
        for write in &prepared.append.writes {
            for event in &write.events {
                let overlay = self.streams.get_mut(&write.stream).expect("what is written was loaded");
                overlay.current.bytes = overlay.current.bytes.max(event.payload.get().len());
            }
        }
    }

    /// The streams that were read, with their versions.
    fn decided_on(&self) -> Vec<(&StreamId, Version)> {
        self.streams.iter().map(|(stream, overlay)| (stream, overlay.base)).collect()
    }

    /// The states that this unit produces.
    fn decided(&self) -> Vec<(StreamId, Entry)> {
        let decided = self.streams.iter().filter(|(_, overlay)| overlay.base < overlay.current.version);
        decided.map(|(stream, overlay)| (stream.clone(), overlay.current.clone())).collect()
    }

    fn into_cache(self) -> HashMap<StreamId, Version> {
        let mut versions = HashMap::with_capacity(self.streams.len());
        for (stream, overlay) in self.streams {
            versions.insert(stream.clone(), overlay.current.version);
            let (base, current) = (overlay.base, overlay.current);
            if let (Some(writer), Some(last_event)) = (overlay.snapshots, overlay.last_event)
                && snapshots::is_due(base, current.version)
            {
                self.store.inner.snapshots.take(
                    &stream,
                    (current.version, last_event),
                    &current.state,
                    writer,
                );
            }
            if base < current.version {
                self.store.inner.cache.put(&stream, current);
            }
        }
        versions
    }

    fn invalidate(&self, conflict: Option<(&StreamId, Version)>) {
        for (stream, overlay) in &self.streams {
            self.store.inner.in_flight.forget(stream);
            if conflict.is_some_and(|(conflicting, actual)| conflicting == stream && actual < overlay.base) {
                // The log lacks a version that was read: it is another log now.
                self.store.inner.cache.remove(stream);
            } else {
                self.store.inner.cache.mark_stale(stream);
            }
        }
    }
}
