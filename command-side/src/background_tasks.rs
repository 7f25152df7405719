//! Background tasks: they probe readiness and prune old idempotency keys. The readiness probe uses the same appender as
//! the commands.

use std::time::Duration;

use event_store::{Append, EventStore};
use runtime::Check;
use tokio_util::sync::CancellationToken;

const PROBE_EVERY: Duration = Duration::from_secs(1);
/// An append that takes longer is noticeable for clients.
const PROBE_MAX: Duration = Duration::from_secs(3);

/// For this long a repeated request gets its first response.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
const FORGET_AT_ONCE_MAX: usize = 1_000;

/// Repeatedly sends an empty append through the appender: it returns when Postgres answers and the queue before it was
/// processed.
pub async fn probe(store: EventStore, check: Check, shutdown: CancellationToken) {
    loop {
        match tokio::time::timeout(PROBE_MAX, store.append(Append::default())).await {
            Ok(Ok(_)) => check.ok(),
            Ok(Err(error)) => check.failing(error.to_string()),
            Err(_) => check.failing(format!("an append waited longer than {} s", PROBE_MAX.as_secs())),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
    }
}

/// Prunes, in small steps, the responses that no client repeats any more.
pub async fn prune_idempotency_keys(store: EventStore, shutdown: CancellationToken) {
    loop {
        let forgotten = store.prune_answers(ANSWERS_KEPT, FORGET_AT_ONCE_MAX).await;
        let more = match forgotten {
            Ok(count) => count >= FORGET_AT_ONCE_MAX as u64,
            Err(error) => {
                tracing::warn!(context = %store.context(), %error, "old idempotency keys not pruned");
                false
            }
        };
        let pause = if more { Duration::ZERO } else { FORGET_EVERY };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
