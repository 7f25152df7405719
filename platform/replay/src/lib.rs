//! Replay: rebuilds a projection from the logs beside the live one, compares the two at the same position, and swaps.
//!
//! Reads the logs (not Kafka) and folds them by the same `apply` as the live consumer, into a shadow table. Live reads
//! and writes go on; the swap itself is one short transaction. A rollback brings the table that was replaced to where live
//! stands, and swaps again. Never: `event-bus` or `sagas`, so that a rebuild cannot speak; a live table emptied; a checkpoint
//! moved. Read next: `rebuild.rs` and `rollback.rs` (the order of things), `reach.rs` (what "the same position" is),
//! `shadow.rs` (the swap).

use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use events::{Context, Position, StreamId};
use query_side::engine::Projector;
use query_side::projections;
use runtime::Secret;
use runtime::postgres::{self, PostgresError};
use tokio_util::sync::CancellationToken;

mod catch_up;
mod compare;
mod kept;
mod log;
mod progress;
mod reach;
mod rebuild;
mod report;
mod rollback;
mod shadow;

pub use compare::Difference;
use rebuild::rebuild;
pub use report::{Comparison, Rebuilt, ReplayReport, RolledBack};
use rollback::roll_back;

use log::Logs;

/// Connections to the read models: one per context that is read in parallel, and one that compares and swaps.
const CONNECTIONS_MAX: usize = 6;

/// The options of `tradewind replay`.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// The projections to rebuild.
    #[arg(value_parser = names(), required_unless_present = "all")]
    pub projections: Vec<String>,

    /// Rebuild every projection.
    #[arg(long, conflicts_with = "projections")]
    pub all: bool,

    /// Only compare: the live tables stay, whatever is found; exit code 1 when they differ.
    #[arg(long)]
    pub check: bool,

    /// Put the tables that the last replay replaced back in place, with the events that came since; those that are live now
    /// are kept in their place, so this can be undone by itself.
    #[arg(long, conflicts_with = "check")]
    pub rollback: bool,

    /// The database of the read models, as a role that may create tables there.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Secret,

    #[command(flatten)]
    pub logs: LogUrls,
}

/// Where the logs are; each by default in the same database, as its owner's role.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LogUrls {
    /// The log of the orders.
    #[arg(long, env = "ORDERS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub orders_database_url: Option<Secret>,
    /// The log of the inventory.
    #[arg(long, env = "INVENTORY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub inventory_database_url: Option<Secret>,
    /// The log of the payments.
    #[arg(long, env = "PAYMENTS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub payments_database_url: Option<Secret>,
    /// The log of the shipments.
    #[arg(long, env = "SHIPPING_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub shipping_database_url: Option<Secret>,
}

impl LogUrls {
    fn of(&self, context: Context, base: &Secret) -> Secret {
        let own = match context {
            Context::Orders => &self.orders_database_url,
            Context::Inventory => &self.inventory_database_url,
            Context::Payments => &self.payments_database_url,
            Context::Shipping => &self.shipping_database_url,
        };
        own.clone().unwrap_or_else(|| postgres::owner_url(base, context.name()))
    }
}

fn names() -> PossibleValuesParser {
    projections::all().iter().map(|projector| projector.name()).collect::<Vec<_>>().into()
}

/// Why a replay ended without having done its work. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("no connection to the read models: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("the read models fail: {0}")]
    ReadModels(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Log(#[from] event_store::StoreError),
    #[error(
        "{stream} at position {position} of {context} cannot be applied, and live has not parked it: {cause}"
    )]
    Unreadable { context: Context, position: Position, stream: StreamId, cause: events::CodecError },
    #[error("another replay of {projection} is running")]
    Busy { projection: &'static str },
    #[error(
        "the live table was in use for so long that it could not be swapped ({attempts} attempts); nothing was changed"
    )]
    InUse { attempts: u32 },
    #[error("there is nothing to go back to: no replay of {projection} has replaced a table")]
    NothingKept { projection: &'static str },
    #[error("stopped; the live tables are as they were")]
    Stopped,
}

/// Replays, or rolls back, what the options name, one projection after the other.
///
/// # Errors
/// [`Error`]; projections that were done before stay done.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<Vec<ReplayReport>, Error> {
    let pool = postgres::pool(&options.database_url, CONNECTIONS_MAX)?;
    let chosen: Vec<Arc<dyn Projector>> = projections::all()
        .into_iter()
        .filter(|projector| options.all || options.projections.iter().any(|name| name == projector.name()))
        .collect();
    let logs = Logs::open(|context| options.logs.of(context, &options.database_url)).await?;
    let mut reports = Vec::new();
    for projector in chosen {
        let _lock = shadow::lock(&options.database_url, projector.name()).await?;
        reports.push(match options.rollback {
            true => ReplayReport::RolledBack(roll_back(projector, &logs, &pool, &shutdown).await?),
            false => {
                ReplayReport::Rebuilt(rebuild(projector, &logs, &pool, !options.check, &shutdown).await?)
            }
        });
    }
    Ok(reports)
}
