//! Responses to errors other than the aggregate's refusals: preconditions, idempotency keys, and the store. The cause
//! goes to the log and not to the client, and a response never says "failed" if the command may have been executed.

use std::time::Duration;

use axum::http::StatusCode;
use event_store::{AppendError, StoreError};
use events::{StreamId, Version};
use runtime::Problem;

/// Retry after this long when the server is busy.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);
/// Retry after this long when the database is unreachable.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// The response to an `If-Match` with another version.
pub fn version_mismatch(stream: &StreamId, current: Version) -> Problem {
    let title = "Version mismatch";
    Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", title)
        .detail(format!("{stream} is at version {current}"))
        .with("current_version", current)
        .field("If-Match", "is another version", format!("\"{current}\", or no such header"))
}

pub fn key_reused(key: &str) -> Problem {
    let title = "Idempotency key reused";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", title)
        .detail(format!("{key:?} was used for a request with another path or body"))
        .field("Idempotency-Key", "was used for another request", "a new key, or the same request")
}

pub fn of_append(error: &AppendError) -> Problem {
    match error {
        AppendError::Conflict { stream, .. } => {
            Problem::unavailable("contention", "Write conflict; retry", RETRY_AFTER_BUSY)
                .detail(format!("{stream} kept changing; nothing was written"))
        }
        AppendError::DependencyFailed | AppendError::StaleDecision => {
            Problem::unavailable("contention", "Write conflict; retry", RETRY_AFTER_BUSY)
                .detail("the appends it depends on kept failing; nothing was written")
        }
        AppendError::KeyReused { key } => key_reused(key),
        AppendError::EventTooLarge { bytes, max, .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", "Event too large")
                .detail(format!("it would take {bytes} bytes; allowed: {max}"))
                .with("allowed_bytes", max)
        }
        AppendError::Overloaded { .. } => {
            Problem::overloaded(RETRY_AFTER_BUSY).detail("too many commands are waiting; nothing was written")
        }
        AppendError::Store(error) => of_store(error),
        AppendError::AlreadyAnswered(_) | AppendError::CheckpointLost { .. } => {
            tracing::error!(%error, "an append had an outcome that a command cannot have");
            Problem::internal()
        }
    }
}

pub fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::OutcomeUnknown { .. } => {
            tracing::warn!(%error, "the outcome of a command is unknown");
            Problem::unavailable("outcome_unknown", "Outcome unknown", RETRY_AFTER_OUTAGE).detail(
                "repeat it with the same Idempotency-Key to get its outcome; without a key, check first",
            )
        }
        StoreError::Database { .. } if !error.is_transient() => {
            tracing::error!(%error, "the event store refused the command");
            store_unavailable()
        }
        StoreError::Database { .. } | StoreError::NoConnection { .. } | StoreError::Unavailable { .. } => {
            tracing::warn!(%error, "the event store is unreachable");
            store_unavailable()
        }
        StoreError::ShuttingDown { .. } => {
            Problem::unavailable("shutting_down", "Service shutting down", RETRY_AFTER_BUSY)
                .detail("nothing was written")
        }
        StoreError::Unreadable { .. } => {
            tracing::error!(%error, "the log has an event that this build cannot read");
            Problem::internal()
        }
    }
}

fn store_unavailable() -> Problem {
    Problem::unavailable("store_unavailable", "Event store unavailable", RETRY_AFTER_OUTAGE)
        .detail("nothing was written")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use event_store::{AppendError, StoreError};
    use events::{Context, StreamId};

    use super::of_append;

    fn status_and_code(error: AppendError) -> (u16, String) {
        let problem = of_append(&error);
        (problem.status().as_u16(), problem.code().to_owned())
    }

    #[test]
    fn each_failure_has_its_own_code() {
        let (context, waited) = (Context::Orders, Duration::from_secs(15));
        let stream = StreamId::from("order-1".to_owned());
        let cases = [
            (AppendError::Conflict { stream, expected: 1, actual: 2 }, 503, "contention"),
            (AppendError::DependencyFailed, 503, "contention"),
            (AppendError::StaleDecision, 503, "contention"),
            (AppendError::KeyReused { key: "k".to_owned() }, 422, "idempotency_key_reused"),
            (
                AppendError::EventTooLarge { event_type: "OrderPlaced", bytes: 2, max: 1 },
                413,
                "event_too_large",
            ),
            (AppendError::Overloaded { what: "appends", queued: 1, max: 1 }, 503, "overloaded"),
            (StoreError::Unavailable { context: context.into(), waited }.into(), 503, "store_unavailable"),
            (StoreError::ShuttingDown { context: context.into() }.into(), 503, "shutting_down"),
        ];
        for (error, status, code) in cases {
            assert_eq!(status_and_code(error), (status, code.to_owned()));
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_called_failed() {
        let unknown =
            StoreError::OutcomeUnknown { context: Context::Orders.into(), waited: Duration::from_secs(15) };
        assert_eq!(status_and_code(unknown.into()), (503, "outcome_unknown".to_owned()));
    }
}
