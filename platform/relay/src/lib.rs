//! How an event travels: from a context's log to its Kafka topic, in order, at least once.
//!
//! The log is the outbox. A relay holds the context's lease and a cursor. It publishes position cursor+1, cursor+2, …,
//! and moves the cursor by compare-and-set after Kafka has acknowledged. There is no status column and nothing to clean
//! up, and the lag is exactly `head - cursor`.
//!
//! Consumers may rely on at-least-once delivery, and on first occurrences in strictly increasing position within a
//! partition. Both hold even if two relays publish at once because one of them slept past its lease. Each relay sends,
//! for every partition, a gapless series in order (see `event_bus::OrderedPublisher`), and starts it no later than the
//! first missing record. In any merge of such series, p+1 never comes before the first p. The lease therefore only
//! avoids duplicates. A zombie moves no cursor, because the cursor's compare-and-set includes the lease's epoch.
//!
//! Never: the next event after one that was not delivered, NOTIFY in an append's transaction, a decoded event, a
//! decision. Read next: `term.rs` (the life of one lease), then `takeover.rs`, `pump.rs`.

mod backoff;
mod config;
mod context_relay;
mod cursor;
mod health;
mod lease;
mod pump;
mod takeover;
mod term;

use event_log::{ContextName, Position, UnknownContext};
use event_store::{EventStore, StoreError, StoreOptions};
use futures::future::join_all;
use runtime::postgres::PostgresError;
use runtime::{Health, UnknownContextUrl};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use pump::outgoing;

/// Connections to each context's database: one for the lease, one to read ahead, one for the cursor, one for health.
const CONNECTIONS_MAX: usize = 4;

/// The reason why relaying stopped or did not start. An operator must act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--context: {0}")]
    Contexts(#[from] UnknownContext),
    #[error(transparent)]
    Databases(#[from] UnknownContextUrl),
    #[error(transparent)]
    Database(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Bus(#[from] event_bus::PublishError),
    #[error(
        "{topic}/{partition} has event {event_id} at position {position}, which the log of {context} does not have \
         (its head is {head}): the log was restored to an older state, or the topic belongs to another log; run `tradewind reconcile`"
    )]
    TopicAheadOfLog {
        context: ContextName,
        topic: String,
        partition: i32,
        position: Position,
        event_id: uuid::Uuid,
        head: Position,
    },
    #[error(
        "{context} is relayed up to position {cursor}, but {topic}/{partition}, which must have that event, is empty: \
         the topic was recreated; run `tradewind reconcile`"
    )]
    TopicLost { context: ContextName, topic: String, partition: i32, cursor: Position },
    #[error(
        "{topic}/{partition} has records of epoch {found}, but the log of {context} has epoch {epoch}: the log was \
         restored to an older state; run `tradewind reconcile`"
    )]
    TopicOfAnotherEpoch { context: ContextName, topic: String, partition: i32, found: i64, epoch: i64 },
    #[error("a reconciliation of {context} has started and not finished; run `tradewind reconcile` again")]
    Unreconciled { context: ContextName },
    #[error("the log of {context} has position {found} after {after}: a log must have no gap")]
    GapInLog { context: ContextName, after: Position, found: Position },
}

impl Error {
    /// Whether log and topic disagree, so that only `tradewind reconcile` helps.
    fn wants_reconciliation(&self) -> bool {
        matches!(
            self,
            Self::TopicAheadOfLog { .. }
                | Self::TopicLost { .. }
                | Self::TopicOfAnotherEpoch { .. }
                | Self::Unreconciled { .. }
        )
    }
}

/// Relays the logs of `config.contexts` until `shutdown`. Then it waits for the records in flight and releases the
/// leases.
///
/// [`Error`] when one of them cannot continue; then all of them have stopped.
pub async fn run(
    config: Config,
    contexts: &'static [ContextName],
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let stop = shutdown.child_token();
    let relays = config.contexts_of(contexts)?.into_iter().map(|context| {
        let (config, health, stop) = (&config, &health, stop.clone());
        async move {
            let relayed = relay_context(config, context, health, &stop).await;
            if let Err(error) = &relayed {
                tracing::error!(%context, %error, "relaying stopped");
                stop.cancel();
            }
            relayed
        }
    });
    // Each ends by itself after `stop`, so none is dropped with records in flight.
    join_all(relays).await.into_iter().collect()
}

async fn relay_context(
    config: &Config,
    context: ContextName,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let pool = runtime::postgres::pool(&config.database_url(context), CONNECTIONS_MAX)?;
    let store = EventStore::new(context, pool, StoreOptions::default()).await?;
    let relayed = context_relay::run(config, &store, health, stop).await;
    store.shutdown().await;
    relayed
}
