//! Compares the logs with Kafka and with the read models. It only reads.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Context as _;
use event_bus::{BusConfig, TopicSummary, committed_offsets, read_topic};
use events::{Context, Position, RawEvent, StreamId};
use tokio_postgres::Client;
use uuid::Uuid;

use super::connections::Schemas;

/// Events of a log read at a time.
const PAGE: i64 = 20_000;

/// One context: its log compared with its topic.
pub struct Compared {
    pub context: Context,
    pub epoch: i64,
    /// An earlier reconciliation did not finish.
    pub unfinished: bool,
    pub head: Position,
    pub cursor: Position,
    pub topic: TopicSummary,
    /// In the topic and not (or no longer) in the log: by position, then id.
    pub lost: BTreeMap<(Position, Uuid), LostEvent>,
    /// The number of events in the log up to the cursor that are not in the topic.
    pub missing: u64,
}

/// An event that is not in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostEvent {
    pub stream: StreamId,
    /// `OrderPlaced.v1`
    pub event_type: String,
}

/// A checkpoint beyond the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub last_position: Position,
    pub head: Position,
}

/// An event whose cause is not in any log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub context: Context,
    pub position: Position,
    pub stream: String,
    pub event_type: String,
    pub causation_id: Uuid,
}

pub struct Diff {
    pub contexts: Vec<Compared>,
    /// Of reactors: the log of their own context was restored to a later point than the log they read.
    pub reactors_ahead: Vec<Ahead>,
    pub orphans: Vec<Orphan>,
    /// Of projections, which are rebuilt.
    pub projections_ahead: Vec<Ahead>,
    /// Checkpoints that went back, or have another epoch than the log, each with the reason.
    pub mismatched: Vec<String>,
    /// The number of lost events that the timelines of orders still show.
    pub shown: i64,
}

impl Diff {
    /// # Errors
    /// When a log, a topic or a table cannot be read.
    pub async fn compute(schemas: &Schemas, bus: &BusConfig) -> anyhow::Result<Self> {
        let mut contexts = Vec::new();
        for (context, client) in &schemas.contexts {
            contexts.push(compare(*context, client, bus).await?);
        }
        let heads: BTreeMap<String, Position> =
            contexts.iter().map(|compared| (bus.topic(compared.context), compared.head)).collect();
        let lost: Vec<Uuid> =
            contexts.iter().flat_map(|compared| compared.lost.keys().map(|(_, id)| *id)).collect();
        let mut diff = Self {
            contexts,
            reactors_ahead: Vec::new(),
            orphans: Vec::new(),
            projections_ahead: ahead(&schemas.read_models, &heads).await?,
            mismatched: Vec::new(),
            shown: 0,
        };
        for (context, client) in &schemas.contexts {
            diff.reactors_ahead.extend(ahead(client, &heads).await?);
            diff.orphans.extend(orphans(*context, client, &lost).await?);
        }
        let epochs: BTreeMap<String, i64> =
            diff.contexts.iter().map(|compared| (bus.topic(compared.context), compared.epoch)).collect();
        diff.mismatched.extend(of_another_epoch(&schemas.read_models, &epochs).await?);
        for (context, client) in &schemas.contexts {
            diff.mismatched.extend(of_another_epoch(client, &epochs).await?);
            for consumer in sagas::consumers_of(*context) {
                diff.mismatched.extend(went_back(client, bus, &consumer).await?);
            }
        }
        let ids: Vec<String> = lost.iter().map(Uuid::to_string).collect();
        let shown = "SELECT count(*) FROM order_events WHERE event_id = ANY($1)";
        diff.shown = schemas.read_models.query_one(shown, &[&ids]).await?.try_get(0)?;
        Ok(diff)
    }

    /// Whether topics or read models differ from the logs.
    pub fn is_any(&self) -> bool {
        let differs = |compared: &Compared| {
            compared.unfinished
                || !compared.lost.is_empty()
                || compared.missing > 0
                || compared.topic.stop_markers > 0
                || compared.topic.epoch > compared.epoch
        };
        self.contexts.iter().any(differs)
            || !self.projections_ahead.is_empty()
            || !self.reactors_ahead.is_empty()
            || !self.mismatched.is_empty()
    }

    /// Why this cannot be reconciled: contexts that acted on events that no longer exist.
    pub fn contradictions(&self) -> Vec<String> {
        let ahead = self.reactors_ahead.iter().map(|ahead| {
            format!(
                "{} has handled {}/{} up to position {}, and the log of that topic ends at {}",
                ahead.consumer, ahead.topic, ahead.partition, ahead.last_position, ahead.head
            )
        });
        let orphans = self.orphans.iter().map(|orphan| {
            format!(
                "{}:{} {} {} was caused by event {}, which no longer exists",
                orphan.context, orphan.position, orphan.stream, orphan.event_type, orphan.causation_id
            )
        });
        ahead.chain(orphans).collect()
    }

    /// Higher than every epoch of a log or a topic.
    pub fn next_epoch(&self) -> i64 {
        let seen = self.contexts.iter().map(|compared| compared.epoch.max(compared.topic.epoch));
        seen.max().unwrap_or(0) + 1
    }
}

async fn compare(context: Context, client: &Client, bus: &BusConfig) -> anyhow::Result<Compared> {
    let row = client
        .query_one("SELECT epoch, reconciling_to IS NOT NULL, cursor FROM log_epoch, relay", &[])
        .await
        .with_context(|| format!("the epoch of {context}"))?;
    let (epoch, unfinished, cursor): (i64, bool, Position) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    // The topic first: the log then has everything that is appended and published during the comparison.
    let mut in_topic: Vec<TopicEvent> = Vec::new();
    let topic = read_topic(bus, context, |_, event| in_topic.push(TopicEvent::of(&event))).await?;
    let ids = read_ids(client).await.with_context(|| format!("the log of {context}"))?;
    let head = Position::try_from(ids.len())?;
    let mut found = HashSet::new();
    let mut lost = BTreeMap::new();
    for event in in_topic {
        let in_log = usize::try_from(event.position - 1).ok().and_then(|index| ids.get(index));
        if in_log == Some(&event.event_id) {
            found.insert(event.position);
        } else {
            let key = (event.position, event.event_id);
            lost.insert(key, LostEvent { stream: event.stream, event_type: event.event_type });
        }
    }
    let missing = (1..=cursor.min(head)).filter(|position| !found.contains(position)).count() as u64;
    Ok(Compared { context, epoch, unfinished, head, cursor, topic, lost, missing })
}

/// The fields of an event that the comparison needs.
struct TopicEvent {
    position: Position,
    event_id: Uuid,
    stream: StreamId,
    event_type: String,
}

impl TopicEvent {
    fn of(event: &RawEvent) -> Self {
        Self {
            position: event.position,
            event_id: event.event_id,
            stream: event.stream.clone(),
            event_type: format!("{}.v{}", event.event_type, event.schema_version),
        }
    }
}

/// The ids of all events in the order of the log.
async fn read_ids(client: &Client) -> anyhow::Result<Vec<Uuid>> {
    let query = "SELECT position, event_id FROM events WHERE position > $1 ORDER BY position LIMIT $2";
    let mut ids: Vec<Uuid> = Vec::new();
    loop {
        let after = Position::try_from(ids.len())?;
        let page = client.query(query, &[&after, &PAGE]).await?;
        for row in &page {
            let position: Position = row.try_get(0)?;
            ids.push(row.try_get(1)?);
            anyhow::ensure!(
                position == Position::try_from(ids.len())?,
                "the log has a gap before position {position}"
            );
        }
        if page.is_empty() {
            return Ok(ids);
        }
    }
}

async fn ahead(client: &Client, heads: &BTreeMap<String, Position>) -> anyhow::Result<Vec<Ahead>> {
    let query = "SELECT consumer, topic, partition, last_position FROM checkpoints ORDER BY 1, 2, 3";
    let mut ahead = Vec::new();
    for row in client.query(query, &[]).await? {
        let (topic, last_position): (String, Position) = (row.try_get(1)?, row.try_get(3)?);
        if let Some(head) = heads.get(&topic)
            && last_position > *head
        {
            let (consumer, partition) = (row.try_get(0)?, row.try_get(2)?);
            ahead.push(Ahead { consumer, topic, partition, last_position, head: *head });
        }
    }
    Ok(ahead)
}

async fn of_another_epoch(client: &Client, epochs: &BTreeMap<String, i64>) -> anyhow::Result<Vec<String>> {
    let query = "SELECT consumer, topic, epoch, count(*) FROM checkpoints GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let mut mismatched = Vec::new();
    for row in client.query(query, &[]).await? {
        let (consumer, topic, epoch): (String, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if let Some(of_log) = epochs.get(&topic).filter(|of_log| **of_log != epoch) {
            mismatched.push(format!(
                "{consumer}: its checkpoints in {topic} have epoch {epoch}, the log has epoch {of_log}"
            ));
        }
    }
    Ok(mismatched)
}

/// Checkpoints behind the offsets committed to Kafka, which the consumer compares when it starts.
async fn went_back(client: &Client, bus: &BusConfig, consumer: &str) -> anyhow::Result<Vec<String>> {
    let query = "SELECT topic, partition, next_offset FROM checkpoints WHERE consumer = $1";
    let mut checkpoints = BTreeMap::new();
    for row in client.query(query, &[&consumer]).await? {
        let partition: (String, i32) = (row.try_get(0)?, row.try_get(1)?);
        checkpoints.insert(partition, row.try_get::<_, i64>(2)?);
    }
    let committed = committed_offsets(bus, &Context::NAMES, consumer)
        .await
        .with_context(|| format!("the offsets of {consumer}"))?;
    let behind = |(topic, partition, committed): (String, i32, i64)| {
        let place = (topic, partition);
        let next_offset = checkpoints.get(&place).copied().unwrap_or(0);
        let (topic, partition) = place;
        (next_offset < committed).then(|| {
            format!("{consumer}: its checkpoint in {topic}/{partition} is at offset {next_offset} and was at {committed} before")
        })
    };
    Ok(committed.into_iter().filter_map(behind).collect())
}

async fn orphans(context: Context, client: &Client, lost: &[Uuid]) -> anyhow::Result<Vec<Orphan>> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let lost: BTreeSet<String> = lost.iter().map(Uuid::to_string).collect();
    let lost: Vec<String> = lost.into_iter().collect();
    let query = "SELECT position, stream, type, (metadata->>'causation_id')::uuid FROM events
                  WHERE metadata->>'causation_id' = ANY($1) ORDER BY position";
    let rows = client.query(query, &[&lost]).await?;
    rows.iter()
        .map(|row| {
            Ok(Orphan {
                context,
                position: row.try_get(0)?,
                stream: row.try_get(1)?,
                event_type: row.try_get(2)?,
                causation_id: row.try_get(3)?,
            })
        })
        .collect()
}
