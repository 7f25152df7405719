//! The payment provider that ships with Tradewind: a fake acquirer with its own process and ledger, which declines, delays
//! and times out as configured.
//!
//! Never: a type, a table or an event of Tradewind. The two know each other only through HTTP, as with a real provider.
//! Read next: `routes.rs` (the API), `ledger.rs` (the steps of a payment), `behaviour.rs` (what can be configured).

mod acquirer;
mod behaviour;
mod behaviour_store;
mod error_responses;
mod ledger;
mod migrate;
mod openapi;
mod payment;
mod routes;
mod value;
mod webhooks;

use std::time::Duration;

use deadpool_postgres::Pool;
use runtime::http::{BindError, Limits};
use runtime::postgres::{PostgresError, owner_url, pool};
use runtime::webhook_signature::{InvalidWebhookSecret, WebhookKeys};
use runtime::{Check, Health, Secret};
use tokio_util::sync::CancellationToken;

pub use behaviour::{Behaviour, Fault, Outcome};
pub use migrate::{MigrateError, migrate};
pub use value::{Bounded, DeclineCode};
pub use webhooks::Webhooks;

use acquirer::Acquirer;
use behaviour_store::BehaviourStore;
use ledger::Ledger;
use webhooks::{WebhookOutbox, WebhookSender};

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Address to listen on
    #[arg(long = "listen", env = "PAYMENT_PROVIDER_LISTEN", default_value = "127.0.0.1:8082")]
    pub listen: String,

    /// Database URL; the provider connects as the role tradewind_provider
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        required_unless_present = "provider_database_url"
    )]
    pub database_url: Option<Secret>,

    /// Database URL of the provider, if it has its own database or role
    #[arg(long, env = "PROVIDER_DATABASE_URL", hide_env_values = true)]
    pub provider_database_url: Option<Secret>,

    /// Maximum number of database connections
    #[arg(long, env = "PAYMENT_PROVIDER_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections_max: usize,

    /// How long a call with a simulated time-out is held before its connection is closed, in milliseconds
    #[arg(long, env = "PAYMENT_PROVIDER_TIME_OUT_MS", default_value_t = Bounded::new(30_000))]
    pub time_out_ms: TimeOutMs,

    /// The default until `PUT /v1/behaviour` replaces it
    #[command(flatten)]
    pub behaviour: Behaviour,

    #[command(flatten)]
    pub webhooks: Webhooks,
}

pub type TimeOutMs = Bounded<600_000>;

/// High, because calls with a simulated delay count as in flight.
const REQUESTS_IN_FLIGHT_MAX: usize = 4096;
/// How long a call may take beyond its configured delays.
const WORK_MAX: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no database: give --database-url or --provider-database-url")]
    NoDatabase,
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot create the HTTP client for webhooks: {0}")]
    HttpClient(#[from] reqwest::Error),
    #[error(transparent)]
    WebhookSecret(#[from] InvalidWebhookSecret),
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the configuration is invalid or the address is in use. An unavailable database is waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let url = match (&config.provider_database_url, &config.database_url) {
        (Some(url), _) => url.clone(),
        (None, Some(base)) => owner_url(base, migrate::OWNER),
        (None, None) => return Err(Error::NoDatabase),
    };
    let pool = pool(&url, config.database_connections_max)?;
    let listener = runtime::http::bind(&config.listen, "--listen").await?;
    tracing::info!(?config, "payment provider starts");

    let health = Health::new();
    let database = health.check("payment provider: database");
    let sender = match (config.webhooks.url, config.webhooks.secret) {
        (Some(url), Some(secret)) => {
            Some(WebhookSender::new(pool.clone(), url, WebhookKeys::parse(&secret)?)?)
        }
        _ => None,
    };
    let outbox = sender.is_some().then(|| WebhookOutbox::new(config.behaviour.clone()));
    let acquirer = Acquirer {
        ledger: Ledger::new(pool.clone(), outbox),
        behaviours: BehaviourStore::new(pool.clone(), config.behaviour),
        time_out: Duration::from_millis(config.time_out_ms.get().into()),
        shutdown: shutdown.clone(),
    };
    let limits = Limits {
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        request_max: acquirer.longest_delay() + WORK_MAX,
        ..Limits::default()
    };
    let router = routes::router(acquirer, health);
    let send_webhooks = async {
        if let Some(sender) = sender {
            sender.run(shutdown.clone()).await;
        }
    };
    tokio::join!(
        runtime::http::serve(listener, router, limits, shutdown.clone()),
        monitor_database(pool, database, shutdown.clone()),
        send_webhooks
    );
    Ok(())
}

/// Reports whether the database answers.
async fn monitor_database(pool: Pool, check: Check, shutdown: CancellationToken) {
    loop {
        match query_database(&pool).await {
            Ok(()) => check.ok(),
            Err(why) => check.failing(why),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PING_EVERY) => {}
        }
    }
}

async fn query_database(pool: &Pool) -> Result<(), String> {
    let client = pool.get().await.map_err(|error| error.to_string())?;
    // A table, not just the server: without its migrations the database is of no use.
    client
        .query_one("SELECT count(*) FROM behaviours", &[])
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::{Config, DeclineCode};

    fn parsed(words: &[&str]) -> Result<Config, clap::Error> {
        let command = Config::augment_args(Command::new("payment-provider").no_binary_name(true));
        command.clone().debug_assert();
        Config::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    const DATABASE: &str = "--provider-database-url=postgres://u:hunter2@db/shop";

    #[test]
    fn every_behaviour_is_a_flag() {
        let words = [DATABASE, "--outcome=decline", "--decline-code=no", "--capture-at-once", "--delay-ms=7"];
        let config = parsed(&words).expect("good flags");
        assert_eq!(config.behaviour.decline_code.as_str(), "no");
        assert!(config.behaviour.capture_at_once);
        assert_eq!(config.behaviour.delay_ms.get(), 7);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }

    #[test]
    fn a_flag_out_of_range_is_refused_with_what_is_allowed() {
        let refused = parsed(&[DATABASE, "--decline-rate-percent=101"]).expect_err("more than 100");
        assert!(refused.to_string().contains("0 to 100"), "{refused}");
        assert!("No!".parse::<DeclineCode>().is_err());
    }
}
