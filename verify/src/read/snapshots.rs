//! The order of reading, which makes a running system consistent.
//!
//! First the relays' cursors and the reactors' checkpoints, then a snapshot of the read models with their checkpoints and
//! their progress, then the ends of the topics, then snapshots of the logs: so each contains what was read before it. A log
//! that was read earlier could lack events that a topic or a read model has.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};

use crate::error::{Error, panicked};
use crate::read::applied_positions::AppliedPositions;
use crate::read::connections::{Connections, READ_MODEL};
use crate::read::database::Snapshot;
use crate::read::log::Log;
use crate::read::positions::Positions;
use crate::read::progress::Progress;
use crate::read::topic::Topic;
use crate::registry::Context;

pub struct Snapshots {
    /// What each relay had counted as published.
    pub cursors: Positions,
    /// The reactors of each context, by the checkpoints in its schema.
    pub reactors: BTreeMap<Context, AppliedPositions>,
    pub read_model: Snapshot,
    pub read_models: AppliedPositions,
    pub progress: Progress,
    pub topics: BTreeMap<Context, Topic>,
    pub logs: BTreeMap<Context, Log>,
}

impl Snapshots {
    /// # Errors
    /// [`Error`] when a database or Kafka cannot be reached.
    pub async fn read(connections: &Connections) -> Result<Self, Error> {
        let counted = Context::ALL.map(|context| cursor_and_reactors(connections, context));
        let (mut cursors, mut reactors) = (Positions::default(), BTreeMap::new());
        for (context, (cursor, of_context)) in Context::ALL.into_iter().zip(try_join_all(counted).await?) {
            cursors.raise(context, cursor);
            reactors.insert(context, of_context);
        }
        let read_model = Snapshot::open(connections, READ_MODEL).await?;
        let read_models = AppliedPositions::read(connections, &read_model).await?;
        let progress = Progress::read(&read_model).await?;
        // All are asked, so that of several missing topics always the first is named.
        let topics = join_all(Context::ALL.map(|context| open_topic(connections, context))).await;
        let topics = topics.into_iter().collect::<Result<Vec<Topic>, Error>>()?;
        let topics = Context::ALL.into_iter().zip(topics).collect();
        let logs = try_join_all(Context::ALL.map(|context| Log::open(connections, context))).await?;
        let logs = Context::ALL.into_iter().zip(logs).collect();
        Ok(Self { cursors, reactors, read_model, read_models, progress, topics, logs })
    }

    /// Every consumer's positions: the reactors', then the read models'.
    pub fn consumers(&self) -> impl Iterator<Item = &AppliedPositions> {
        self.reactors.values().chain([&self.read_models])
    }

    /// Further connections to the snapshots of the logs.
    ///
    /// # Errors
    /// [`Error`] when a database cannot be reached.
    pub async fn logs_beside(&self, connections: &Connections) -> Result<Vec<Log>, Error> {
        try_join_all(self.logs.values().map(|log| log.beside(connections))).await
    }
}

async fn cursor_and_reactors(
    connections: &Connections,
    context: Context,
) -> Result<(i64, AppliedPositions), Error> {
    let snapshot = Snapshot::open(connections, context.name()).await?;
    let cursor = snapshot.query(&format!("SELECT cursor FROM {context}.relay"), &[]).await?;
    let cursor = cursor.first().map_or(0, |row| row.get(0));
    Ok((cursor, AppliedPositions::read(connections, &snapshot).await?))
}

async fn open_topic(connections: &Connections, context: Context) -> Result<Topic, Error> {
    let connections = connections.clone();
    tokio::task::spawn_blocking(move || Topic::open(&connections, context)).await.map_err(panicked)?
}
