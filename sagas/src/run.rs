//! Starts what runs here: one reactor for each context that takes part in a process; with the payments the gateway and
//! the deadline worker. One Kafka reader serves all of them.

use std::sync::Arc;

use event_store::{EventStore, StoreError, StoreOptions};
use events::Context;
use reactors::{Reactors, ReactorsError};
use runtime::postgres::{self, PostgresError};
use runtime::webhook_signature::InvalidWebhookSecret;
use runtime::{Health, UnknownContextUrl};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::execute_reaction::reactor_of;
use crate::payments::{self, HttpProvider, InvalidProviderUrl, PaymentProvider};
use crate::process_check::TableError;
use crate::processes::{check_all, sources_of};

/// Why the sagas stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    #[error("a process table breaks a rule: {0}")]
    Table(#[from] TableError),
    #[error(transparent)]
    ContextUrl(#[from] UnknownContextUrl),
    #[error(transparent)]
    Provider(#[from] InvalidProviderUrl),
    #[error(transparent)]
    WebhookSecret(#[from] InvalidWebhookSecret),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Reactors(#[from] ReactorsError),
}

/// Runs until `shutdown`, with the payment provider that the configuration names.
///
/// # Errors
/// [`SagaError`]: someone must act. What runs is stopped first.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), SagaError> {
    let provider = HttpProvider::new(&config.payment_provider_url, config.payment_provider_timeout())?;
    run_with(config, Arc::new(provider), health, shutdown).await
}

/// The same with another provider behind the port.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    provider: Arc<dyn PaymentProvider>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), SagaError> {
    check_all()?;
    config.databases.check(Context::ALL.map(Context::name))?;
    tracing::info!(?config, "sagas start");
    let mut reactors = Reactors::new(config.bus.clone(), health.clone(), shutdown);
    for context in config.contexts() {
        let sources = sources_of(context);
        if sources.is_empty() && context != Context::Payments {
            continue;
        }
        let store = open_store(&config, context).await?;
        reactors.add_reactor(reactor_of(context, store.clone(), config.payment_deadline()), sources);
        if context == Context::Payments {
            let calls_max = config.payment_provider_calls_max;
            payments::add_to(&mut reactors, &store, Arc::clone(&provider), calls_max, &health);
        }
    }
    Ok(reactors.run(&config.reader_group()).await?)
}

async fn open_store(config: &Config, context: Context) -> Result<EventStore, SagaError> {
    let url = config.databases.of(context.name());
    let pool = postgres::pool(&url, config.database_connections_max)?;
    Ok(EventStore::new(context, pool, StoreOptions::default()).await?)
}
