//! What a consumer that appends here finds when it starts: its checkpoints, and the streams it has parked.
//!
//! Both are written by appends ([`CheckpointMove`](crate::CheckpointMove), [`ParkedEvent`](crate::ParkedEvent)), with the
//! effect that they belong to; and a parked record goes with the append that holds its effect at last.
//! Never: a write by itself. Read next: `sagas/`.

use std::collections::HashSet;

use event_log::{Position, StreamId};
use tokio_postgres::Row;

use crate::append::Prepared;
use crate::{AppendError, Appended, EventStore, ParkedPlace, StoreError, batch};

/// How far a consumer is on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub topic: String,
    pub partition: i32,
    /// The offset of the next record to read.
    pub next_offset: i64,
    pub last_position: Position,
    /// The epoch of the log that the position belongs to.
    pub epoch: i64,
}

impl EventStore {
    /// Where the consumer stands on every partition that it ever read.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn checkpoints(&self, consumer: &str) -> Result<Vec<Checkpoint>, StoreError> {
        let query = "SELECT topic, partition, next_offset, last_position, epoch FROM checkpoints
                      WHERE consumer = $1 ORDER BY topic, partition";
        let rows = self.query("read checkpoints", query, &[&consumer]).await?;
        let checkpoint = |row: &Row| Checkpoint {
            topic: row.get("topic"),
            partition: row.get("partition"),
            next_offset: row.get("next_offset"),
            last_position: row.get("last_position"),
            epoch: row.get("epoch"),
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

    /// Appends, and takes away the parked record whose effect this is, in one transaction. Not by the appender, which
    /// shares its transaction with others: the log is held for a statement longer than it is there.
    ///
    /// # Errors
    /// [`AppendError`]: nothing was appended, and the record is parked as before. Where the connection broke at the
    /// commit, look whether the record is still there.
    pub(crate) async fn append_unparking(
        &self,
        prepared: &Prepared,
        parked: &ParkedPlace,
    ) -> Result<Appended, AppendError> {
        let failed = |cause| self.database_error("retry a parked record", cause);
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let outcome = batch::append_one_in(&transaction, prepared).await.map_err(failed)??;
        let ParkedPlace { consumer, topic, partition, offset } = parked;
        let unpark = transaction.prepare_cached("SELECT unpark($1, $2, $3, $4)").await.map_err(failed)?;
        transaction.execute(&unpark, &[consumer, topic, partition, offset]).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(outcome)
    }
}
