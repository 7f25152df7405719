//! What becomes of a batch whose append did not happen, and who caused what.
//!
//! Never: an error that is logged and dropped. Read next: [`crate::reactor`].

use event_bus::{Checkpoint, HandlerError};
use event_store::{AppendError, EventStore, StoreError};
use events::{Envelope, Metadata, PositionToken};
use runtime::trace::TraceContext;

/// How often a unit is built anew because somebody else wrote to one of its streams; then the batch waits a while.
pub(crate) const CONFLICTS_MAX: u32 = 8;

pub(crate) fn of_store_error(error: &StoreError) -> HandlerError {
    HandlerError::Retry(error.to_string())
}

pub(crate) fn of_append_error(error: AppendError) -> HandlerError {
    match error {
        AppendError::CheckpointLost { topic, partition, .. } => {
            HandlerError::CheckpointLost { topic, partition }
        }
        AppendError::Conflict { .. }
        | AppendError::DependencyFailed
        | AppendError::StaleDecision
        | AppendError::Overloaded { .. }
        | AppendError::Store(_) => HandlerError::Retry(error.to_string()),
        // None of them comes of a batch of reactions: they claim no key, and their events are smaller than an order.
        AppendError::EventTooLarge { .. }
        | AppendError::AlreadyAnswered(_)
        | AppendError::KeyReused { .. } => HandlerError::Fatal(error.to_string()),
    }
}

/// Where the consumer stands, in the bus's words.
pub(crate) async fn checkpoints(store: &EventStore, consumer: &str) -> Result<Vec<Checkpoint>, HandlerError> {
    let stored = store.checkpoints(consumer).await.map_err(|error| of_store_error(&error))?;
    let told = stored.into_iter().map(|stored| Checkpoint {
        topic: stored.topic,
        partition: stored.partition,
        next_offset: stored.next_offset,
        last_position: stored.last_position,
        epoch: stored.epoch,
    });
    Ok(told.collect())
}

/// The metadata of what is decided because of `trigger`.
pub(crate) fn caused_by(trigger: &Envelope, actor: &str) -> Metadata {
    let parent = trigger.metadata.traceparent.as_ref().and_then(|given| given.parse::<TraceContext>().ok());
    let mut depends_on = trigger.metadata.depends_on.clone();
    depends_on.raise(PositionToken { context: trigger.context, position: trigger.position });
    Metadata {
        correlation_id: trigger.metadata.correlation_id,
        causation_id: Some(trigger.event_id),
        depends_on,
        actor: actor.to_owned(),
        traceparent: parent.map(|parent| parent.child().to_string()),
        idempotency_key: None,
    }
}
