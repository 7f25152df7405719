//! The log of a context as of one snapshot, its events not decoded.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use event_log::{ContextName, EventSet, partition_of};
use futures::{Stream, TryStreamExt};
use serde::Deserialize;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Error;
use crate::read::connections::Connections;
use crate::read::database::{JsonText, Snapshot};
use crate::report::Violation;

/// In the order in which [`RawEvents::read`] takes them.
pub const COLUMNS: &str =
    "position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at";

/// An event as it is stored in the log, nothing decoded.
#[derive(Debug, Clone)]
pub struct RawEvent {
    pub context: ContextName,
    /// The partition on which its record must be.
    pub partition: i32,
    pub position: i64,
    pub stream: String,
    pub version: i32,
    pub event_id: Uuid,
    pub event_type: String,
    pub schema_version: i16,
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

#[derive(Deserialize)]
pub struct Metadata<'a> {
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub depends_on: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    pub traceparent: Option<Cow<'a, str>>,
    pub idempotency_key: Option<Cow<'a, str>>,
}

impl RawEvent {
    /// # Errors
    /// In words, when the metadata are not what an append writes.
    pub fn metadata(&self) -> Result<Metadata<'_>, String> {
        serde_json::from_str(&self.metadata).map_err(|cause| format!("the metadata does not parse: {cause}"))
    }

    /// # Errors
    /// In words, when this build does not know the event.
    pub fn decode<E: EventSet>(&self) -> Result<E, String> {
        let version = u16::try_from(self.schema_version).unwrap_or(0);
        E::decode(self.context, &self.event_type, version, &self.payload).map_err(|cause| cause.to_string())
    }

    /// A violation by this event: `what` is wrong with it.
    pub fn violation(&self, what: impl Into<String>) -> Violation {
        self.locate(Violation::new(what))
    }

    /// `violation`, at the place of this event.
    pub fn locate(&self, violation: Violation) -> Violation {
        violation
            .in_context(self.context)
            .at("position", self.position)
            .at("stream", &self.stream)
            .at("version", self.version)
    }
}

/// Reads the events of one context from rows.
#[derive(Debug, Clone, Copy)]
pub struct RawEvents {
    pub context: ContextName,
    pub partitions: i32,
}

impl RawEvents {
    pub fn read(self, row: &Row) -> RawEvent {
        let stream: String = row.get(1);
        RawEvent {
            context: self.context,
            partition: partition_of(&stream, self.partitions),
            position: row.get(0),
            stream,
            version: row.get(2),
            event_id: row.get(3),
            event_type: row.get(4),
            schema_version: row.get(5),
            payload: row.get::<_, JsonText>(6).0,
            metadata: row.get::<_, JsonText>(7).0,
            recorded_at: row.get(8),
        }
    }
}

/// A log: a snapshot of its context's schema.
pub struct Log {
    pub events: RawEvents,
    pub snapshot: Snapshot,
}

impl Log {
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn open(connections: &Connections, context: ContextName) -> Result<Self, Error> {
        let events = RawEvents { context, partitions: connections.topic_partitions };
        Ok(Self { events, snapshot: Snapshot::open(connections, context.as_str()).await? })
    }

    /// Another connection to the same snapshot.
    ///
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn beside(&self, connections: &Connections) -> Result<Self, Error> {
        Ok(Self { events: self.events, snapshot: self.snapshot.beside(connections).await? })
    }

    pub fn context(&self) -> ContextName {
        self.events.context
    }

    /// The position of the last event; 0 when there is none.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn head(&self) -> Result<i64, Error> {
        let sql = format!("SELECT coalesce(max(position), 0) FROM {}.events", self.context());
        Ok(self.snapshot.query(&sql, &[]).await?.first().map_or(0, |row| row.get(0)))
    }

    /// All events, by position.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn by_position(
        &self,
    ) -> Result<impl Stream<Item = Result<RawEvent, tokio_postgres::Error>>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM {}.events ORDER BY position", self.context());
        let events = self.events;
        Ok(self.snapshot.stream(&sql).await?.map_ok(move |row| events.read(&row)))
    }

    /// The events at these positions, in any order.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn at(&self, positions: &[i64]) -> Result<Vec<RawEvent>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM {}.events WHERE position = ANY($1)", self.context());
        let rows = self.snapshot.query(&sql, &[&positions]).await?;
        Ok(rows.iter().map(|row| self.events.read(row)).collect())
    }
}
