//! The relay's options.

use std::time::Duration;

use event_bus::BusConfig;
use event_log::{ContextName, UnknownContext};
use runtime::{ContextUrls, Secret};

use crate::Error;

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub databases: ContextUrls,

    #[command(flatten)]
    pub bus: BusConfig,

    /// The contexts to relay, by default all; several relays may divide them among themselves, or stand by for each
    /// other
    #[arg(long = "context", env = "RELAY_CONTEXTS", value_delimiter = ',')]
    pub contexts: Vec<ContextName>,

    /// After how much silence of this relay another one takes over, in milliseconds
    #[arg(long = "lease-ms", env = "RELAY_LEASE_MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(500..=60_000))]
    pub lease_ms: u64,

    /// The longest pause between two polls of a log without new events, in milliseconds
    #[arg(long = "poll-ms-max", env = "RELAY_POLL_MS_MAX", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub poll_ms_max: u64,

    /// The most events that are read from the log at once
    #[arg(long = "batch-max", env = "RELAY_BATCH_MAX", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_max: u32,
}

impl Config {
    pub(crate) fn database_url(&self, context: ContextName) -> Secret {
        self.databases.of(context.as_str())
    }

    /// The contexts to relay, out of `all`.
    ///
    /// [`Error::Contexts`], [`Error::Databases`]: a named context does not exist.
    pub(crate) fn contexts_of(&self, all: &'static [ContextName]) -> Result<Vec<ContextName>, Error> {
        self.databases.check(all.iter().map(ContextName::as_str))?;
        if self.contexts.is_empty() {
            return Ok(all.to_vec());
        }
        match self.contexts.iter().find(|context| !all.contains(context)) {
            None => Ok(self.contexts.clone()),
            Some(unknown) => {
                Err(UnknownContext::new(unknown.as_str(), all.iter().map(ContextName::as_str)).into())
            }
        }
    }

    pub(crate) fn lease_term(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn poll_max(&self) -> Duration {
        Duration::from_millis(self.poll_ms_max)
    }
}
