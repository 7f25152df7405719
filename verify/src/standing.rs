//! What is read first, in the order that makes a running system consistent.
//!
//! First what others count and claim (the relays' cursors, the checkpoints), then a snapshot of the read models, with their
//! checkpoints and their progress, then where the topics end, then snapshots of the logs: so each holds what came before
//! it. The provider's ledger comes last.
//! Never: a log read before what is held against it. Read next: `travel.rs`, `merge.rs`.

use events::Context;
use futures::future::{join_all, try_join_all};

use crate::Error;
use crate::database::Snapshot;
use crate::depends::Positions;
use crate::engines::{Engines, READ_MODEL, index};
use crate::progress::{self, Applied, Claimed};
use crate::reach::{Claim, Reach};
use crate::report::Report;
use crate::topic::Topic;
use crate::travel::{Journey, Leg};

/// The snapshots, and what was claimed before them. What is there for each context is in the order of [`Context::ALL`].
pub struct Standing {
    topics: Vec<Topic>,
    cursors: Vec<i64>,
    pub reactors: Vec<Reach>,
    pub read_model: Snapshot,
    pub projections: Reach,
    progress: [Claimed; 4],
    pub logs: Vec<Snapshot>,
}

impl Standing {
    /// # Errors
    /// [`Error`] when an engine is not to be reached.
    pub async fn read(engines: &Engines, report: &mut Report) -> Result<Self, Error> {
        let claimed = try_join_all(Context::ALL.map(|context| claims(engines, context))).await?;
        let (mut cursors, mut reactors) = (Vec::new(), Vec::new());
        for (cursor, reach, told) in claimed {
            cursors.push(cursor);
            reactors.push(reach);
            report.add(told);
        }
        let read_model = Snapshot::open(engines, READ_MODEL).await?;
        let projections = Reach::read(engines, &read_model, report).await?;
        let progress = progress::read(&read_model, report).await?;
        // Of several that are not there the first is named.
        let topics = join_all(Context::ALL.map(|context| open_topic(engines, context))).await;
        let topics = topics.into_iter().collect::<Result<Vec<Topic>, Error>>()?;
        let logs = Context::ALL.map(|context| Snapshot::open(engines, context.name()));
        let logs = try_join_all(logs).await?;
        Ok(Self { topics, cursors, reactors, read_model, projections, progress, logs })
    }

    /// What the read models say that they have seen, in the order of [`Context::ALL`].
    pub fn seen(&self) -> Positions {
        Context::ALL.map(|context| self.progress[index(context)].seen())
    }

    /// Further connections to the snapshots of the logs.
    ///
    /// # Errors
    /// [`Error`] when a database is not to be reached.
    pub async fn beside_logs(&self, engines: &Engines) -> Result<Vec<Snapshot>, Error> {
        try_join_all(self.logs.iter().map(|log| log.beside(engines))).await
    }

    /// The logs beside the topics, which are given away.
    ///
    /// # Errors
    /// [`Error`] when a database is not to be reached.
    pub async fn legs(&mut self, engines: &Engines) -> Result<Vec<Leg>, Error> {
        let heads: Vec<i64> = try_join_all(self.logs.iter().map(head)).await?;
        let heads = Positions::try_from(heads).expect("each context has a log");
        let topics = std::mem::take(&mut self.topics).into_iter().zip(&self.cursors).zip(&self.logs);
        let legs = Context::ALL.into_iter().zip(topics).map(async |(context, ((topic, cursor), log))| {
            let claims = self.reactors.iter().chain([&self.projections]).flat_map(|reach| &reach.claims);
            let claims: Vec<Claim> = claims.filter(|claim| claim.context == context).cloned().collect();
            let claimed = self.progress[index(context)].clone();
            let applied = Applied::new(context, claimed, self.projections.of_read_models(context));
            let journey = Journey { context, topic, cursor: *cursor, claims, heads, applied };
            let [log, beside, ids] = [log.beside(engines), log.beside(engines), log.beside(engines)];
            let (log, beside, ids) = tokio::try_join!(log, beside, ids)?;
            Ok(Leg { journey, log, beside, ids })
        });
        try_join_all(legs).await
    }
}

/// What the relay has counted, and how far the consumers of a context have come.
async fn claims(engines: &Engines, context: Context) -> Result<(i64, Reach, Report), Error> {
    let mut report = Report::default();
    let snapshot = Snapshot::open(engines, context.name()).await?;
    let cursor = snapshot.query(&format!("SELECT cursor FROM {context}.relay"), &[]).await?;
    let cursor = cursor.first().map_or(0, |row| row.get(0));
    let reach = Reach::read(engines, &snapshot, &mut report).await?;
    Ok((cursor, reach, report))
}

/// Where a log ends.
async fn head(log: &Snapshot) -> Result<i64, Error> {
    let sql = format!("SELECT coalesce(max(position), 0) FROM {}.events", log.owner);
    Ok(log.query(&sql, &[]).await?.first().map_or(0, |row| row.get(0)))
}

async fn open_topic(engines: &Engines, context: Context) -> Result<Topic, Error> {
    let engines = engines.clone();
    let opened = tokio::task::spawn_blocking(move || Topic::open(&engines, context)).await;
    opened.map_err(|panic| Error::Broken { cause: panic.to_string() })?
}
