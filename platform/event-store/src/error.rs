//! The store's errors, separated by what the caller has to do about each.
//!
//! Database errors are recognised by SQLSTATE, never by their message. `appender.rs` shows which errors leave an
//! outcome unknown, and how it is resolved.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::PoolError;
use event_log::{CodecError, ContextName, Position, StreamId, Version};

use crate::append::StoredAnswer;

/// Why an append did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another process wrote to the stream. Load and decide again ([`retry_conflicts`](crate::retry_conflicts)).
    #[error("{stream} is at version {actual}, expected {expected}")]
    Conflict { stream: StreamId, expected: Version, actual: Version },
    /// It was decided on another append's events, and that append failed. Handle it like a conflict.
    #[error("it depends on an append that failed")]
    DependencyFailed,
    /// Another unit of work of this process appended to a stream that was read, before this one was submitted. Nothing
    /// was sent: decide again at once ([`retry_stale`](crate::retry_stale)). Handle it like a conflict.
    #[error("the decision is stale: another one was submitted first")]
    StaleDecision,
    /// The same request was answered before: return that answer.
    #[error("already answered, with status {}", .0.answer.status)]
    AlreadyAnswered(StoredAnswer),
    /// The key was used for another request.
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused { key: String },
    /// Another consumer moved the checkpoint: drop the partition's buffered records and read the checkpoint again.
    #[error(
        "the checkpoint of {consumer} on {topic}/{partition} is at offset {actual_offset}, which is not the expected one"
    )]
    CheckpointLost { consumer: String, topic: String, partition: i32, actual_offset: i64 },
    /// The event is too large for the broker. Nothing of the append is in the log.
    #[error("{event_type} has {bytes} bytes; the most is {max}")]
    EventTooLarge { event_type: &'static str, bytes: usize, max: usize },
    /// The queue is full. Try again later, and pass this on to the client.
    #[error("{queued} {what} are waiting; the most is {max}")]
    Overloaded { what: &'static str, queued: usize, max: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// Whether loading and deciding again may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::DependencyFailed | Self::StaleDecision)
    }
}

/// An error of the database, or of its content.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The pool gave no connection within its limits. Nothing was done.
    #[error("no connection to the database of {context}: {}", no_connection(cause))]
    NoConnection { context: ContextName, cause: Arc<PoolError> },
    /// The database refused or the connection broke. Of an append, nothing is in the log.
    #[error("the database of {context} failed to {doing}: {}", describe(cause))]
    Database { context: ContextName, doing: &'static str, cause: Arc<tokio_postgres::Error> },
    /// The log has an event that this build does not know: a newer build is needed.
    #[error("position {position} of {context} ({stream}) cannot be read: {cause}")]
    Unreadable { context: ContextName, position: Position, stream: StreamId, cause: Arc<CodecError> },
    /// The database did not answer for this long. Nothing was written.
    #[error("the database of {context} did not answer for {waited:?}: nothing was written")]
    Unavailable { context: ContextName, waited: Duration },
    /// The connection broke during the append and the database stayed unreachable: the append is in the log as a whole
    /// or not at all. Repeat the request with the same idempotency key.
    #[error(
        "the connection to {context} broke during the append and the database did not answer for {waited:?}: outcome unknown"
    )]
    OutcomeUnknown { context: ContextName, waited: Duration },
    /// The store is shutting down. Nothing was written.
    #[error("the event store of {context} is shutting down")]
    ShuttingDown { context: ContextName },
}

impl StoreError {
    /// Whether a later attempt may succeed without an operator: the connection broke, the server is stopping or
    /// starting, or a wait was too long.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { cause, .. } => cause.as_db_error().is_none_or(|error| {
                // Connection exception, transaction rollback, object not available (a lock), operator intervention.
                ["08", "40", "55", "57"].iter().any(|class| error.code().code().starts_with(class))
            }),
            Self::NoConnection { .. } | Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Unreadable { .. } | Self::ShuttingDown { .. } => false,
        }
    }
}

/// The server's message with its SQLSTATE and without the row that it may quote; or how the connection broke.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(error), _) => format!("{} (SQLSTATE {})", error.message(), error.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn no_connection(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => describe(error),
        other => other.to_string(),
    }
}
