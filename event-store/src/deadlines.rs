//! Waits that ran out, by the database's clock.
//!
//! Deadlines are set and cleared by appends ([`DeadlineChange`](crate::DeadlineChange)); whoever acts on one clears it in
//! the append that holds what came of it. Never: a clock other than the database's.
//! Read next: `sagas/` (who acts on them).

use chrono::{DateTime, Utc};
use events::StreamId;
use serde_json::Value;

use tokio_postgres::Row;

use crate::store::sql_limit;
use crate::{EventStore, StoreError};

/// A command whose time has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadline {
    pub id: String,
    pub stream: StreamId,
    pub due_at: DateTime<Utc>,
    pub command: Value,
}

impl EventStore {
    /// The deadlines that are due, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn due_deadlines(&self, limit: usize) -> Result<Vec<Deadline>, StoreError> {
        let query = "SELECT id, stream, due_at, command FROM deadlines
                      WHERE due_at <= clock_timestamp() ORDER BY due_at, id LIMIT $1";
        let rows = self.query("read deadlines", query, &[&sql_limit(limit)]).await?;
        Ok(rows.iter().map(deadline).collect())
    }
}

fn deadline(row: &Row) -> Deadline {
    Deadline {
        id: row.get("id"),
        stream: StreamId::from(row.get::<_, String>("stream")),
        due_at: row.get("due_at"),
        command: row.get("command"),
    }
}
