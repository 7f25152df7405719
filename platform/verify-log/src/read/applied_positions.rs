//! Which positions each consumer has handled: its checkpoints, less the events that it has parked or discarded.
//!
//! A read model must show an event when the checkpoint of its partition has passed it and its stream is not parked.

use std::collections::{BTreeMap, HashMap, HashSet};

use event_log::ContextName;

use crate::read::connections::Connections;
use crate::read::database::Snapshot;
use crate::{Domain, Error};

/// The last position handled in each partition of one topic.
#[derive(Debug, Clone, Default)]
pub struct Partitions(BTreeMap<i32, i64>);

impl Partitions {
    pub fn has_passed(&self, partition: i32, position: i64) -> bool {
        self.0.get(&partition).is_some_and(|last| position <= *last)
    }
}

impl FromIterator<(i32, i64)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (i32, i64)>>(partitions: I) -> Self {
        Self(partitions.into_iter().collect())
    }
}

/// A checkpoint in a schema, of a partition that exists.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub owner: String,
    pub consumer: String,
    pub context: ContextName,
    pub partition: i32,
    pub next_offset: i64,
    pub last_position: i64,
}

/// A checkpoint whose topic or partition does not exist.
#[derive(Debug, Clone)]
pub struct UnknownCheckpoint {
    pub owner: String,
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
}

/// A stream that a consumer has parked.
#[derive(Debug, Clone)]
pub struct ParkedStream {
    pub consumer: String,
    pub records: u64,
}

/// The positions that one consumer has handled.
#[derive(Debug, Clone, Default)]
pub struct Consumer {
    last: BTreeMap<ContextName, Partitions>,
    /// Parked streams, and from which position on their events wait. As many as wait for a person.
    parked: HashMap<String, i64>,
    /// The events that a person discarded: stream and position. As many as were discarded.
    discarded: HashSet<(String, i64)>,
}

/// All consumers of one schema.
#[derive(Debug, Clone, Default)]
pub struct AppliedPositions {
    consumers: BTreeMap<String, Consumer>,
    pub checkpoints: Vec<Checkpoint>,
    pub unknown_checkpoints: Vec<UnknownCheckpoint>,
    pub parked: Vec<ParkedStream>,
    pub discarded: u64,
}

impl Consumer {
    /// A consumer with these checkpoints, which has parked and discarded nothing.
    pub fn with(last: impl IntoIterator<Item = (impl Into<ContextName>, Partitions)>) -> Self {
        let last = last.into_iter().map(|(context, partitions)| (context.into(), partitions));
        Self { last: last.collect(), ..Self::default() }
    }

    /// Whether the consumer has handled the event: applied it, or reacted to it.
    pub fn has_handled(&self, context: ContextName, partition: i32, stream: &str, position: i64) -> bool {
        self.last.get(&context).is_some_and(|last| last.has_passed(partition, position))
            && self.parked.get(stream).is_none_or(|from| position < *from)
            && (self.discarded.is_empty() || !self.discarded.contains(&(stream.to_owned(), position)))
    }
}

impl AppliedPositions {
    /// Reads the checkpoints, the parked and the discarded events of a schema.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn read(
        connections: &Connections,
        domain: &Domain,
        snapshot: &Snapshot,
    ) -> Result<Self, Error> {
        let mut applied = Self::default();
        applied.read_checkpoints(connections, domain, snapshot).await?;
        applied.read_parked(snapshot).await?;
        applied.read_discarded(snapshot).await?;
        Ok(applied)
    }

    async fn read_checkpoints(
        &mut self,
        connections: &Connections,
        domain: &Domain,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let owner = &snapshot.owner;
        let sql = format!(
            "SELECT consumer, topic, partition, next_offset, last_position FROM {owner}.checkpoints ORDER BY 1, 2, 3"
        );
        for row in snapshot.query(&sql, &[]).await? {
            let (owner, consumer, topic): (String, String, String) = (owner.clone(), row.get(0), row.get(1));
            let (partition, next_offset, last_position) = (row.get(2), row.get(3), row.get(4));
            let is_known = (0..connections.topic_partitions).contains(&partition);
            let Some(context) = connections.context_of_topic(domain, &topic).filter(|_| is_known) else {
                self.unknown_checkpoints.push(UnknownCheckpoint { owner, consumer, topic, partition });
                continue;
            };
            let last = &mut self.consumers.entry(consumer.clone()).or_default().last;
            last.entry(context).or_default().0.insert(partition, last_position);
            self.checkpoints.push(Checkpoint {
                owner,
                consumer,
                context,
                partition,
                next_offset,
                last_position,
            });
        }
        Ok(())
    }

    async fn read_parked(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let sql = format!(
            "SELECT consumer, stream, min(position), count(*) FROM {}.parked_events GROUP BY consumer, stream",
            snapshot.owner
        );
        for row in snapshot.query(&sql, &[]).await? {
            let (consumer, stream, from): (String, String, Option<i64>) =
                (row.get(0), row.get(1), row.get(2));
            let records = u64::try_from(row.get::<_, i64>(3)).unwrap_or(0);
            self.parked.push(ParkedStream { consumer: consumer.clone(), records });
            if let Some(from) = from {
                self.consumers.entry(consumer).or_default().parked.insert(stream, from);
            }
        }
        Ok(())
    }

    async fn read_discarded(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let sql = format!("SELECT consumer, stream, position FROM {}.discarded_events", snapshot.owner);
        for row in snapshot.query(&sql, &[]).await? {
            let (consumer, stream, position): (String, String, Option<i64>) =
                (row.get(0), row.get(1), row.get(2));
            self.discarded += 1;
            if let Some(position) = position {
                self.consumers.entry(consumer).or_default().discarded.insert((stream, position));
            }
        }
        Ok(())
    }

    /// A consumer without a checkpoint has handled nothing.
    pub fn of(&self, consumer: &str) -> Consumer {
        self.consumers.get(consumer).cloned().unwrap_or_default()
    }

    /// `consumer` with the checkpoints of `reader`, and the parked and discarded events of its own.
    pub fn of_reader(&self, reader: &str, consumer: &str) -> Consumer {
        Consumer { last: self.of(reader).last, ..self.of(consumer) }
    }

    /// The positions of a context that the consumer's checkpoints have passed.
    pub fn passed_by(&self, consumer: &str, context: ContextName) -> Partitions {
        let consumer = self.consumers.get(consumer);
        consumer.and_then(|consumer| consumer.last.get(&context)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TOY;

    #[test]
    fn an_event_is_handled_when_its_partition_has_passed_it_and_it_is_neither_parked_nor_discarded() {
        let a = TOY.contexts[0];
        let mut consumer = Consumer::with([(a, [(3, 7)].into_iter().collect())]);
        consumer.parked.insert("tea-parked".to_owned(), 5);
        consumer.discarded.insert(("tea-1".to_owned(), 6));
        let has_handled = |stream, position| consumer.has_handled(a, 3, stream, position);
        assert!(has_handled("tea-1", 7) && !has_handled("tea-1", 8), "the checkpoint is at 7");
        assert!(has_handled("tea-parked", 4) && !has_handled("tea-parked", 5), "parked from 5 on");
        assert!(!has_handled("tea-1", 6) && has_handled("tea-2", 6), "one event is discarded");
        assert!(!consumer.has_handled(a, 4, "tea-1", 1), "nothing of another partition");
        assert!(!consumer.has_handled(TOY.contexts[1], 3, "tea-1", 1), "nothing of another context");
    }
}
