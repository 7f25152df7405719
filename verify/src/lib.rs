//! Verify: proves that the logs, the topics, the checkpoints, the read models, the stock and the money agree, on a
//! running system or a stopped one, and names the first record that does not.
//!
//! `check/` lists what is verified, one file for each property. `read/` reads it, `fold/` folds the logs a second time. Three
//! passes bring them together: `compare_topics.rs` (logs and topics, by position), `read_models.rs` (logs, read models and
//! ledger, by key) and the stored answers.
//!
//! Only the types of the events are shared with what is checked: SQL, folds, order process and Kafka reader are this crate's
//! own. Never: a write, a lock, a consumer group; a map over all streams; the code of a projection, the relay or a saga.
//! Read next: `check/mod.rs`, `read/snapshots.rs` (the order of reading).

mod check;
mod compare_rows;
mod compare_topics;
mod error;
mod fold;
mod partition_comparison;
mod read;
mod read_models;
mod registry;
mod report;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tokio::task::JoinSet;

pub use check::PROPERTIES;
pub use error::Error;
pub use read::connections::{Connect, Connections, READ_MODEL};
pub use read::shop::ledger::PROVIDER;
pub use report::{Line, Property, Report, Violation};

use check::generic::{answers, checkpoints, parked, progress};
use check::{generic, shop};
use compare_topics::{compare_topics, prepare};
use error::panicked;
use read::snapshots::Snapshots;
use read_models::check_read_models;

/// What is to be checked.
pub struct Scope {
    pub wants: Box<dyn Fn(&Property) -> bool + Send + Sync>,
    /// How long after its deadline a process may still be on its way.
    pub grace: TimeDelta,
}

impl Scope {
    fn wants_any(&self, properties: &[&Property]) -> bool {
        properties.iter().any(|property| (self.wants)(property))
    }
}

/// Checks once what the scope wants. Only the provider's ledger may be away: then the report says that the money was not checked.
///
/// Three passes run at the same time, each with its own connections to the same snapshots: the logs by position beside the
/// topics, the answers, and the logs by stream beside the read models and the ledger.
///
/// # Errors
/// [`Error`] when something else could not be checked.
pub async fn run(connections: &Connections, scope: &Scope) -> Result<Report, Error> {
    let mut snapshots = Snapshots::read(connections).await?;
    let mut report = Report::default();
    check_consumers(connections, &snapshots, &mut report);
    let mut passes = JoinSet::new();
    if scope.wants_any(&generic::BY_POSITION) {
        let comparisons = prepare(connections, &mut snapshots).await?;
        let recorded = snapshots.progress.clone();
        passes.spawn(numbered(0, compare_topics(comparisons, &shop::CATEGORIES, recorded)));
    }
    if scope.wants_any(&[&answers::PROPERTY]) {
        passes.spawn(numbered(1, answers::check(snapshots.logs_beside(connections).await?)));
    }
    let wants_money = scope.wants_any(&[&shop::money::PROPERTY]);
    let by_key = check_read_models(connections.clone(), snapshots, wants_money, scope.grace);
    passes.spawn(numbered(2, by_key));
    let mut parts = BTreeMap::new();
    while let Some(ended) = passes.join_next().await {
        let (number, part) = ended.map_err(panicked)??;
        parts.insert(number, part);
    }
    // Always in the same order, so that the first violation is the same, whichever pass ends first.
    parts.into_values().for_each(|part| report.add(part));
    let wanted = PROPERTIES.into_iter().filter(|property| (scope.wants)(property));
    Ok(report.select(wanted).with_second_folds(shop::second_folds()))
}

/// What the checkpoints and the progress say by themselves, before anything is held against them.
fn check_consumers(connections: &Connections, snapshots: &Snapshots, report: &mut Report) {
    for consumers in snapshots.consumers() {
        checkpoints::check_known(connections, consumers, report.line(&checkpoints::PROPERTY));
        parked::count(&consumers.parked, consumers.discarded, report.line(&parked::PROPERTY));
    }
    progress::check_known(&snapshots.progress, report.line(&progress::PROPERTY));
}

async fn numbered(
    number: u8,
    pass: impl Future<Output = Result<Report, Error>>,
) -> Result<(u8, Report), Error> {
    Ok((number, pass.await?))
}
