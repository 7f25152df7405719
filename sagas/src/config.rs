//! The options of the sagas.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use clap::builder::RangedU64ValueParser;
use event_bus::BusConfig;
use events::Context;
use reactors::reader_group;
use runtime::{ContextUrls, Secret};

/// The consumer group of sagas that run all contexts. Sagas that run some are in `sagas.<context>+<context>`.
pub const READERS: &str = "sagas";

/// Every option of the role.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub bus: BusConfig,

    #[command(flatten)]
    pub databases: ContextUrls,

    /// Connections to each context's database, at most
    #[arg(long, env = "SAGAS_DATABASE_CONNECTIONS", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000))]
    pub database_connections_max: usize,

    /// The contexts whose reactions run in this process; by default all of them. Processes with the same contexts share the
    /// work. When the contexts of two processes overlap without being the same, both read the events of the contexts in
    /// common, and each event still has one effect.
    #[arg(long = "context", env = "SAGAS_CONTEXTS", value_name = "CONTEXT", value_delimiter = ',')]
    pub contexts: Vec<Context>,

    /// The URL of the payment provider
    #[arg(long, env = "PAYMENT_PROVIDER_URL", value_name = "URL", default_value = "http://127.0.0.1:8082")]
    pub payment_provider_url: String,

    /// The time-out of a call to the payment provider
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub payment_provider_timeout_ms: u64,

    /// Calls to the payment provider at a time, at most
    #[arg(long, env = "PAYMENT_PROVIDER_CALLS_MAX", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub payment_provider_calls_max: usize,

    /// Secret of the payment provider's webhooks: whsec_<base64>, two of them separated by a space during a rotation, or any
    /// other text, whose bytes are then the key. Without it no webhooks are accepted.
    #[arg(long, env = "PAYMENT_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub payment_webhook_secret: Option<Secret>,

    /// Largest difference between a webhook's timestamp and our clock.
    #[arg(long, env = "PAYMENT_WEBHOOK_TOLERANCE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub payment_webhook_tolerance_seconds: u64,

    /// A payment that has no outcome after this time expires: the stock is released and the order rejected
    #[arg(long, env = "PAYMENT_DEADLINE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub payment_deadline_seconds: u32,
}

impl Config {
    pub(crate) fn contexts(&self) -> BTreeSet<Context> {
        let all = if self.contexts.is_empty() { &Context::ALL[..] } else { &self.contexts };
        all.iter().copied().collect()
    }

    /// Processes that run the same contexts share a consumer group.
    pub(crate) fn reader_group(&self) -> String {
        reader_group(READERS, self.contexts().into_iter().map(Into::into), Context::ALL.len())
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
    fn processes_that_run_the_same_contexts_are_in_the_same_group() {
        assert_eq!(group(""), "sagas");
        assert_eq!(group("shipping,orders,payments,inventory"), "sagas");
        assert_eq!(group("shipping,orders"), "sagas.orders+shipping");
        assert_eq!(group("orders,shipping,orders"), "sagas.orders+shipping");
        assert_eq!(group("payments"), "sagas.payments");
    }
}
