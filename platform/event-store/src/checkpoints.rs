//! The checkpoints and parked streams that a consumer reads when it starts.
//!
//! Appends write both ([`CheckpointMove`](event_log::CheckpointMove), [`ParkedEvent`](crate::ParkedEvent)), together
//! with the effect that they belong to. The append that contains the effect of a parked record also removes that
//! record.

use std::collections::HashSet;

use event_log::{Checkpoint, StreamId};
use tokio_postgres::Row;

use crate::append::{Appended, ParkedPlace, Prepared};
use crate::batch;
use crate::error::{AppendError, StoreError};
use crate::store::EventStore;

impl EventStore {
    /// The consumer's checkpoint on every partition that it ever read.
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

    /// The streams with a parked record of this consumer. Later records of these streams must be parked behind it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn parked_streams(&self, consumer: &str) -> Result<HashSet<StreamId>, StoreError> {
        let query = "SELECT DISTINCT stream FROM parked_events WHERE consumer = $1";
        let rows = self.query("read parked streams", query, &[&consumer]).await?;
        Ok(rows.iter().map(|row| StreamId::from(row.get::<_, String>("stream"))).collect())
    }

    /// Appends, and removes the parked record whose effect this is, in one transaction. It does not use the appender,
    /// whose transaction is shared with other commands; the log stays locked for one statement more than there.
    ///
    /// [`AppendError`]: nothing was appended, and the record is still parked. If the connection broke at the commit,
    /// check whether the record is still there.
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
