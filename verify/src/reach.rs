//! How far each consumer has come, by its checkpoints, and what it has put aside.
//!
//! Events are gated by these: a read model must show an event when its partition has come so far and its stream is not
//! parked. Never: a guess from the head of a log. Read next: `travel.rs`, which holds the checkpoints against the topics.

use std::collections::{BTreeMap, HashMap, HashSet};

use events::{Context, TOPIC_PARTITIONS};

use crate::Error;
use crate::database::Snapshot;
use crate::engines::{Engines, index};
use crate::report::{Offence, Property, Report};

const PARTITIONS: usize = TOPIC_PARTITIONS as usize;

/// The one consumer that applies all read models: their checkpoints are filed under this.
const READER: &str = "query-side";

/// The last position handled in each partition of one context.
pub type Partitions = [i64; PARTITIONS];

/// A checkpoint, to be held against its topic.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The schema that it stands in.
    pub owner: &'static str,
    pub consumer: String,
    pub context: Context,
    pub partition: i32,
    pub next_offset: i64,
    pub last_position: i64,
}

/// One consumer.
#[derive(Debug, Clone, Default)]
pub struct Consumer {
    last: [Partitions; 4],
    /// Parked streams, and from which position on their events wait. As many as wait for a person.
    parked: HashMap<String, i64>,
    /// What a person gave up for good: the streams' names and positions. As many as were given up.
    discarded: HashSet<(String, i64)>,
}

/// All consumers of one schema.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    consumers: BTreeMap<String, Consumer>,
    pub claims: Vec<Claim>,
}

impl Consumer {
    /// Whether the event has been handled: applied, or reacted to.
    pub fn has_handled(&self, context: Context, partition: i32, stream: &str, position: i64) -> bool {
        let reached =
            usize::try_from(partition).ok().and_then(|index| self.last[self::index(context)].get(index));
        reached.is_some_and(|last| position <= *last)
            && self.parked.get(stream).is_none_or(|from| position < *from)
            && (self.discarded.is_empty() || !self.discarded.contains(&(stream.to_owned(), position)))
    }
}

impl Reach {
    /// Reads the checkpoints and the parked records of a schema, as of the snapshot.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn read(engines: &Engines, snapshot: &Snapshot, report: &mut Report) -> Result<Self, Error> {
        let mut reach = Self::default();
        let owner = snapshot.owner;
        let checkpoints = format!(
            "SELECT consumer, topic, partition, next_offset, last_position FROM {owner}.checkpoints ORDER BY 1, 2, 3"
        );
        for row in snapshot.query(&checkpoints, &[]).await? {
            let (consumer, topic, partition): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
            let (next_offset, last_position) = (row.get(3), row.get(4));
            let line = report.line(Property::Checkpoints);
            line.count("checkpoints", 1);
            let place = usize::try_from(partition).ok().filter(|place| *place < PARTITIONS);
            let (Some(context), Some(place)) = (engines.context_of(&topic), place) else {
                let offence = Offence::new("a checkpoint of no partition of ours").at("schema", owner);
                let offence = offence.at("consumer", consumer).at("topic", topic).at("partition", partition);
                line.offend(offence.wanted(format!("{}…, partition 0 to 11", engines.topic_prefix)));
                continue;
            };
            let known = reach.consumers.entry(consumer.clone()).or_default();
            known.last[index(context)][place] = last_position;
            reach.claims.push(Claim { owner, consumer, context, partition, next_offset, last_position });
        }
        reach.read_parked(snapshot, report).await?;
        reach.read_discarded(snapshot, report).await?;
        Ok(reach)
    }

    async fn read_parked(&mut self, snapshot: &Snapshot, report: &mut Report) -> Result<(), Error> {
        let parked = format!(
            "SELECT consumer, stream, min(position), count(*) FROM {}.parked_events GROUP BY consumer, stream",
            snapshot.owner
        );
        for row in snapshot.query(&parked, &[]).await? {
            let (consumer, stream, from): (String, String, Option<i64>) =
                (row.get(0), row.get(1), row.get(2));
            let line = report.line(Property::Parked);
            line.count("streams", 1);
            line.count("records", u64::try_from(row.get::<_, i64>(3)).unwrap_or(0));
            line.count(&format!("streams of {consumer}"), 1);
            if let Some(from) = from {
                self.consumers.entry(consumer).or_default().parked.insert(stream, from);
            }
        }
        Ok(())
    }

    async fn read_discarded(&mut self, snapshot: &Snapshot, report: &mut Report) -> Result<(), Error> {
        let sql = format!("SELECT consumer, stream, position FROM {}.discarded_events", snapshot.owner);
        for row in snapshot.query(&sql, &[]).await? {
            let (consumer, stream, position): (String, String, Option<i64>) =
                (row.get(0), row.get(1), row.get(2));
            report.line(Property::Parked).count("discarded", 1);
            if let Some(position) = position {
                self.consumers.entry(consumer).or_default().discarded.insert((stream, position));
            }
        }
        Ok(())
    }

    /// A consumer that never wrote a checkpoint has handled nothing.
    pub fn of(&self, consumer: &str) -> Consumer {
        self.consumers.get(consumer).cloned().unwrap_or_default()
    }

    /// A read model: it has come as far as all of them, less what is put aside under its own name.
    pub fn of_projection(&self, consumer: &str) -> Consumer {
        Consumer { last: self.of(READER).last, ..self.of(consumer) }
    }

    /// How far all read models have come in a context.
    pub fn of_read_models(&self, context: Context) -> Partitions {
        self.consumers.get(READER).map_or([0; PARTITIONS], |reader| reader.last[index(context)])
    }
}
