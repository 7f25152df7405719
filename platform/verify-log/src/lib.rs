//! Verify-log: proves of any domain that its logs, topics, checkpoints, progress and stored answers agree, on a running system
//! or a stopped one, and names the first record that does not.
//!
//! `check/` lists what is verified, one file for each property; `read/` reads it. [`run`] checks these properties alone. A domain
//! with properties of its own gives [`run_with`] its [`OwnChecks`], which read the same snapshots at the same time; [`log`],
//! [`Snapshots`], [`Streams`], [`Table`] and [`compare`] are what they are written with.
//!
//! Only the types of the events are shared with what is checked: SQL and Kafka reader are this crate's own. Never: a write, a lock,
//! a consumer group; a map over all streams; an event, a stream category or a context by name.
//! Read next: `check/mod.rs`, `read/snapshots.rs` (the order of reading).

mod check;
mod compare_rows;
mod compare_topics;
mod domain;
mod error;
mod partition_comparison;
mod read;
mod report;

use std::collections::BTreeMap;

use event_log::EventSet;
use tokio::task::JoinSet;

pub use check::PROPERTIES;
pub use compare_rows::compare;
pub use domain::Domain;
pub use error::Error;
pub use read::applied_positions::{AppliedPositions, Consumer, Partitions};
pub use read::connections::{Connect, Connections};
pub use read::database::Snapshot;
pub use read::keyed::Keyed;
pub use read::log::{COLUMNS, Log, Metadata, RawEvent, RawEvents};
pub use read::row::{Cell, Row, StoredRow};
pub use read::snapshots::{ReadModels, Snapshots};
pub use read::streams::{LoggedEvent, Streams};
pub use read::table::Table;
pub use report::{Line, Property, Report, Violation};

use check::{answers, checkpoints, parked, progress};
use compare_topics::{compare_topics, prepare};
use error::panicked;

/// The property `log`, for own checks that read the streams of a log: they check versions and triggers where they read them.
pub mod log {
    pub use crate::check::log::PROPERTY;
    pub use crate::check::log::dependencies::check_triggers;
    pub use crate::check::log::versions::VersionCheck;
}

/// The properties in the order of [`PROPERTIES`], for a domain that lists its own among them.
pub mod properties {
    pub use crate::check::answers::PROPERTY as ANSWERS;
    pub use crate::check::checkpoints::PROPERTY as CHECKPOINTS;
    pub use crate::check::foreign_records::PROPERTY as FOREIGN_RECORDS;
    pub use crate::check::log::PROPERTY as LOG;
    pub use crate::check::parked::PROPERTY as PARKED;
    pub use crate::check::progress::PROPERTY as PROGRESS;
    pub use crate::check::topics::PROPERTY as TOPICS;
}

/// What a domain checks beyond [`PROPERTIES`]: in the same run, on the same snapshots, for the same report.
pub trait OwnChecks {
    /// The categories of the streams that these checks read. They check the versions of those streams (`log::VersionCheck`).
    const CATEGORIES: &'static [&'static str];

    /// What was found.
    ///
    /// # Errors
    /// [`Error`] when something could not be checked.
    fn check(
        self,
        connections: Connections,
        snapshots: Snapshots,
    ) -> impl Future<Output = Result<Report, Error>> + Send + 'static;
}

/// A domain without checks of its own.
struct NoOwnChecks;

impl OwnChecks for NoOwnChecks {
    const CATEGORIES: &'static [&'static str] = &[];

    async fn check(self, _: Connections, _: Snapshots) -> Result<Report, Error> {
        Ok(Report::default())
    }
}

/// Checks those of [`PROPERTIES`] once that `wants` names. `E` decodes the events.
///
/// Of the property `log` it leaves out one thing, for which one must know which streams belong to one process: whether an event
/// names its trigger among its dependencies (`log::check_triggers`).
///
/// ```
/// use event_log::ContextName;
/// use serde::{Deserialize, Serialize};
/// use verify_log::{Connections, Domain, Error};
///
/// event_log::contexts! {
///     Kitchen = "kitchen" { Cup("cup"): CupEvent },
/// }
///
/// event_log::event_enum! {
///     pub enum CupEvent {
///         CupFilled = 1,
///     }
/// }
///
/// #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// pub struct CupFilled {}
///
/// static DOMAIN: Domain = Domain {
///     contexts: &Context::NAMES,
///     context_of: |stream| Context::of_stream(stream).map(ContextName::from),
///     read_model_schema: "shown",
///     read_model_consumer: "reader",
/// };
///
/// async fn verify(connections: &Connections) -> Result<bool, Error> {
///     let report = verify_log::run::<Event>(connections, &DOMAIN, |_| true).await?;
///     print!("{report}");
///     Ok(report.holds())
/// }
/// ```
///
/// # Errors
/// [`Error`] when something could not be checked.
pub async fn run<E: EventSet>(
    connections: &Connections,
    domain: &'static Domain,
    wants: impl Fn(&Property) -> bool,
) -> Result<Report, Error> {
    let report = run_with::<E, _>(connections, domain, &wants, NoOwnChecks).await?;
    Ok(report.select(PROPERTIES.into_iter().filter(|property| wants(property))))
}

/// Checks what [`run`] does together with the domain's own checks. The caller selects from the report what it wants to show.
///
/// Three passes run at the same time, each with its own connections to the same snapshots: the logs by position beside the
/// topics, the answers, and the own checks.
///
/// # Errors
/// [`Error`] when something could not be checked.
pub async fn run_with<E: EventSet, C: OwnChecks>(
    connections: &Connections,
    domain: &'static Domain,
    wants: impl Fn(&Property) -> bool,
    own: C,
) -> Result<Report, Error> {
    let mut snapshots = Snapshots::read(connections, domain).await?;
    let mut report = Report::default();
    check_consumers(connections, &snapshots, &mut report);
    let mut passes = JoinSet::new();
    if check::BY_POSITION.into_iter().any(&wants) {
        let comparisons = prepare(connections, domain, &mut snapshots).await?;
        let recorded = snapshots.read_models.progress.clone();
        passes.spawn(numbered(0, compare_topics::<E>(domain, comparisons, C::CATEGORIES, recorded)));
    }
    if wants(&answers::PROPERTY) {
        passes.spawn(numbered(1, answers::check(snapshots.logs_beside(connections).await?)));
    }
    passes.spawn(numbered(2, own.check(connections.clone(), snapshots)));
    let mut parts = BTreeMap::new();
    while let Some(ended) = passes.join_next().await {
        let (number, part) = ended.map_err(panicked)??;
        parts.insert(number, part);
    }
    // Always in the same order, so that the first violation is the same, whichever pass ends first.
    parts.into_values().for_each(|part| report.add(part));
    Ok(report)
}

/// What the checkpoints and the progress say by themselves, before anything is held against them.
fn check_consumers(connections: &Connections, snapshots: &Snapshots, report: &mut Report) {
    for consumers in snapshots.consumers() {
        checkpoints::check_known(connections, consumers, report.line(&checkpoints::PROPERTY));
        parked::count(&consumers.parked, consumers.discarded, report.line(&parked::PROPERTY));
    }
    progress::check_known(&snapshots.read_models.progress, report.line(&progress::PROPERTY));
}

async fn numbered(
    number: u8,
    pass: impl Future<Output = Result<Report, Error>>,
) -> Result<(u8, Report), Error> {
    Ok((number, pass.await?))
}
