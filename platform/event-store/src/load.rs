//! Loads an aggregate: the cached state, and the events appended after it.
//!
//! A cached state may be stale. The append's version check finds that, and then only the tail of the stream is read.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Object;
use event_log::{CodecError, EventFamily, SnapshotForm, State, StreamId, Version};
use futures::TryStreamExt;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use crate::cache::{Entry, state_of};
use crate::error::StoreError;
use crate::snapshots;
use crate::store::EventStore;

/// An aggregate and the version of its stream that it was folded from.
#[derive(Debug)]
pub struct Versioned<A> {
    /// 0: the stream is empty.
    pub version: Version,
    pub state: Arc<A>,
}

impl<A> Clone for Versioned<A> {
    fn clone(&self) -> Self {
        Self { version: self.version, state: Arc::clone(&self.state) }
    }
}

/// A state while events are folded onto it.
struct Folding<A> {
    /// The version before anything was read.
    from: Version,
    version: Version,
    state: A,
    bytes: usize,
    /// The id of the last folded event.
    last_event: Option<Uuid>,
}

/// The tails of streams, each after its snapshot if it has a valid one: the log has the snapshot's last event, and the
/// same sources folded it. One statement, so that snapshot and tail are of the same moment.
const TAILS_BEHIND_SNAPSHOTS: &str = "
    SELECT (named.ordinal - 1)::integer AS index, s.version AS snapshot_version, s.state AS snapshot_state,
           e.position, e.version, e.event_id, e.type, e.schema_version, e.payload
      FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS named (stream, after, ordinal)
      LEFT JOIN LATERAL (
            SELECT s.version, s.state FROM snapshots s
             WHERE s.stream = named.stream AND s.shape = $3 AND s.version > named.after
               AND EXISTS (SELECT FROM events e
                            WHERE e.stream = s.stream AND e.version = s.version AND e.event_id = s.event_id)
      ) s ON true
      LEFT JOIN LATERAL (
            SELECT * FROM events e
             WHERE e.stream = named.stream AND e.version > coalesce(s.version, named.after)
             ORDER BY e.version
      ) e ON true";

const TAILS: &str = "
    SELECT (named.ordinal - 1)::integer AS index, e.position, e.version, e.event_id, e.type, e.schema_version, e.payload
      FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS named (stream, after, ordinal)
     CROSS JOIN LATERAL (
            SELECT * FROM events e
             WHERE e.stream = named.stream AND e.version > named.after
             ORDER BY e.version
     ) e";

impl EventStore {
    /// The aggregate from the cache, or folded from its stream. It may be stale.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked or an event of the stream cannot be read.
    pub async fn load<A: State>(&self, stream: &StreamId) -> Result<Versioned<A>, StoreError> {
        let mut loaded = self.load_many::<A>(std::slice::from_ref(stream)).await?;
        Ok(loaded.remove(stream).expect("a load returns every stream"))
    }

    /// The same for many streams of one aggregate, with one query for all that are not cached.
    ///
    /// # Errors
    /// As [`EventStore::load`].
    pub async fn load_many<A: State>(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, Versioned<A>>, StoreError> {
        let entries = self.load_entries::<A>(streams).await?;
        let versioned =
            |entry: Entry| Versioned { version: entry.version, state: state_of::<A>(entry.state) };
        Ok(entries.into_iter().map(|(stream, entry)| (stream, versioned(entry))).collect())
    }

    /// Makes the next load of these streams read what was appended after the cached version.
    pub fn invalidate(&self, streams: &[StreamId]) {
        for stream in streams {
            self.inner.cache.mark_stale(stream);
        }
    }

    pub(crate) async fn load_entries<A: State>(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, Entry>, StoreError> {
        let mut entries = HashMap::with_capacity(streams.len());
        let mut to_read: Vec<(&StreamId, Folding<A>)> = Vec::new();
        for stream in streams {
            match self.inner.cache.get(stream) {
                Some(entry) if !entry.stale => {
                    entries.insert(stream.clone(), entry);
                }
                Some(stale) => to_read.push((stream, Folding::from_entry(stale))),
                None => to_read.push((stream, Folding::from_the_beginning())),
            }
        }
        let (hits, misses) = (entries.len(), to_read.len());
        let context = self.context().to_string();
        metrics::counter!("tradewind_cache_hits_total", "context" => context.clone()).increment(hits as u64);
        metrics::counter!("tradewind_cache_misses_total", "context" => context).increment(misses as u64);
        if !to_read.is_empty() {
            self.read_tails(&mut to_read).await?;
        }
        let writer = snapshots::writer::<A>();
        for (stream, folded) in to_read {
            let (from, last_event) = (folded.from, folded.last_event);
            let entry = folded.into_entry();
            if let (Some(writer), Some(last_event)) = (writer, last_event)
                && snapshots::is_due(from, entry.version)
            {
                self.inner.snapshots.take(stream, (entry.version, last_event), &entry.state, writer);
            }
            // Empty streams are not cached: they would only use up its space.
            if entry.version > 0 {
                self.inner.cache.put(stream, entry.clone());
            }
            entries.insert(stream.clone(), entry);
        }
        Ok(entries)
    }

    /// Folds each stream's tail onto its state, starting from a later snapshot if there is one.
    async fn read_tails<A: State>(&self, states: &mut [(&StreamId, Folding<A>)]) -> Result<(), StoreError> {
        let Some(form) = A::SNAPSHOT else { return self.read_tails_from_the_log(states).await };
        let after: Vec<Version> = states.iter().map(|(_, folding)| folding.version).collect();
        if self.read_tails_behind_snapshots(states, &form).await? {
            return Ok(());
        }
        // A snapshot could not be decoded: read these streams without snapshots.
        for ((_, folding), after) in states.iter_mut().zip(after) {
            if folding.version != after {
                *folding = Folding::from_the_beginning();
            }
        }
        self.read_tails_from_the_log(states).await
    }

    async fn read_tails_from_the_log<A: State>(
        &self,
        states: &mut [(&StreamId, Folding<A>)],
    ) -> Result<(), StoreError> {
        let (streams, after) = named(states);
        let (_client, rows) = self.rows_of(TAILS, &[&streams, &after]).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(|cause| self.database_error("load", cause))? {
            let (stream, folding) = &mut states[index_of(&row)];
            folding.fold(self, stream, &row)?;
        }
        Ok(())
    }

    /// Returns whether every snapshot could be decoded.
    async fn read_tails_behind_snapshots<A: State>(
        &self,
        states: &mut [(&StreamId, Folding<A>)],
        form: &SnapshotForm<A>,
    ) -> Result<bool, StoreError> {
        let (streams, after) = named(states);
        let (_client, rows) = self.rows_of(TAILS_BEHIND_SNAPSHOTS, &[&streams, &after, &form.shape]).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(|cause| self.database_error("load", cause))? {
            let (stream, folding) = &mut states[index_of(&row)];
            let snapshot: Option<Version> = row.get("snapshot_version");
            if let Some(version) = snapshot.filter(|version| *version > folding.version) {
                let Some(state) = (form.read)(row.get("snapshot_state")) else { return Ok(false) };
                *folding = Folding { from: version, version, state, bytes: folding.bytes, last_event: None };
            }
            if row.get::<_, Option<Version>>("version").is_some() {
                folding.fold(self, stream, &row)?;
            }
        }
        Ok(true)
    }

    /// The rows as a stream, and the connection that delivers them.
    async fn rows_of(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(Object, RowStream), StoreError> {
        let failed = |cause| self.database_error("load", cause);
        let client = self.client().await?;
        let statement = client.prepare_cached(statement).await.map_err(failed)?;
        let rows = client.query_raw(&statement, parameters.iter().copied()).await.map_err(failed)?;
        Ok((client, rows))
    }
}

fn named<'a, A>(states: &[(&'a StreamId, Folding<A>)]) -> (Vec<&'a str>, Vec<Version>) {
    states.iter().map(|(stream, folding)| (stream.as_str(), folding.version)).unzip()
}

fn index_of(row: &Row) -> usize {
    usize::try_from(row.get::<_, i32>("index")).expect("ordinals count from 1")
}

impl<A: State> Folding<A> {
    fn from_the_beginning() -> Self {
        Self { from: 0, version: 0, state: A::default(), bytes: 0, last_event: None }
    }

    fn from_entry(entry: Entry) -> Self {
        let state = Arc::unwrap_or_clone(state_of::<A>(entry.state));
        Self { from: entry.version, version: entry.version, state, bytes: entry.bytes, last_event: None }
    }

    fn into_entry(self) -> Entry {
        Entry { version: self.version, state: Arc::new(self.state), bytes: self.bytes, stale: false }
    }

    fn fold(&mut self, store: &EventStore, stream: &StreamId, row: &Row) -> Result<(), StoreError> {
        let version: Version = row.get("version");
        assert_eq!(version, self.version + 1, "{stream} is read in the order of its versions");
        let Json(payload): Json<&RawValue> = row.get("payload");
        let schema_version: i16 = row.get("schema_version");
        let schema_version = u16::try_from(schema_version).expect("events_schema_version_from_1");
        let event_type = row.get("type");
        let event = A::Event::decode(event_type, schema_version, payload.get()).unwrap_or_else(|| {
            Err(CodecError::UnknownType { context: store.context(), event_type: event_type.to_owned() })
        });
        let event = event.map_err(|cause| store.unreadable(row.get("position"), stream, cause))?;
        self.state = std::mem::take(&mut self.state).evolve(&event);
        self.version = version;
        self.last_event = Some(row.get("event_id"));
        self.bytes = self.bytes.max(payload.get().len());
        Ok(())
    }
}
