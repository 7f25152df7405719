//! The event store's errors and checkpoints in the terms of the event bus.

use event_bus::{Checkpoint, HandlerError};
use event_store::{AppendError, EventStore, StoreError};

use crate::CommitError;

pub(crate) fn of_store_error(error: &StoreError) -> HandlerError {
    HandlerError::Retry(error.to_string())
}

pub(crate) fn of_commit_error(error: CommitError) -> HandlerError {
    match error {
        CommitError::Append(error) => of_append_error(error),
        // A refusal of a record's own reaction was parked already.
        CommitError::Refused(reason) => HandlerError::Retry(reason),
    }
}

fn of_append_error(error: AppendError) -> HandlerError {
    match error {
        AppendError::CheckpointLost { topic, partition, .. } => {
            HandlerError::CheckpointLost { topic, partition }
        }
        AppendError::Conflict { .. }
        | AppendError::DependencyFailed
        | AppendError::StaleDecision
        | AppendError::Overloaded { .. }
        | AppendError::Store(_) => HandlerError::Retry(error.to_string()),
        // A batch of reactions claims no idempotency key. An event that does not fit the broker is a fault of the build.
        AppendError::EventTooLarge { .. }
        | AppendError::AlreadyAnswered(_)
        | AppendError::KeyReused { .. } => HandlerError::Fatal(error.to_string()),
    }
}

/// The consumer's checkpoints.
pub(crate) async fn checkpoints(store: &EventStore, consumer: &str) -> Result<Vec<Checkpoint>, HandlerError> {
    let stored = store.checkpoints(consumer).await.map_err(|error| of_store_error(&error))?;
    let checkpoints = stored.into_iter().map(|stored| Checkpoint {
        topic: stored.topic,
        partition: stored.partition,
        next_offset: stored.next_offset,
        last_position: stored.last_position,
        epoch: stored.epoch,
    });
    Ok(checkpoints.collect())
}
