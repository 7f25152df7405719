//! What the sagas are started with.
//!
//! Never: a password printed, or an option that is read anywhere else. Read next: [`crate::run`].

use std::time::Duration;

use chrono::TimeDelta;
use clap::builder::RangedU64ValueParser;
use event_bus::BusConfig;
use events::Context;
use runtime::{Secret, postgres};

/// The consumer group of sagas that run all contexts; with a point and the contexts behind it, of those that run some.
pub const READERS: &str = "sagas";

/// Every option of the role.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub bus: BusConfig,

    /// The database; each context is used as its own role in it, tradewind_<context>.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Secret,

    /// The database of the orders, where it is another one.
    #[arg(long, env = "ORDERS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub orders_database_url: Option<Secret>,

    /// The database of the inventory, where it is another one.
    #[arg(long, env = "INVENTORY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub inventory_database_url: Option<Secret>,

    /// The database of the payments, where it is another one.
    #[arg(long, env = "PAYMENTS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub payments_database_url: Option<Secret>,

    /// The database of shipping, where it is another one.
    #[arg(long, env = "SHIPPING_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub shipping_database_url: Option<Secret>,

    /// Connections to each context's database, at most.
    #[arg(long, env = "SAGAS_DATABASE_CONNECTIONS", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000))]
    pub database_connections_max: usize,

    /// The contexts whose reactions run in this process; all of them when none is named. Processes with the same contexts
    /// share the work. Where contexts overlap without being the same, what is in both is done once, and read and tried twice.
    #[arg(long = "context", env = "SAGAS_CONTEXTS", value_name = "CONTEXT", value_delimiter = ',')]
    pub contexts: Vec<Context>,

    /// Where the payment provider listens.
    #[arg(long, env = "PAYMENT_PROVIDER_URL", value_name = "URL", default_value = "http://127.0.0.1:8082")]
    pub payment_provider_url: String,

    /// A call to the payment provider that takes longer counts as not answered.
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub payment_provider_timeout_ms: u64,

    /// Calls to the payment provider at a time, at most.
    #[arg(long, env = "PAYMENT_PROVIDER_CALLS_MAX", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub payment_provider_calls_max: usize,

    /// Secret of the payment provider's webhooks: whsec_<base64>, two of them separated by a space during a rotation, or any
    /// other text, whose bytes are then the key. Without it no webhooks are accepted.
    #[arg(long, env = "PAYMENT_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub payment_webhook_secret: Option<Secret>,

    /// Largest difference between a webhook's timestamp and our clock.
    #[arg(long, env = "PAYMENT_WEBHOOK_TOLERANCE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub payment_webhook_tolerance_seconds: u64,

    /// A payment without an outcome for this long is given up: the stock is released and the order rejected.
    #[arg(long, env = "PAYMENT_DEADLINE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub payment_deadline_seconds: u32,
}

impl Config {
    pub(crate) fn database_url_of(&self, context: Context) -> Secret {
        let own = match context {
            Context::Orders => &self.orders_database_url,
            Context::Inventory => &self.inventory_database_url,
            Context::Payments => &self.payments_database_url,
            Context::Shipping => &self.shipping_database_url,
        };
        own.clone().unwrap_or_else(|| postgres::owner_url(&self.database_url, context.name()))
    }

    pub(crate) fn contexts(&self) -> &[Context] {
        if self.contexts.is_empty() { &Context::ALL } else { &self.contexts }
    }

    /// Members of a consumer group must have the same handlers: who runs the same contexts has the same group.
    pub(crate) fn reader_group(&self) -> String {
        let mut names: Vec<&str> = self.contexts().iter().map(|context| context.name()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() == Context::ALL.len() {
            READERS.to_owned()
        } else {
            format!("{READERS}.{}", names.join("+"))
        }
    }

    pub(crate) fn payment_provider_timeout(&self) -> Duration {
        Duration::from_millis(self.payment_provider_timeout_ms)
    }

    pub(crate) fn payment_webhook_tolerance(&self) -> Duration {
        Duration::from_secs(self.payment_webhook_tolerance_seconds)
    }

    pub(crate) fn payment_deadline(&self) -> TimeDelta {
        TimeDelta::seconds(self.payment_deadline_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn group(contexts: &str) -> String {
        let command = Config::augment_args(Command::new("sagas").no_binary_name(true));
        let mut words =
            vec!["--database-url", "postgres://nobody@127.0.0.1:1/none", "--kafka-brokers", "none:9092"];
        if !contexts.is_empty() {
            words.extend(["--context", contexts]);
        }
        let matches = command.try_get_matches_from(words).expect("good options");
        Config::from_arg_matches(&matches).expect("good options").reader_group()
    }

    #[test]
    fn who_runs_the_same_contexts_is_in_the_same_group() {
        assert_eq!(group(""), "sagas");
        assert_eq!(group("shipping,orders,payments,inventory"), "sagas");
        assert_eq!(group("shipping,orders"), "sagas.orders+shipping");
        assert_eq!(group("orders,shipping,orders"), "sagas.orders+shipping");
        assert_eq!(group("payments"), "sagas.payments");
    }
}
