//! What a relay is told when it starts.
//!
//! Never: a password in a log. Read next: `term.rs`.

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

    /// The contexts to relay, all of them by default; several relays may share them out, or stand by for each other
    #[arg(long = "context", env = "RELAY_CONTEXTS", value_delimiter = ',')]
    pub contexts: Vec<ContextName>,

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
    pub(crate) fn database_url(&self, context: ContextName) -> Secret {
        self.databases.of(context.as_str())
    }

    /// The contexts to relay, out of `all`.
    ///
    /// # Errors
    /// [`Error::Contexts`], [`Error::Databases`]: one that is named does not exist.
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
