//! Reads the log by position or by stream, without decoding payloads.
//!
//! `position > last` is a complete read, because positions have no gaps and become visible in order. No event is
//! skipped because it cannot be decoded.

use std::pin::Pin;

use deadpool_postgres::Object;
use event_log::{Position, RawEvent, StreamId, Version};
use futures::TryStreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::{Json, Type};

use crate::error::StoreError;
use crate::store::{EventStore, sql_limit};

impl EventStore {
    /// The next events of the whole log, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn scan(&self, after: Position, limit: usize) -> Result<Vec<RawEvent>, StoreError> {
        let query =
            "SELECT position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at
                       FROM events WHERE position > $1 ORDER BY position LIMIT $2";
        let rows = self.query("scan", query, &[&after, &sql_limit(limit)]).await?;
        rows.iter().map(|row| raw_event(row).map_err(|cause| self.database_error("scan", cause))).collect()
    }

    /// All events after `after` up to `to`, in order, as one stream from the server, for readers of a whole log. It
    /// holds one connection of the pool until it is read to its end.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn scan_all(&self, after: Position, to: Position) -> Result<Scan, StoreError> {
        let failed = |cause| self.database_error("scan", cause);
        let client = self.client().await?;
        // COPY takes no parameters; both values are integers.
        let statement = format!(
            "COPY (SELECT position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at
                     FROM events WHERE position > {after} AND position <= {to} ORDER BY position)
               TO STDOUT (FORMAT binary)"
        );
        let copy = client.copy_out(&statement).await.map_err(failed)?;
        let rows = Box::pin(BinaryCopyOutStream::new(copy, &COLUMN_TYPES));
        Ok(Scan { store: self.clone(), rows, _client: client })
    }

    /// The next events of one stream, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn read_stream(
        &self,
        stream: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<RawEvent>, StoreError> {
        let query =
            "SELECT position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at
                       FROM events WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3";
        let rows = self.query("read a stream", query, &[&stream.as_str(), &after, &sql_limit(limit)]).await?;
        rows.iter()
            .map(|row| raw_event(row).map_err(|cause| self.database_error("read a stream", cause)))
            .collect()
    }

    /// The last position; 0 when the log is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn head(&self) -> Result<Position, StoreError> {
        let query = "SELECT coalesce(max(position), 0) AS head FROM events";
        Ok(self.query("read the head", query, &[]).await?[0].get("head"))
    }

    /// 1, plus one for each restore from a backup. Positions are only comparable within one epoch.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn epoch(&self) -> Result<LogEpoch, StoreError> {
        let query = "SELECT epoch, reconciling_to IS NOT NULL AS reconciling FROM log_epoch";
        let rows = self.query("read the epoch", query, &[]).await?;
        Ok(LogEpoch { number: rows[0].get("epoch"), is_reconciling: rows[0].get("reconciling") })
    }
}

/// The log's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEpoch {
    pub number: i64,
    /// `tradewind reconcile` has begun and not finished: nothing may be published to the topic.
    pub is_reconciling: bool,
}

/// The types of the columns that [`EventStore::scan_all`] selects.
const COLUMN_TYPES: [Type; 9] = [
    Type::INT8,
    Type::TEXT,
    Type::INT4,
    Type::UUID,
    Type::TEXT,
    Type::INT2,
    Type::JSON,
    Type::JSON,
    Type::TIMESTAMPTZ,
];

/// A running scan of the log.
pub struct Scan {
    store: EventStore,
    rows: Pin<Box<BinaryCopyOutStream>>,
    _client: Object,
}

impl Scan {
    /// At most `limit` events, fewer if their payloads reach `bytes_max`; none at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the connection breaks.
    pub async fn next(&mut self, limit: usize, bytes_max: usize) -> Result<Vec<RawEvent>, StoreError> {
        let (mut events, mut bytes) = (Vec::with_capacity(limit), 0);
        while events.len() < limit && bytes < bytes_max {
            let failed = |cause| self.store.database_error("scan", cause);
            let Some(row) = self.rows.try_next().await.map_err(failed)? else { break };
            let event = copied_event(&row).map_err(failed)?;
            bytes += event.payload.get().len();
            events.push(event);
        }
        Ok(events)
    }
}

fn copied_event(row: &BinaryCopyOutRow) -> Result<RawEvent, tokio_postgres::Error> {
    let schema_version: i16 = row.try_get(5)?;
    Ok(RawEvent {
        position: row.try_get(0)?,
        stream: StreamId::from(row.try_get::<String>(1)?),
        version: row.try_get(2)?,
        event_id: row.try_get(3)?,
        event_type: row.try_get(4)?,
        schema_version: u16::try_from(schema_version).expect("events_schema_version_from_1"),
        payload: row.try_get::<Json<_>>(6)?.0,
        metadata: row.try_get::<Json<_>>(7)?.0,
        recorded_at: row.try_get(8)?,
    })
}

fn raw_event(row: &Row) -> Result<RawEvent, tokio_postgres::Error> {
    let schema_version: i16 = row.try_get("schema_version")?;
    Ok(RawEvent {
        position: row.try_get("position")?,
        stream: StreamId::from(row.try_get::<_, String>("stream")?),
        version: row.try_get("version")?,
        event_id: row.try_get("event_id")?,
        event_type: row.try_get("type")?,
        schema_version: u16::try_from(schema_version).expect("events_schema_version_from_1"),
        payload: row.try_get::<_, Json<_>>("payload")?.0,
        metadata: row.try_get::<_, Json<_>>("metadata")?.0,
        recorded_at: row.try_get("recorded_at")?,
    })
}
