//! Verify: proves that the logs, the topics, the checkpoints, the read models, the stock and the money agree, on a
//! running system or a resting one, and names the first record that does not.
//!
//! It shares nothing with what it checks but the types of the events: its SQL, its folds, its story and its reader of
//! Kafka are its own. Never: a write, a lock, a consumer group; a map over all streams; the code of a projection, the
//! relay or a saga. Read next: `travel.rs` (logs and topics), `orders.rs` and `fold/` (read models), `stock.rs`,
//! `money.rs`, `process.rs`.

use events::Context;
use rdkafka::error::KafkaError;

mod answers;
mod compare;
mod database;
mod engines;
mod fold;
mod holding;
mod log;
mod money;
mod orders;
mod process;
mod reach;
mod report;
mod stock;
mod story;
mod streams;
mod topic;
mod travel;

pub use engines::{Connect, Engines, PROVIDER, READ_MODEL};
pub use report::{Line, Offence, Property, Report};

use answers::hold_answers;
use chrono::TimeDelta;
use database::Snapshot;
use money::Books;
use orders::Cases;
use process::Processes;
use reach::{Claim, Reach};
use stock::{Sum, hold_reservations, hold_stock};
use topic::Topic;
use travel::Journey;

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

/// What reading the logs beside the topics tells of.
const BY_POSITION: [Property; 4] =
    [Property::Log, Property::Topics, Property::ForeignRecords, Property::Checkpoints];

/// What was read in the order that makes a running system consistent.
struct Standing {
    topics: Vec<Topic>,
    cursors: Vec<i64>,
    claims: Vec<Claim>,
    /// In the order of [`Context::ALL`].
    reactors: Vec<Reach>,
    read_model: Snapshot,
    projections: Reach,
    logs: Vec<Snapshot>,
}

/// Checks once what the scope wants. Only the provider may be away: then the money is told as not checked.
///
/// # Errors
/// [`Error`] when something else could not be checked.
pub async fn run(engines: &Engines, scope: &Scope) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut standing = stand(engines, &mut report).await?;
    if scope.wants_any(&BY_POSITION) {
        hold_positions(engines, &mut standing, &mut report).await?;
    }
    let books = open_books(engines, scope, &mut report).await;
    if scope.wants_any(&[Property::Answers]) {
        for (context, log) in Context::ALL.into_iter().zip(&standing.logs) {
            hold_answers(log, context, &mut report).await?;
        }
    }
    let Standing { logs, read_model, projections, .. } = &standing;
    let items = hold_stock(&logs[1], read_model, projections, &mut report).await?;
    let reservations = hold_orders(engines, scope, &standing, books, &mut report).await?;
    hold_reservations(&logs[1], items, reservations, &mut report).await?;
    for property in Property::ALL {
        report.line(property);
    }
    report.keep(|property| (scope.wants)(property));
    Ok(report)
}

async fn hold_positions(
    engines: &Engines,
    standing: &mut Standing,
    report: &mut Report,
) -> Result<(), Error> {
    let (topics, cursors) = (std::mem::take(&mut standing.topics), std::mem::take(&mut standing.cursors));
    for (((context, topic), cursor), log) in
        Context::ALL.into_iter().zip(topics).zip(cursors).zip(&standing.logs)
    {
        let claims = standing.claims.iter().filter(|claim| claim.context == context).cloned().collect();
        let beside = log.beside(engines).await?;
        report.add(Journey { context, topic, cursor, claims }.compare(log, &beside).await?);
        hold_event_ids(log, context, report).await?;
    }
    Ok(())
}

/// The provider's ledger, as of after the logs.
async fn open_books(engines: &Engines, scope: &Scope, report: &mut Report) -> Option<Books> {
    if !scope.wants_any(&[Property::Money]) {
        return None;
    }
    let opened = async {
        let ledger = Snapshot::open(engines, PROVIDER).await?;
        Books::open(engines, ledger).await
    };
    match opened.await {
        Ok(books) => Some(books),
        Err(error) => {
            report.line(Property::Money).not_checked = Some(error.in_full());
            None
        }
    }
}

/// First what others count and claim, then where the topics end, then the logs: so each holds what came before it.
async fn stand(engines: &Engines, report: &mut Report) -> Result<Standing, Error> {
    let (mut cursors, mut reactors) = (Vec::new(), Vec::new());
    for context in Context::ALL {
        let snapshot = Snapshot::open(engines, context.name()).await?;
        let cursor = snapshot.query(&format!("SELECT cursor FROM {context}.relay"), &[]).await?;
        cursors.push(cursor.first().map_or(0, |row| row.get(0)));
        reactors.push(Reach::read(engines, &snapshot, report).await?);
    }
    let read_model = Snapshot::open(engines, READ_MODEL).await?;
    let projections = Reach::read(engines, &read_model, report).await?;
    let claims =
        reactors.iter().chain([&projections]).flat_map(|reach| reach.claims.iter().cloned()).collect();
    let asking = engines.clone();
    let open = move || Context::ALL.into_iter().map(|context| Topic::open(&asking, context)).collect();
    let topics: Result<Vec<Topic>, Error> = tokio::task::spawn_blocking(open)
        .await
        .map_err(|panic| Error::Broken { cause: panic.to_string() })?;
    let topics = topics?;
    let mut logs = Vec::new();
    for context in Context::ALL {
        logs.push(Snapshot::open(engines, context.name()).await?);
    }
    Ok(Standing { topics, cursors, claims, reactors, read_model, projections, logs })
}

async fn hold_event_ids(log: &Snapshot, context: Context, report: &mut Report) -> Result<(), Error> {
    let sql = format!(
        "SELECT event_id::text, min(position), max(position) FROM {context}.events
          GROUP BY event_id HAVING count(*) > 1 ORDER BY 2"
    );
    for row in log.query(&sql, &[]).await? {
        let (event_id, first, again): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let offence =
            Offence::new("an event id that is there twice").in_context(context).at("event_id", event_id);
        report.line(Property::Log).offend(offence.at("position", again).at("first position", first));
    }
    Ok(())
}

/// Everything that is told by the order. Returns what the reservations say about stock.
async fn hold_orders(
    engines: &Engines,
    scope: &Scope,
    standing: &Standing,
    mut books: Option<Books>,
    report: &mut Report,
) -> Result<Sum, Error> {
    let Standing { logs, read_model, projections, reactors, .. } = standing;
    let mut tables = Vec::new();
    for _ in 0..5 {
        tables.push(read_model.beside(engines).await?);
    }
    let deadlines = logs[2].beside(engines).await?;
    let mut processes = Processes::open(reactors, &deadlines, scope.grace).await?;
    let mut cases = Cases::open(logs, &tables, projections).await?;
    let mut reservations = Sum::default();
    loop {
        let others = [processes.peek(), books.as_ref().and_then(Books::peek)];
        let Some(case) = cases.next(&others, report).await? else { return Ok(reservations) };
        cases.hold_tables(&case, report);
        case.logs[1].iter().for_each(|told| reservations.add_reservation(told));
        processes.look_at(&case, report).await?;
        if let Some(books) = &mut books {
            books.hold(&case.id, &case.logs[2], report).await?;
        }
    }
}
