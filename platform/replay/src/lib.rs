//! Replay: rebuilds a projection from the logs beside the live table, compares the two at the same position, and swaps them.
//!
//! Reads the logs (not Kafka) and folds them as the live reader does, into a shadow table. Live reads and writes go on; the swap
//! itself is one short transaction. A rollback catches the previous table up with live, and swaps again.
//! Never: a record published, a command; a live table emptied; a checkpoint moved.
//! Read next: `rebuild.rs` and `rollback.rs` (the order of the steps), `applied_positions.rs` (what "the same position" is),
//! `shadow.rs` (the swap).

use std::collections::BTreeSet;
use std::sync::Arc;

use deadpool_postgres::Pool;
use event_log::{CodecError, ContextName, EventSet, Position, StreamId};
use projections::{ProjectionSet, Projector};
use runtime::ContextUrls;
use runtime::postgres::{self, PostgresError};
use tokio_util::sync::CancellationToken;

mod applied_positions;
mod catch_up;
mod compare;
mod log;
mod previous;
mod progress;
mod rebuild;
mod report;
mod rollback;
mod schemas;
mod shadow;

pub use compare::Difference;
use rebuild::rebuild;
pub use report::{Comparison, Rebuilt, ReplayReport, RolledBack};
use rollback::roll_back;
pub use schemas::Schemas;

use log::Logs;

/// Connections to the read models besides one for each context that is read in parallel: one that compares or swaps, and one that
/// makes indexes meanwhile.
const FURTHER_CONNECTIONS: usize = 2;

/// The options of `tradewind replay`, besides the projections.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Only compare: the live tables stay, whatever is found; exit code 1 when they differ.
    #[arg(long)]
    pub check: bool,

    /// Put the tables that the last replay replaced back in place, with the events that came since; the tables that are live now
    /// are kept in their place, so a rollback can be rolled back.
    #[arg(long, conflicts_with = "check")]
    pub rollback: bool,

    /// The logs; and the read models, as a role that may create tables there.
    #[command(flatten)]
    pub databases: ContextUrls,

    /// What goes before the names of topics and consumer groups, as the other roles are given it.
    #[arg(long, env = "TOPIC_PREFIX", value_name = "PREFIX", default_value = "")]
    pub topic_prefix: String,
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
    #[error("there is no projection {given:?}; allowed are {allowed}")]
    UnknownProjection { given: String, allowed: String },
    #[error(
        "{stream} at position {position} of {context} cannot be applied, and live has not parked it: {cause}"
    )]
    Unreadable { context: ContextName, position: Position, stream: StreamId, cause: CodecError },
    #[error(
        "the read models are fed by {topic}, which is no topic of ours after the prefix {prefix:?}; give --topic-prefix (or \
         TOPIC_PREFIX) as the query side is given it"
    )]
    OtherTopics { topic: String, prefix: String },
    #[error("another replay of {projection} is running")]
    Busy { projection: &'static str },
    #[error("the live table was in use and could not be swapped ({attempts} attempts); nothing was changed")]
    InUse { attempts: u32 },
    #[error("there is no previous table: no replay of {projection} has replaced one")]
    NoPreviousTable { projection: &'static str },
    #[error("stopped; the live tables are as they were")]
    Stopped,
}

/// What every step of a replay needs.
struct Replay<'a, E: EventSet> {
    set: &'a ProjectionSet<E>,
    schemas: Schemas,
    logs: Logs,
    /// To the read models.
    pool: Pool,
    topic_prefix: String,
    shutdown: CancellationToken,
}

/// Replays, or rolls back, the projections of the set with these names, or all where none is named, one after the other.
///
/// # Errors
/// [`Error`]; projections that were done before stay done.
pub async fn run<E: EventSet>(
    set: &ProjectionSet<E>,
    projections: &[String],
    options: Options,
    shutdown: CancellationToken,
) -> Result<Vec<ReplayReport>, Error> {
    let chosen = chosen(set, projections)?;
    let contexts: BTreeSet<ContextName> =
        chosen.iter().flat_map(|projector| projector.contexts()).copied().collect();
    let url = options.databases.base();
    let replay = Replay {
        set,
        schemas: Schemas::of(set.schema),
        logs: Logs::open(&contexts, |context| options.databases.of(context.as_str())).await?,
        pool: postgres::pool(url, contexts.len() + FURTHER_CONNECTIONS)?,
        topic_prefix: options.topic_prefix.clone(),
        shutdown,
    };
    let mut reports = Vec::new();
    for projector in chosen {
        let _lock = shadow::lock(url, projector.name()).await?;
        reports.push(match options.rollback {
            true => ReplayReport::RolledBack(roll_back(projector, &replay).await?),
            false => ReplayReport::Rebuilt(rebuild(projector, &replay, !options.check).await?),
        });
    }
    Ok(reports)
}

fn chosen<E: EventSet>(
    set: &ProjectionSet<E>,
    names: &[String],
) -> Result<Vec<Arc<dyn Projector<E>>>, Error> {
    if let Some(given) = names.iter().find(|name| set.named(name).is_none()) {
        let allowed: Vec<&str> = set.projectors.iter().map(|projector| projector.name()).collect();
        return Err(Error::UnknownProjection { given: given.clone(), allowed: allowed.join(", ") });
    }
    let is_chosen = |projector: &&Arc<dyn Projector<E>>| {
        names.is_empty() || names.iter().any(|name| name == projector.name())
    };
    Ok(set.projectors.iter().filter(is_chosen).cloned().collect())
}
