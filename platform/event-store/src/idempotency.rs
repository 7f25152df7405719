//! The stored answers of idempotency keys.
//!
//! Appends write them ([`IdempotencyClaim`](crate::IdempotencyClaim)); [`EventStore::prune_answers`] removes old ones.
//! A stored answer never changes.

use std::time::Duration;

use crate::append::StoredAnswer;
use crate::batch::stored_answer;
use crate::error::StoreError;
use crate::store::{EventStore, sql_limit};

impl EventStore {
    /// The answer to `key`, if there is one. Asking before the decision saves the work of deciding; only the claim in
    /// the append is binding.
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

    /// Removes at most `limit` of the answers older than `age` and returns how many. Call it until it returns less than
    /// `limit`.
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
