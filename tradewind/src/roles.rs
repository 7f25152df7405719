//! The roles, as a table: their names, the variable that says where each listens, and the crate that runs each.
//!
//! Never: an option that only `up` can set; every one stands in a role's own `--help`.
//! Read next: `up/mod.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::Context as _;
use axum::Router;
use clap::{Args, Command};
use runtime::http::{Limits, bind, serve};
use runtime::{Health, ops_router};
use sagas::payments::WebhookDoor;
use tokio_util::sync::CancellationToken;

/// Values for a role's options, by the environment variables that name them.
pub type Settings = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    CommandSide,
    QuerySide,
    Sagas,
    Relay,
    PaymentProvider,
}

impl Role {
    /// In the order in which they stop: the doors first, and each before what it leans on.
    pub const ALL: [Self; 5] =
        [Self::CommandSide, Self::QuerySide, Self::Sagas, Self::Relay, Self::PaymentProvider];

    /// Also the name of its subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandSide => "command-side",
            Self::QuerySide => "query-side",
            Self::Sagas => "sagas",
            Self::Relay => "relay",
            Self::PaymentProvider => "payment-provider",
        }
    }

    /// The variable that holds the address it listens on.
    pub fn listen_variable(self) -> &'static str {
        match self {
            Self::CommandSide => "COMMAND_SIDE_LISTEN",
            Self::QuerySide => "QUERY_SIDE_LISTEN",
            Self::Sagas => "SAGAS_LISTEN",
            Self::Relay => "RELAY_LISTEN",
            Self::PaymentProvider => "PAYMENT_PROVIDER_LISTEN",
        }
    }

    /// Runs it in this process until `shutdown` is cancelled. Options that `settings` does not hold come from
    /// the environment, as they would in a process of its own.
    ///
    /// # Errors
    /// When an option is missing or wrong, or the role cannot go on.
    pub async fn run(self, settings: &Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::CommandSide => command_side(options_from(self.name(), settings)?, shutdown).await,
            Self::QuerySide => Ok(query_side::run(options_from(self.name(), settings)?, shutdown).await?),
            Self::Sagas => sagas(options_from(self.name(), settings)?, shutdown).await,
            Self::Relay => relay(options_from(self.name(), settings)?, shutdown).await,
            Self::PaymentProvider => {
                Ok(payment_provider::run(options_from(self.name(), settings)?, shutdown).await?)
            }
        }
    }
}

/// The relay has no door; this is where it says how it is.
#[derive(Args, Clone, Debug)]
pub struct RelayOptions {
    /// Where /livez, /readyz and /metrics are: host:port
    #[arg(long = "listen", env = "RELAY_LISTEN", default_value = "127.0.0.1:8083")]
    listen: String,
    #[command(flatten)]
    role: relay::Config,
}

/// Where the sagas say how they are, and take the payment provider's webhooks.
#[derive(Args, Clone, Debug)]
pub struct SagasOptions {
    /// Where /livez, /readyz, /metrics and /v1/webhooks/payments are: host:port
    #[arg(long = "listen", env = "SAGAS_LISTEN", default_value = "127.0.0.1:8084")]
    listen: String,
    #[command(flatten)]
    role: sagas::Config,
}

/// # Errors
/// When the address is taken, or the role cannot start.
pub async fn command_side(config: command_side::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = bind(&config.listen, "--listen").await?;
    Ok(command_side::run(config, listener, Health::new(), shutdown).await?)
}

/// # Errors
/// When the address is taken, or the role cannot go on.
pub async fn relay(options: RelayOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    let role = relay::run(options.role, health.clone(), shutdown);
    with_ops(&options.listen, Router::new(), health, role).await
}

/// # Errors
/// When the address is taken, or the role cannot go on.
pub async fn sagas(options: SagasOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    let door = WebhookDoor::open(&options.role).await?.map(WebhookDoor::router).unwrap_or_default();
    let role = sagas::run(options.role, health.clone(), shutdown);
    with_ops(&options.listen, door, health, role).await
}

/// Answers for a role as long as it runs, its draining included.
async fn with_ops<E>(
    listen: &str,
    door: Router,
    health: Health,
    role: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    let listener = bind(listen, "--listen").await?;
    let ended = CancellationToken::new();
    let ops = serve(listener, door.merge(ops_router(health)), Limits::default(), ended.clone());
    let role = async {
        let outcome = role.await;
        ended.cancel();
        outcome
    };
    let (outcome, ()) = tokio::join!(role, ops);
    Ok(outcome?)
}

/// Reads the options of the subcommand `name` as it would by itself, with `settings` before the environment.
///
/// # Errors
/// When an option is missing or wrong; the message names it.
pub fn options_from<C: Args>(name: &'static str, settings: &Settings) -> anyhow::Result<C> {
    let command = C::augment_args(Command::new(name).no_binary_name(true));
    let words: Vec<OsString> = command
        .get_arguments()
        .filter_map(|option| {
            let value = settings.get(option.get_env()?.to_str()?)?;
            Some(format!("--{}={value}", option.get_long()?).into())
        })
        .collect();
    let matches = command.try_get_matches_from(words).context(name)?;
    C::from_arg_matches(&matches).context(name)
}
