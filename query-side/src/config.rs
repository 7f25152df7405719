//! The options of `tradewind query-side`.

use std::net::SocketAddr;

use projections::BusConfig;
use runtime::{Secret, postgres};

use crate::READ_MODEL;

/// Every option of the role.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Where to listen.
    #[arg(
        long = "query-side-listen",
        env = "QUERY_SIDE_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8081"
    )]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub bus: BusConfig,

    /// The database; where --readmodel-database-url is absent, its user is replaced by tradewind_readmodel.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        required_unless_present = "readmodel_database_url"
    )]
    pub database_url: Option<Secret>,

    /// The database of the read models, as tradewind_readmodel.
    #[arg(long, env = "READMODEL_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub readmodel_database_url: Option<Secret>,

    /// Database connections that answer requests; the projections have two more of their own.
    #[arg(long, env = "QUERY_CONNECTIONS_MAX", default_value_t = 16, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub query_connections_max: usize,

    /// Requests that may wait at a time (?after=, ?wait=); one more is told 503.
    #[arg(long, env = "QUERY_WAITERS_MAX", default_value_t = 2048, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=100_000))]
    pub query_waiters_max: usize,

    /// A step of the system's that takes longer than this many seconds is shown as stuck.
    #[arg(long, env = "STUCK_AFTER_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub stuck_after_seconds: u64,

    /// Records that are applied in one transaction at most.
    #[arg(long, env = "PROJECTION_BATCH_MAX", default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub projection_batch_max: usize,
}

impl Config {
    /// The URL of the read models.
    pub(crate) fn read_model_url(&self) -> Secret {
        match (&self.readmodel_database_url, &self.database_url) {
            (Some(own), _) => own.clone(),
            (None, Some(base)) => postgres::owner_url(base, READ_MODEL),
            (None, None) => unreachable!("clap requires one of the two"),
        }
    }
}
