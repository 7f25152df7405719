//! What can go wrong, told apart by what the caller has to do about it.
//!
//! Never: a decision by a message's prose; database errors are recognised by SQLSTATE.
//! Read next: `appender.rs` (which errors leave an outcome open, and how it is found out).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::PoolError;
use event_log::{CodecError, ContextName, Position, StreamId, Version};

use crate::StoredAnswer;

/// Why an append did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else wrote to the stream. Load again and decide again ([`retry_conflicts`](crate::retry_conflicts)).
    #[error("{stream} is at version {actual}, expected {expected}")]
    Conflict { stream: StreamId, expected: Version, actual: Version },
    /// It was decided on another append's events, and that one failed. As a conflict.
    #[error("it was decided on events that did not come to be")]
    DependencyFailed,
    /// While it was decided, another unit of this process appended to what it was decided on. Nothing was sent: decide
    /// again at once ([`retry_stale`](crate::retry_stale)). As a conflict.
    #[error("another decision came first")]
    StaleDecision,
    /// The key was answered before, for the same request: give that answer.
    #[error("answered before, with status {}", .0.answer.status)]
    AlreadyAnswered(StoredAnswer),
    /// The key was used for another request.
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused { key: String },
    /// Somebody else moved the checkpoint: drop what is buffered of that partition and read the checkpoint again.
    #[error(
        "the checkpoint of {consumer} on {topic}/{partition} is at offset {actual_offset}, not where it was left"
    )]
    CheckpointLost { consumer: String, topic: String, partition: i32, actual_offset: i64 },
    /// The event would not fit the broker. Nothing of the append is in the log.
    #[error("{event_type} has {bytes} bytes; the most is {max}")]
    EventTooLarge { event_type: &'static str, bytes: usize, max: usize },
    /// Too much waits already. Try again later; tell the client so.
    #[error("{queued} {what} are waiting; the most is {max}")]
    Overloaded { what: &'static str, queued: usize, max: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// Whether loading and deciding again may help.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::DependencyFailed | Self::StaleDecision)
    }
}

/// Trouble with the database, or with what it holds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection, within the pool's limits. Nothing was done.
    #[error("no connection to the database of {context}: {}", no_connection(cause))]
    NoConnection { context: ContextName, cause: Arc<PoolError> },
    /// The database refused or the connection broke. Of an append, nothing is in the log.
    #[error("the database of {context} failed to {doing}: {}", said(cause))]
    Database { context: ContextName, doing: &'static str, cause: Arc<tokio_postgres::Error> },
    /// The log holds an event that this build does not know: a newer build is needed.
    #[error("position {position} of {context} ({stream}) cannot be read: {cause}")]
    Unreadable { context: ContextName, position: Position, stream: StreamId, cause: Arc<CodecError> },
    /// The database did not answer for that long. Nothing was written.
    #[error("the database of {context} is out of reach for {waited:?}: nothing was written")]
    Unavailable { context: ContextName, waited: Duration },
    /// The connection broke while the append was under way and the database stayed away: the append is in the log as a
    /// whole or not at all. Repeat the request with the same idempotency key.
    #[error(
        "the database of {context} went away during the append and stayed away for {waited:?}: outcome unknown"
    )]
    OutcomeUnknown { context: ContextName, waited: Duration },
    /// The store was told to stop. Nothing was written.
    #[error("the event store of {context} is shutting down")]
    ShuttingDown { context: ContextName },
}

impl StoreError {
    /// Whether it may pass without anybody's help: the connection broke, the server is stopping or starting, or something
    /// else had to be waited for too long.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Database { cause, .. } => cause.as_db_error().is_none_or(|said| {
                // Connection exception, transaction rollback, object not available (a lock), operator intervention.
                ["08", "40", "55", "57"].iter().any(|class| said.code().code().starts_with(class))
            }),
            Self::NoConnection { .. } | Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Unreadable { .. } | Self::ShuttingDown { .. } => false,
        }
    }
}

/// What the server said, with its SQLSTATE and without the row that it may quote; or how the connection broke.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn no_connection(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => said(error),
        other => other.to_string(),
    }
}
