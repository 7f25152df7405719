//! Snapshots of long streams, written in the background, so that a process that has not cached the stream only reads
//! its last events.
//!
//! A snapshot is used only if the same sources folded it (its shape) and the log has the event that it ends with; the
//! append's version check then applies as for every cached state. A missing, foreign or unreadable snapshot only costs
//! time: the stream is folded from its beginning. No command waits for a snapshot or fails because of one.

use std::sync::Arc;

use deadpool_postgres::Pool;
use event_log::{ContextName, SnapshotForm, State, StreamId, Version};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::cache::{AnyState, state_of};

/// The number of events between two snapshots, and so the most events that are read after one.
pub(crate) const EVENTS_BETWEEN: Version = 100;
/// The number of snapshots that may wait to be written. Others are dropped: the next hundred events cause another.
const QUEUE_MAX: usize = 64;

/// Serialises a state whose type is erased.
pub(crate) type Writer = fn(&AnyState) -> Option<(i64, String)>;

/// The writer for streams of `A`; none if they have no snapshots.
pub(crate) fn writer<A: State>() -> Option<Writer> {
    A::SNAPSHOT.map(|_| write::<A> as Writer)
}

fn write<A: State>(state: &AnyState) -> Option<(i64, String)> {
    let SnapshotForm { shape, write, .. } = A::SNAPSHOT?;
    Some((shape, write(&state_of::<A>(Arc::clone(state)))))
}

/// Whether a snapshot is due when a stream has grown from one version to another.
pub(crate) fn is_due(from: Version, to: Version) -> bool {
    from / EVENTS_BETWEEN < to / EVENTS_BETWEEN
}

struct Snapshot {
    stream: StreamId,
    version: Version,
    /// The stream's event at this version.
    event_id: Uuid,
    shape: i64,
    state: String,
}

/// Handle of the task that writes snapshots. The task ends when the store is dropped.
pub(crate) struct Snapshots {
    queue: mpsc::Sender<Snapshot>,
}

impl Snapshots {
    pub(crate) fn start(context: ContextName, pool: Pool) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_all(context, pool, waiting));
        Self { queue }
    }

    /// Queues a snapshot of the state; drops it if the queue is full.
    pub(crate) fn take(
        &self,
        stream: &StreamId,
        (version, event_id): (Version, Uuid),
        state: &AnyState,
        writer: Writer,
    ) {
        let Ok(place) = self.queue.try_reserve() else { return };
        if let Some((shape, state)) = writer(state) {
            place.send(Snapshot { stream: stream.clone(), version, event_id, shape, state });
        }
    }
}

async fn write_all(context: ContextName, pool: Pool, mut waiting: mpsc::Receiver<Snapshot>) {
    while let Some(snapshot) = waiting.recv().await {
        let outcome = match write_one(&pool, &snapshot).await {
            Ok(()) => "written",
            Err(cause) => {
                // A missing snapshot only makes the next load read more events.
                tracing::debug!(%context, stream = %snapshot.stream, cause, "snapshot not written");
                "failed"
            }
        };
        metrics::counter!("tradewind_snapshots_total", "context" => context.to_string(), "outcome" => outcome)
            .increment(1);
    }
}

/// Writes nothing if the log does not have that event at that version, or if a newer valid snapshot exists.
async fn write_one(pool: &Pool, snapshot: &Snapshot) -> Result<(), String> {
    let client = pool.get().await.map_err(|cause| cause.to_string())?;
    let statement = client
        .prepare_cached(
            "INSERT INTO snapshots AS s (stream, version, event_id, shape, state, taken_at)
             SELECT e.stream, e.version, e.event_id, $3, $4, clock_timestamp()
               FROM events e WHERE e.stream = $1 AND e.version = $2 AND e.event_id = $5
                 ON CONFLICT ON CONSTRAINT snapshots_stream
                 DO UPDATE SET version = excluded.version, event_id = excluded.event_id, shape = excluded.shape,
                               state = excluded.state, taken_at = excluded.taken_at
              WHERE s.version < excluded.version OR s.shape <> excluded.shape
                 OR NOT EXISTS (SELECT FROM events o
                                 WHERE o.stream = s.stream AND o.version = s.version AND o.event_id = s.event_id)",
        )
        .await
        .map_err(|cause| cause.to_string())?;
    let Snapshot { stream, version, event_id, shape, state } = snapshot;
    client
        .execute(&statement, &[&stream.as_str(), version, shape, state, event_id])
        .await
        .map(|_| ())
        .map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_with_each_hundred_events() {
        assert!(is_due(0, 100));
        assert!(is_due(99, 101));
        assert!(is_due(5, 5_000));
        assert!(!is_due(100, 199));
        assert!(!is_due(0, 99));
    }
}
