//! The roles: their names, and the crate that runs each. Each option of a role is in the `--help` of its subcommand;
//! none is known to `up` alone.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::Context as _;
use axum::Router;
use clap::{Args, Command};
use runtime::http::{Limits, bind, serve};
use runtime::{Health, ops_router};
use sagas::payments::WebhookEndpoint;
use strum::{IntoStaticStr, VariantArray};
use tokio_util::sync::CancellationToken;

/// Values for a role's options, by the environment variables that name them.
pub type Settings = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Role {
    CommandSide,
    QuerySide,
    Sagas,
    Relay,
    PaymentProvider,
}

impl Role {
    /// In the order in which they stop: the HTTP servers first, and each role before those that it depends on.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of its subcommand.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The variable with the address that it listens on, such as `QUERY_SIDE_LISTEN`.
    pub fn listen_variable(self) -> String {
        format!("{}_LISTEN", self.name().replace('-', "_").to_uppercase())
    }

    /// Runs the role in this process until `shutdown` is cancelled. Options that are not in `settings` come from the
    /// environment, as they would in a separate process.
    ///
    /// # Errors
    /// When an option is missing or invalid, or the role fails.
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

/// The relay's own options and the address of its health endpoints.
#[derive(Args, Clone, Debug)]
pub struct RelayOptions {
    /// The address of /livez, /readyz and /metrics, as host:port
    #[arg(long = "listen", env = "RELAY_LISTEN", default_value = "127.0.0.1:8083")]
    listen: String,
    #[command(flatten)]
    role: relay::Config,
}

/// The sagas' own options and the address of their health endpoints and the payment webhooks.
#[derive(Args, Clone, Debug)]
pub struct SagasOptions {
    /// The address of /livez, /readyz, /metrics and /v1/webhooks/payments, as host:port
    #[arg(long = "listen", env = "SAGAS_LISTEN", default_value = "127.0.0.1:8084")]
    listen: String,
    #[command(flatten)]
    role: sagas::Config,
}

/// # Errors
/// When the address is in use, or the role cannot start.
pub async fn command_side(config: command_side::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = bind(&config.listen, "--listen").await?;
    Ok(command_side::run(config, listener, Health::new(), shutdown).await?)
}

/// # Errors
/// When the address is in use, or the role fails.
pub async fn relay(options: RelayOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    let role = relay::run(options.role, &events::Context::NAMES, health.clone(), shutdown);
    with_ops(&options.listen, Router::new(), health, role).await
}

/// # Errors
/// When the address is in use, or the role fails.
pub async fn sagas(options: SagasOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    let webhooks =
        WebhookEndpoint::open(&options.role).await?.map(WebhookEndpoint::router).unwrap_or_default();
    let role = sagas::run(options.role, health.clone(), shutdown);
    with_ops(&options.listen, webhooks, health, role).await
}

/// Serves `routes` and the health endpoints until the role has ended.
async fn with_ops<E>(
    listen: &str,
    routes: Router,
    health: Health,
    role: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    let listener = bind(listen, "--listen").await?;
    let ended = CancellationToken::new();
    let ops = serve(listener, routes.merge(ops_router(health)), Limits::default(), ended.clone());
    let role = async {
        let outcome = role.await;
        ended.cancel();
        outcome
    };
    let (outcome, ()) = tokio::join!(role, ops);
    Ok(outcome?)
}

/// Reads the options of the subcommand `name`, where `settings` come before the environment.
///
/// # Errors
/// When an option is missing or invalid; the message names it.
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
