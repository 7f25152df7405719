//! What a consumer that appends here finds when it starts: its checkpoints, and the streams it has parked.
//!
//! Both are written by appends ([`CheckpointMove`](crate::CheckpointMove), [`ParkedEvent`](crate::ParkedEvent)), with the
//! effect that they belong to. Never: a write. Read next: `sagas/`.

use std::collections::HashSet;

use events::{Position, StreamId};
use tokio_postgres::Row;

use crate::{EventStore, StoreError};

/// How far a consumer is on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub topic: String,
    pub partition: i32,
    /// The offset of the next record to read.
    pub next_offset: i64,
    pub last_position: Position,
}

impl EventStore {
    /// Where the consumer stands on every partition that it ever read.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn checkpoints(&self, consumer: &str) -> Result<Vec<Checkpoint>, StoreError> {
        let query = "SELECT topic, partition, next_offset, last_position FROM checkpoints
                      WHERE consumer = $1 ORDER BY topic, partition";
        let rows = self.query("read checkpoints", query, &[&consumer]).await?;
        let checkpoint = |row: &Row| Checkpoint {
            topic: row.get("topic"),
            partition: row.get("partition"),
            next_offset: row.get("next_offset"),
            last_position: row.get("last_position"),
        };
        Ok(rows.iter().map(checkpoint).collect())
    }

    /// The streams of which the consumer has parked a record: later ones must be parked behind it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn parked_streams(&self, consumer: &str) -> Result<HashSet<StreamId>, StoreError> {
        let query = "SELECT DISTINCT stream FROM parked_events WHERE consumer = $1";
        let rows = self.query("read parked streams", query, &[&consumer]).await?;
        Ok(rows.iter().map(|row| StreamId::from(row.get::<_, String>("stream"))).collect())
    }
}
