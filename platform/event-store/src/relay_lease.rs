//! The relay's row in each context: lease holder, expiry, cursor.
//!
//! The lease uses the database's clock. Each acquisition raises the lease epoch, and the cursor moves only for the
//! current epoch, so a relay that slept past its lease moves nothing. The cursor never goes back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event_log::Position;
use fault::mutant;
use tokio_postgres::Row;

use crate::error::StoreError;
use crate::store::EventStore;

/// The longest term of a lease, except for the reconciler's.
pub const LEASE_TERM_MAX: Duration = Duration::from_secs(300);
/// The holder of the leases while `tradewind reconcile` works, for hours if need be.
pub const RECONCILER: &str = "reconcile";

/// The right to relay a context's log, until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub holder: String,
    pub epoch: i64,
    pub expires_at: DateTime<Utc>,
    /// The last position that the broker had acknowledged when the lease was acquired or renewed.
    pub cursor: Position,
}

/// The state of a context's relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Empty if no relay ever ran.
    pub holder: String,
    pub lease_epoch: i64,
    pub lease_expires_at: DateTime<Utc>,
    /// By the database's clock.
    pub lease_is_held: bool,
    pub cursor: Position,
    pub head: Position,
    /// The age of the first event after the cursor. None if all events are relayed.
    pub oldest_unrelayed_age: Option<Duration>,
}

impl RelayStatus {
    /// The number of events that are appended and not relayed yet.
    pub fn lag(&self) -> i64 {
        self.head - self.cursor
    }
}

impl EventStore {
    /// Acquires the lease if it is free. None: another relay holds it.
    ///
    /// A lease that expires later than the longest term is void: the database's clock was set back, and the holder may
    /// be gone. A holder that still runs notices the new epoch, as after any other acquisition.
    ///
    /// `holder` identifies this start of this process.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn acquire_lease(&self, holder: &str, term: Duration) -> Result<Option<Lease>, StoreError> {
        let query = "UPDATE relay
                        SET holder = $1, lease_epoch = lease_epoch + 1,
                            lease_expires_at = clock_timestamp() + $2 * interval '1 second'
                      WHERE lease_expires_at <= clock_timestamp()
                         OR (lease_expires_at > clock_timestamp() + $3 * interval '1 second' AND holder <> $4)
                  RETURNING holder, lease_epoch, lease_expires_at, cursor";
        let longest = LEASE_TERM_MAX.as_secs_f64();
        let rows = self
            .query("acquire the lease", query, &[&holder, &term.as_secs_f64(), &longest, &RECONCILER])
            .await?;
        Ok(rows.first().map(lease_of))
    }

    /// Renews the lease for another term. None: the lease has another epoch now, stop relaying.
    ///
    /// [`StoreError`] when the database cannot be asked; the lease may expire before the next attempt.
    pub async fn renew_lease(&self, lease: &Lease, term: Duration) -> Result<Option<Lease>, StoreError> {
        let query = "UPDATE relay SET lease_expires_at = clock_timestamp() + $2 * interval '1 second'
                      WHERE lease_epoch = $1
                  RETURNING holder, lease_epoch, lease_expires_at, cursor";
        let rows = self.query("renew the lease", query, &[&lease.epoch, &term.as_secs_f64()]).await?;
        Ok(rows.first().map(lease_of))
    }

    /// Releases the lease, so that a successor need not wait until it expires.
    ///
    /// [`StoreError`] when the database cannot be asked; the lease then expires by itself.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let query = "UPDATE relay SET lease_expires_at = clock_timestamp(), lease_epoch = lease_epoch + 1
                      WHERE lease_epoch = $1";
        self.query("release the lease", query, &[&lease.epoch]).await.map(|_| ())
    }

    /// Moves the cursor by compare-and-set. False: the lease or the cursor has changed, stop relaying.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; the cursor may have moved.
    pub async fn advance_cursor(
        &self,
        lease: &Lease,
        from: Position,
        to: Position,
    ) -> Result<bool, StoreError> {
        let mut query = "UPDATE relay SET cursor = $3
                      WHERE lease_epoch = $1 AND cursor = $2 AND $3 >= $2
                  RETURNING cursor";
        if mutant!("relay::cursor_without_its_lease") {
            query = "UPDATE relay SET cursor = $3 WHERE $1::bigint > 0 AND cursor = $2 AND $3 >= $2 RETURNING cursor";
        }
        let rows = self.query("advance the cursor", query, &[&lease.epoch, &from, &to]).await?;
        Ok(!rows.is_empty())
    }

    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn relay_status(&self) -> Result<RelayStatus, StoreError> {
        let query = "SELECT r.holder, r.lease_epoch, r.lease_expires_at, r.cursor,
                            r.lease_expires_at > clock_timestamp() AS lease_is_held,
                            (SELECT coalesce(max(e.position), 0) FROM events e) AS head,
                            (SELECT greatest(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8
                               FROM events e WHERE e.position = r.cursor + 1) AS oldest_unrelayed_seconds
                       FROM relay r";
        let rows = self.query("read the relay's status", query, &[]).await?;
        let row = &rows[0];
        let waited: Option<f64> = row.get("oldest_unrelayed_seconds");
        Ok(RelayStatus {
            holder: row.get("holder"),
            lease_epoch: row.get("lease_epoch"),
            lease_expires_at: row.get("lease_expires_at"),
            lease_is_held: row.get("lease_is_held"),
            cursor: row.get("cursor"),
            head: row.get("head"),
            oldest_unrelayed_age: waited.map(Duration::from_secs_f64),
        })
    }
}

fn lease_of(row: &Row) -> Lease {
    Lease {
        holder: row.get("holder"),
        epoch: row.get("lease_epoch"),
        expires_at: row.get("lease_expires_at"),
        cursor: row.get("cursor"),
    }
}
