//! Reading the log as a log: by position, by stream, undecoded.
//!
//! `position > last` is a complete reading here and nowhere else: positions have no gaps and are visible in order.
//! Never: an event skipped because it could not be decoded. Read next: `relay/src/lib.rs`, `replay/src/lib.rs`.

use events::{Position, RawEvent, StreamId, Version};
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::store::sql_limit;
use crate::{EventStore, StoreError};

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

    /// 1, and one more with each restore from a backup: positions of another epoch speak of another log.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn epoch(&self) -> Result<LogEpoch, StoreError> {
        let query = "SELECT epoch, reconciling_to IS NOT NULL AS reconciling FROM log_epoch";
        let rows = self.query("read the epoch", query, &[]).await?;
        Ok(LogEpoch { number: rows[0].get("epoch"), is_reconciling: rows[0].get("reconciling") })
    }
}

/// Which log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEpoch {
    pub number: i64,
    /// `tradewind reconcile` began and has not ended: the topic is not to be written to.
    pub is_reconciling: bool,
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
