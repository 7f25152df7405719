//! The answers that idempotency keys got.
//!
//! They are written by appends ([`IdempotencyClaim`](crate::IdempotencyClaim)) and removed when they are old.
//! Never: an answer that changes. Read next: `append.rs`.

use std::time::Duration;

use crate::batch::stored_answer;
use crate::store::sql_limit;
use crate::{EventStore, StoreError, StoredAnswer};

impl EventStore {
    /// The answer that `key` got, if it was used. To be asked before a command is decided: it saves the work. What
    /// counts is the claim in the append.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn answer(&self, key: &str) -> Result<Option<StoredAnswer>, StoreError> {
        let query = "SELECT status AS answer_status, body AS answer_body, fingerprint AS answer_fingerprint,
                            first_position, last_position, answered_at AS recorded_at
                       FROM idempotency_keys WHERE key = $1";
        let rows = self.query("read an answer", query, &[&key]).await?;
        let read = rows.first().map(stored_answer).transpose();
        read.map_err(|cause| self.database_error("read an answer", cause))
    }

    /// Forgets at most `limit` of the answers older than `age`; how many. To be called until it is less than `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn prune_answers(&self, age: Duration, limit: usize) -> Result<u64, StoreError> {
        let query = "WITH removed AS (
                         DELETE FROM idempotency_keys WHERE key IN (
                             SELECT key FROM idempotency_keys
                              WHERE answered_at < clock_timestamp() - $1 * interval '1 second'
                              ORDER BY answered_at LIMIT $2)
                         RETURNING key)
                     SELECT count(*) AS removed FROM removed";
        let rows = self.query("prune answers", query, &[&age.as_secs_f64(), &sql_limit(limit)]).await?;
        let removed: i64 = rows[0].get("removed");
        Ok(u64::try_from(removed).expect("a count is not negative"))
    }
}
