//! Verify: proves that the logs, the topics, the checkpoints, the read models, the stock and the money agree, on a
//! running system or a resting one, and names the first record that does not.
//!
//! It shares nothing with what it checks but the types of the events: its SQL, its folds, its story and its reader of
//! Kafka are its own. Never: a write, a lock, a consumer group; a map over all streams; the code of a projection, the
//! relay or a saga. Read next: `standing.rs` (the order of reading), `travel.rs` (logs and topics), `merge.rs` (read
//! models, stock, money, processes).

use rdkafka::error::KafkaError;

mod answers;
mod compare;
mod database;
mod depends;
mod engines;
mod fold;
mod holding;
mod log;
mod merge;
mod money;
mod orders;
mod process;
mod progress;
mod reach;
mod report;
mod row;
mod standing;
mod stock;
mod story;
mod streams;
mod topic;
mod travel;
mod tree;

pub use engines::{Connect, Engines, PROVIDER, READ_MODEL};
pub use report::{Line, Offence, Property, Report};

use std::collections::BTreeMap;

use answers::hold_answers;
use chrono::TimeDelta;
use merge::hold_streams;
use standing::Standing;
use tokio::task::JoinSet;
use travel::hold_positions;

/// Why something could not be checked. It says nothing about what would have been found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database of {owner} is not to be reached: {cause}")]
    Unreachable { owner: &'static str, cause: String },
    #[error("the database of {owner} fails")]
    Database { owner: &'static str, source: tokio_postgres::Error },
    #[error("Kafka fails for topic {topic}")]
    Kafka { topic: String, source: KafkaError },
    #[error("Kafka gives nothing of topic {topic} from offset {offset} on")]
    Silent { topic: String, offset: i64 },
    #[error("stopped before the end")]
    Stopped,
    #[error("the verification itself broke: {cause}")]
    Broken { cause: String },
}

impl Error {
    fn database(owner: &'static str, source: tokio_postgres::Error) -> Self {
        Self::Database { owner, source }
    }

    fn kafka(topic: &str, source: KafkaError) -> Self {
        Self::Kafka { topic: topic.to_owned(), source }
    }

    /// With its causes, in one line.
    fn in_full(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |told, cause| format!("{told}: {cause}"))
    }
}

/// What reading the logs beside the topics tells of.
const BY_POSITION: [Property; 5] =
    [Property::Log, Property::Topics, Property::ForeignRecords, Property::Checkpoints, Property::Progress];

/// What is to be checked.
pub struct Scope {
    pub wants: Box<dyn Fn(Property) -> bool + Send + Sync>,
    /// How long after its deadline something may still be on its way.
    pub grace: TimeDelta,
}

impl Scope {
    fn wants_any(&self, properties: &[Property]) -> bool {
        properties.iter().any(|property| (self.wants)(*property))
    }
}

/// Checks once what the scope wants. Only the provider may be away: then the money is told as not checked.
///
/// Three strands read side by side, each over connections of its own to the same snapshots: the logs by position beside the
/// topics, the logs by stream beside the read models and the ledger, and the answers. They meet in the report.
///
/// # Errors
/// [`Error`] when something else could not be checked.
pub async fn run(engines: &Engines, scope: &Scope) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut standing = Standing::read(engines, &mut report).await?;
    let mut strands = JoinSet::new();
    if scope.wants_any(&BY_POSITION) {
        strands.spawn(in_place(0, hold_positions(standing.legs(engines).await?, standing.seen())));
    }
    if scope.wants_any(&[Property::Answers]) {
        strands.spawn(in_place(1, hold_answers(standing.beside_logs(engines).await?)));
    }
    let money = scope.wants_any(&[Property::Money]);
    strands.spawn(in_place(2, hold_streams(engines.clone(), standing, money, scope.grace)));
    let mut told = BTreeMap::new();
    while let Some(ended) = strands.join_next().await {
        let (place, report) = ended.map_err(|panic| Error::Broken { cause: panic.to_string() })??;
        told.insert(place, report);
    }
    // Always in the same order, so that the first offender is the same, whichever strand was done first.
    told.into_values().for_each(|part| report.add(part));
    for property in Property::ALL {
        report.line(property);
    }
    report.keep(|property| (scope.wants)(property));
    Ok(report)
}

async fn in_place(
    place: u8,
    strand: impl Future<Output = Result<Report, Error>>,
) -> Result<(u8, Report), Error> {
    Ok((place, strand.await?))
}
