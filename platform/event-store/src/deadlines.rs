//! Waits that ran out, by the database's clock.
//!
//! Deadlines are set and cleared by appends ([`DeadlineChange`](crate::DeadlineChange)); whoever acts on one clears it in
//! the append that holds what came of it. Never: a clock other than the database's.
//! Read next: `sagas/` (who acts on them).

use chrono::{DateTime, Utc};
use event_log::StreamId;
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
    /// When it was found to be due, by the database's clock.
    pub seen_at: DateTime<Utc>,
}

impl EventStore {
    /// What time it is, by the database's clock: the one from which deadlines are counted, and by which they are due.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn database_now(&self) -> Result<DateTime<Utc>, StoreError> {
        let rows = self.query("ask the time", "SELECT clock_timestamp()", &[]).await?;
        Ok(rows[0].get(0))
    }

    /// The deadlines that are due, the oldest first; those behind `after`, where one is given.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn due_deadlines(
        &self,
        after: Option<&Deadline>,
        limit: usize,
    ) -> Result<Vec<Deadline>, StoreError> {
        let query = "SELECT id, stream, due_at, command, clock_timestamp() AS seen_at FROM deadlines
                      WHERE due_at <= clock_timestamp() AND (due_at, id) > ($1, $2) ORDER BY due_at, id LIMIT $3";
        // No deadline was ever set before this.
        let first = (DateTime::<Utc>::UNIX_EPOCH, "");
        let (due_at, id) = after.map_or(first, |after| (after.due_at, after.id.as_str()));
        let rows = self.query("read deadlines", query, &[&due_at, &id, &sql_limit(limit)]).await?;
        Ok(rows.iter().map(deadline).collect())
    }

    /// Of the deadlines that are due the one that waits longest, those called `except` left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn oldest_due_deadline(&self, except: &[String]) -> Result<Option<Deadline>, StoreError> {
        let query = "SELECT id, stream, due_at, command, clock_timestamp() AS seen_at FROM deadlines
                      WHERE due_at <= clock_timestamp() AND id <> ALL($1) ORDER BY due_at, id LIMIT 1";
        let rows = self.query("read the oldest deadline", query, &[&except]).await?;
        Ok(rows.first().map(deadline))
    }

    /// The streams whose question was refused for good, a few of them, and how many there are: the command's field
    /// `refused` says what was said.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn refused_for_good(&self, limit: usize) -> Result<(i64, Vec<(StreamId, String)>), StoreError> {
        let query = "SELECT stream, command->>'refused' AS refused, count(*) OVER () AS in_all
                       FROM deadlines WHERE command->>'refused' IS NOT NULL ORDER BY id LIMIT $1";
        let rows = self.query("read refused deadlines", query, &[&sql_limit(limit)]).await?;
        let in_all = rows.first().map_or(0, |row| row.get("in_all"));
        let named =
            rows.iter().map(|row| (StreamId::from(row.get::<_, String>("stream")), row.get("refused")));
        Ok((in_all, named.collect()))
    }
}

fn deadline(row: &Row) -> Deadline {
    Deadline {
        id: row.get("id"),
        stream: StreamId::from(row.get::<_, String>("stream")),
        due_at: row.get("due_at"),
        command: row.get("command"),
        seen_at: row.get("seen_at"),
    }
}
