//! The event store: one append-only log per context, on Postgres.
//!
//! Positions are 1, 2, 3, … without a gap, in commit order; the SQL function `append` is the only way to write.
//! Everything that one command writes is one [`Append`], sent in a batch with all other waiting appends. Never: Kafka,
//! HTTP, a business rule, a remote call inside a transaction. Read next: [`append`](crate::Append) (how a decision
//! becomes a fact).

mod append;
mod append_notifier;
mod appender;
mod batch;
mod cache;
mod checkpoints;
mod deadlines;
mod error;
mod failure;
mod idempotency;
mod in_flight;
mod load;
mod migrate;
mod relay_lease;
mod retry;
mod scan;
mod snapshots;
mod store;
mod stores;
mod unit_of_work;

pub use append::{
    Answer, Append, Appended, DeadlineChange, EVENT_BYTES_MAX, IdempotencyClaim, NewEvent, ParkedEvent,
    ParkedPlace, StoredAnswer, StreamWrite,
};
pub use append_notifier::append_channel;
pub use deadlines::Deadline;
pub use error::{AppendError, StoreError};
pub use event_log::{Checkpoint, CheckpointMove};
pub use load::Versioned;
pub use migrate::{MigrateError, migrate};
pub use relay_lease::{LEASE_TERM_MAX, Lease, RECONCILER, RelayStatus};
pub use retry::{MayBeConflict, retry_conflicts, retry_stale};
pub use scan::{LogEpoch, Scan};
pub use store::{EventStore, StoreOptions};
pub use stores::Stores;
pub use unit_of_work::{Committed, Decided, UnitOfWork};
