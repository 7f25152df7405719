//! What a relay is told when it starts.
//!
//! Never: a password in a log. Read next: `term.rs`.

use std::time::Duration;

use event_bus::BusConfig;
use events::Context;
use runtime::Secret;
use runtime::postgres::owner_url;

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The database; each context is read as its own role in it, tradewind_<context>
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,

    /// The database of the orders, where it is another one
    #[arg(long, env = "ORDERS_DATABASE_URL", hide_env_values = true)]
    pub orders_database_url: Option<Secret>,

    /// The database of the inventory, where it is another one
    #[arg(long, env = "INVENTORY_DATABASE_URL", hide_env_values = true)]
    pub inventory_database_url: Option<Secret>,

    /// The database of the payments, where it is another one
    #[arg(long, env = "PAYMENTS_DATABASE_URL", hide_env_values = true)]
    pub payments_database_url: Option<Secret>,

    /// The database of shipping, where it is another one
    #[arg(long, env = "SHIPPING_DATABASE_URL", hide_env_values = true)]
    pub shipping_database_url: Option<Secret>,

    #[command(flatten)]
    pub bus: BusConfig,

    /// The contexts to relay; several relays may share them out, or stand by for each other
    #[arg(
        long = "context",
        env = "RELAY_CONTEXTS",
        value_delimiter = ',',
        default_values_t = Context::ALL
    )]
    pub contexts: Vec<Context>,

    /// How long another relay waits after this one has fallen silent, in milliseconds
    #[arg(long = "lease-ms", env = "RELAY_LEASE_MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(500..=60_000))]
    pub lease_ms: u64,

    /// The longest pause between two looks at a log that has nothing new, in milliseconds
    #[arg(long = "poll-ms-max", env = "RELAY_POLL_MS_MAX", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub poll_ms_max: u64,

    /// Events read from the log at a time, at most
    #[arg(long = "batch-max", env = "RELAY_BATCH_MAX", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_max: u32,
}

impl Config {
    pub(crate) fn database_url(&self, context: Context) -> Secret {
        let own = match context {
            Context::Orders => &self.orders_database_url,
            Context::Inventory => &self.inventory_database_url,
            Context::Payments => &self.payments_database_url,
            Context::Shipping => &self.shipping_database_url,
        };
        own.clone().unwrap_or_else(|| owner_url(&self.database_url, context.name()))
    }

    pub(crate) fn lease_term(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn poll_max(&self) -> Duration {
        Duration::from_millis(self.poll_ms_max)
    }
}
