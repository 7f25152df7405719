//! Deadlines that are due, by the database's clock.
//!
//! Appends set and clear deadlines ([`DeadlineChange`](crate::DeadlineChange)). A process that acts on a deadline
//! clears it in the append that contains the result. No other clock than the database's is used.

use chrono::{DateTime, Utc};
use event_log::StreamId;
use serde_json::Value;
use tokio_postgres::Row;

use crate::error::StoreError;
use crate::store::{EventStore, sql_limit};

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
    /// The time of the database's clock, from which deadlines are set and by which they are due.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn database_now(&self) -> Result<DateTime<Utc>, StoreError> {
        let rows = self.query("ask the time", "SELECT clock_timestamp()", &[]).await?;
        Ok(rows[0].get(0))
    }

    /// The deadlines that are due, oldest first; only those after `after`, if one is given.
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
        // Earlier than every deadline.
        let first = (DateTime::<Utc>::UNIX_EPOCH, "");
        let (due_at, id) = after.map_or(first, |after| (after.due_at, after.id.as_str()));
        let rows = self.query("read deadlines", query, &[&due_at, &id, &sql_limit(limit)]).await?;
        Ok(rows.iter().map(deadline).collect())
    }

    /// The oldest deadline that is due, without those whose ids are in `except`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn oldest_due_deadline(&self, except: &[String]) -> Result<Option<Deadline>, StoreError> {
        let query = "SELECT id, stream, due_at, command, clock_timestamp() AS seen_at FROM deadlines
                      WHERE due_at <= clock_timestamp() AND id <> ALL($1) ORDER BY due_at, id LIMIT 1";
        let rows = self.query("read the oldest deadline", query, &[&except]).await?;
        Ok(rows.first().map(deadline))
    }

    /// Up to `limit` streams whose request was refused permanently, with the reason (the command's field `refused`),
    /// and the total number of such streams.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn refused_for_good(&self, limit: usize) -> Result<(i64, Vec<(StreamId, String)>), StoreError> {
        let query = "SELECT stream, command->>'refused' AS refused, count(*) OVER () AS in_all
                       FROM deadlines WHERE command->>'refused' IS NOT NULL ORDER BY id LIMIT $1";
        let rows = self.query("read refused deadlines", query, &[&sql_limit(limit)]).await?;
        let in_all = rows.first().map_or(0, |row| row.get("in_all"));
        let streams =
            rows.iter().map(|row| (StreamId::from(row.get::<_, String>("stream")), row.get("refused")));
        Ok((in_all, streams.collect()))
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
