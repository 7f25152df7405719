//! The order of reading, which makes a running system consistent.
//!
//! First the relays' cursors and the reactors' checkpoints, then a snapshot of the read models with their checkpoints and
//! their progress, then the ends of the topics, then snapshots of the logs: so each contains what was read before it. A log
//! that was read earlier could lack events that a topic or a read model has.

use event_log::ContextName;
use futures::future::{join_all, try_join_all};

use crate::Domain;
use crate::error::{Error, panicked};
use crate::read::applied_positions::{AppliedPositions, Consumer, Partitions};
use crate::read::connections::Connections;
use crate::read::database::Snapshot;
use crate::read::log::Log;
use crate::read::positions::Positions;
use crate::read::progress::Progress;
use crate::read::topic::Topic;

pub struct Snapshots {
    domain: &'static Domain,
    /// What each relay had counted as published.
    pub(crate) cursors: Positions,
    /// The reactors of each context, by the checkpoints in its schema. This and the next two are in the order of the domain's
    /// contexts.
    reactors: Vec<AppliedPositions>,
    topics: Vec<Topic>,
    logs: Vec<Log>,
    pub read_models: ReadModels,
}

/// The read models, with what they say of their progress.
pub struct ReadModels {
    pub snapshot: Snapshot,
    pub(crate) positions: AppliedPositions,
    pub(crate) progress: Progress,
    /// The consumer that applies them.
    reader: &'static str,
}

impl ReadModels {
    async fn read(connections: &Connections, domain: &Domain) -> Result<Self, Error> {
        let snapshot = Snapshot::open(connections, domain.read_model_schema).await?;
        let positions = AppliedPositions::read(connections, domain, &snapshot).await?;
        let progress = Progress::read(domain, &snapshot).await?;
        Ok(Self { snapshot, positions, progress, reader: domain.read_model_consumer })
    }

    /// The consumer of one read model: all read models share their checkpoints, each has parked and discarded events of its own.
    pub fn of(&self, consumer: &str) -> Consumer {
        self.positions.of_reader(self.reader, consumer)
    }

    /// The positions of a context that the read models have passed.
    pub(crate) fn passed(&self, context: ContextName) -> Partitions {
        self.positions.passed_by(self.reader, context)
    }
}

impl Snapshots {
    /// # Errors
    /// [`Error`] when a database or Kafka cannot be reached.
    pub(crate) async fn read(connections: &Connections, domain: &'static Domain) -> Result<Self, Error> {
        let contexts = domain.contexts;
        let counted = contexts.iter().map(|context| cursor_and_reactors(connections, domain, *context));
        let (mut cursors, mut reactors) = (Positions::none(domain), Vec::new());
        for (context, (cursor, of_context)) in contexts.iter().zip(try_join_all(counted).await?) {
            cursors.raise(*context, cursor);
            reactors.push(of_context);
        }
        let read_models = ReadModels::read(connections, domain).await?;
        // All are asked, so that of several missing topics always the first is named.
        let topics = join_all(contexts.iter().map(|context| open_topic(connections, *context))).await;
        let topics = topics.into_iter().collect::<Result<Vec<Topic>, Error>>()?;
        let logs = try_join_all(contexts.iter().map(|context| Log::open(connections, *context))).await?;
        Ok(Self { domain, cursors, reactors, topics, logs, read_models })
    }

    /// Every consumer's positions: the reactors', then the read models'.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = &AppliedPositions> {
        self.reactors.iter().chain([&self.read_models.positions])
    }

    /// The topics of the contexts, in the order of [`Self::logs`]. There is none left afterwards.
    pub(crate) fn take_topics(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.topics)
    }

    /// The logs of the contexts, in the domain's order.
    pub(crate) fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The log of a context of the domain.
    pub fn log(&self, context: impl Into<ContextName>) -> &Log {
        &self.logs[self.index(context.into())]
    }

    /// What the reactors of a context of the domain have handled.
    pub fn reactors(&self, context: impl Into<ContextName>) -> &AppliedPositions {
        &self.reactors[self.index(context.into())]
    }

    fn index(&self, context: ContextName) -> usize {
        let index = self.domain.contexts.iter().position(|known| *known == context);
        index.expect("the context is one of the domain's")
    }

    /// Further connections to the snapshots of the logs.
    ///
    /// # Errors
    /// [`Error`] when a database cannot be reached.
    pub(crate) async fn logs_beside(&self, connections: &Connections) -> Result<Vec<Log>, Error> {
        try_join_all(self.logs.iter().map(|log| log.beside(connections))).await
    }
}

async fn cursor_and_reactors(
    connections: &Connections,
    domain: &Domain,
    context: ContextName,
) -> Result<(i64, AppliedPositions), Error> {
    let snapshot = Snapshot::open(connections, context.as_str()).await?;
    let cursor = snapshot.query(&format!("SELECT cursor FROM {context}.relay"), &[]).await?;
    let cursor = cursor.first().map_or(0, |row| row.get(0));
    Ok((cursor, AppliedPositions::read(connections, domain, &snapshot).await?))
}

async fn open_topic(connections: &Connections, context: ContextName) -> Result<Topic, Error> {
    let connections = connections.clone();
    tokio::task::spawn_blocking(move || Topic::open(&connections, context)).await.map_err(panicked)?
}
