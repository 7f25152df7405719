//! How a fact travels: from a context's log to its Kafka topic, in order, at least once.
//!
//! The log is the outbox. A relay holds the context's lease and a cursor; it publishes position cursor+1, cursor+2, …
//! and moves the cursor by compare-and-set when Kafka has acknowledged. There is no status column and nothing to clean
//! up, and the lag is `head - cursor`, exactly.
//!
//! What consumers may rely on: at least once; within a partition the first occurrences come in strictly increasing
//! position. Why it holds, also when two relays publish at once because one of them slept past its lease: each sends,
//! for every partition, a gapless series in order (see `event_bus::OrderedPublisher`), and starts it no later than the
//! first record that is missing. In any merge of such series, p+1 never comes before the first p. The lease
//! therefore only saves duplicates; and a zombie moves no cursor, since the cursor's compare-and-set carries the
//! lease's epoch.
//!
//! Never: a next event after one that was not delivered, NOTIFY in an append's transaction, an event decoded, a
//! decision.
//! Read next: `term.rs` (one lease's life), then `takeover.rs`, `pump.rs`.

mod backoff;
mod config;
mod context_relay;
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

/// Why relaying stopped, or could not begin. Someone must act.
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
        "{topic}/{partition} holds an event {event_id} at position {position} that the log of {context} does not have \
         (its head is {head}): the log was restored to an older state, or the topic is another's; run `tradewind reconcile`"
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
        "{context} is relayed up to position {cursor}, and {topic}/{partition}, which must hold that event, is empty: \
         the topic was made anew; run `tradewind reconcile`"
    )]
    TopicLost { context: ContextName, topic: String, partition: i32, cursor: Position },
    #[error(
        "{topic}/{partition} holds records of epoch {found}, and the log of {context} is of epoch {epoch}: the log was \
         restored to an older state; run `tradewind reconcile`"
    )]
    TopicOfAnotherEpoch { context: ContextName, topic: String, partition: i32, found: i64, epoch: i64 },
    #[error("a reconciliation of {context} began and did not end; run `tradewind reconcile` again")]
    Unreconciled { context: ContextName },
    #[error("the log of {context} has position {found} after {after}: it must have no gap")]
    GapInLog { context: ContextName, after: Position, found: Position },
}

impl Error {
    /// Whether log and topic have come apart, so that nothing but `tradewind reconcile` helps.
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

/// Relays the logs of `config.contexts` until `shutdown`; then waits for what is on its way, and gives the leases back.
///
/// # Errors
/// [`Error`] when one of them can't go on; then all of them have stopped.
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
    // Each ends by itself once `stop` is cancelled: none is dropped with records on their way.
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
