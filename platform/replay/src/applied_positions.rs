//! The positions that a projection's table has applied: in each partition, the last one.
//!
//! Partitions advance apart, so "the same position" is a position per partition: an event is in the live table when its own
//! partition has come that far, its stream is not parked and nobody has discarded it. All projections share the checkpoints of one
//! reader; what is parked or discarded is the projection's own. Checkpoints and tables move in one transaction, so a snapshot that
//! reads both sees them agree.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::Transaction;
use event_log::{ContextName, EventSet, Position, StreamId, TOPIC_PARTITIONS, partition_of};
use projections::{ProjectionSet, Projector};

use crate::Error;

/// The last position applied in each partition of one context.
type Partitions = [Position; TOPIC_PARTITIONS as usize];

/// What a projection's table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPositions {
    contexts: BTreeMap<ContextName, Partitions>,
    /// Parked streams, and from which position on their events wait.
    parked: HashMap<StreamId, Position>,
    /// Events that a person gave up: live is without them for good.
    discarded: HashSet<(StreamId, Position)>,
}

impl AppliedPositions {
    /// Nothing yet.
    pub fn none(contexts: &[ContextName]) -> Self {
        let contexts = contexts.iter().map(|context| (*context, Partitions::default())).collect();
        Self { contexts, parked: HashMap::new(), discarded: HashSet::new() }
    }

    /// Those of the live table, as of the transaction's snapshot.
    ///
    /// # Errors
    /// The database's; [`Error::OtherTopics`].
    pub async fn of_live<E: EventSet>(
        transaction: &Transaction<'_>,
        set: &ProjectionSet<E>,
        topic_prefix: &str,
        projector: &dyn Projector<E>,
    ) -> Result<Self, Error> {
        let schema = set.schema;
        let mut applied = Self::none(projector.contexts());
        let checkpoints =
            format!("SELECT topic, partition, last_position FROM {schema}.checkpoints WHERE consumer = $1");
        let rows = transaction.query(&checkpoints, &[&set.consumer]).await?;
        let mut is_ours = false;
        for row in &rows {
            // The topic of a context that the projection does not read is ignored.
            if let Some(context) = context_of(row.try_get(0)?, topic_prefix) {
                is_ours |= set.contexts.contains(&context);
                applied.set(context, row.try_get(1)?, row.try_get(2)?);
            }
        }
        if let Some(row) = rows.first()
            && !is_ours
        {
            return Err(Error::OtherTopics { topic: row.try_get(0)?, prefix: topic_prefix.to_owned() });
        }
        let consumer = set.parked_consumer(projector.name());
        let parked = format!(
            "SELECT stream, min(position) FROM {schema}.parked_events
             WHERE consumer = $1 AND position IS NOT NULL GROUP BY stream"
        );
        for row in transaction.query(&parked, &[&consumer]).await? {
            applied.park(StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?);
        }
        let discarded = format!(
            "SELECT stream, position FROM {schema}.discarded_events
             WHERE consumer = $1 AND position IS NOT NULL"
        );
        for row in transaction.query(&discarded, &[&consumer]).await? {
            applied.discarded.insert((StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?));
        }
        Ok(applied)
    }

    /// In one partition.
    pub fn set(&mut self, context: ContextName, partition: i32, position: Position) {
        let partitions = self.contexts.get_mut(&context).zip(usize::try_from(partition).ok());
        if let Some(last) = partitions.and_then(|(partitions, index)| partitions.get_mut(index)) {
            *last = position;
        }
    }

    /// The events of the stream wait from this position on.
    pub fn park(&mut self, stream: StreamId, from: Position) {
        self.parked.insert(stream, from);
    }

    /// The last position applied in each partition.
    pub fn partitions(&self) -> impl Iterator<Item = (ContextName, i32, Position)> {
        self.contexts.iter().flat_map(|(context, partitions)| {
            (0..).zip(*partitions).map(|(partition, position)| (*context, partition, position))
        })
    }

    /// The streams whose events wait, and from which position on.
    pub fn parked(&self) -> impl Iterator<Item = (&StreamId, Position)> {
        self.parked.iter().map(|(stream, from)| (stream, *from))
    }

    /// Up to here no event of the context is missing, but those that wait or were discarded.
    pub fn first(&self, context: ContextName) -> Position {
        self.contexts.get(&context).and_then(|partitions| partitions.iter().min()).copied().unwrap_or(0)
    }

    /// The last position of the context that anything was applied of.
    pub fn last(&self, context: ContextName) -> Position {
        self.contexts.get(&context).and_then(|partitions| partitions.iter().max()).copied().unwrap_or(0)
    }

    /// Whether the event's partition has come this far.
    pub fn includes(&self, context: ContextName, stream: &StreamId, position: Position) -> bool {
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS) as usize;
        self.contexts.get(&context).is_some_and(|partitions| position <= partitions[partition])
    }

    /// Whether the event is in the table.
    pub fn has_applied(&self, context: ContextName, stream: &StreamId, position: Position) -> bool {
        self.includes(context, stream, position)
            && self.parked.get(stream).is_none_or(|from| position < *from)
            && !self.discarded.contains(&(stream.clone(), position))
    }

    /// The first event that waited at `earlier` and does not wait any more.
    pub fn first_freed_since(&self, earlier: &Self) -> Option<Position> {
        let still_waits = |stream, from| self.parked.get(stream).is_some_and(|now| *now <= from);
        let freed = earlier.parked.iter().filter(|(stream, from)| !still_waits(*stream, **from));
        freed.map(|(_, from)| *from).min()
    }
}

/// The context whose topic this is.
fn context_of(topic: &str, topic_prefix: &str) -> Option<ContextName> {
    ContextName::from_topic(topic.strip_prefix(topic_prefix)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KITCHEN: ContextName = ContextName::new("kitchen");

    fn positions(parked: &[(&str, Position)], discarded: &[(&str, Position)]) -> AppliedPositions {
        let stream = |name: &str| StreamId::from(name.to_owned());
        AppliedPositions {
            contexts: BTreeMap::from([(KITCHEN, [9; TOPIC_PARTITIONS as usize])]),
            parked: parked.iter().map(|(name, from)| (stream(name), *from)).collect(),
            discarded: discarded.iter().map(|(name, at)| (stream(name), *at)).collect(),
        }
    }

    #[test]
    fn what_is_parked_or_discarded_or_ahead_is_not_in_the_table() {
        let (live, a) = (positions(&[("a", 4)], &[("b", 2)]), StreamId::from("a".to_owned()));
        let b = StreamId::from("b".to_owned());
        let applied = |stream, position| live.has_applied(KITCHEN, stream, position);
        assert_eq!([3, 4, 9].map(|position| applied(&a, position)), [true, false, false]);
        assert_eq!([1, 2, 9, 10].map(|position| applied(&b, position)), [true, false, true, false]);
    }

    #[test]
    fn a_stream_that_is_retried_or_discarded_meanwhile_is_read_again_from_where_it_waited() {
        let before = positions(&[("a", 4), ("b", 2)], &[]);
        assert_eq!(positions(&[("a", 4), ("b", 2)], &[]).first_freed_since(&before), None);
        assert_eq!(positions(&[("a", 7), ("b", 2)], &[("a", 4)]).first_freed_since(&before), Some(4));
        assert_eq!(positions(&[], &[]).first_freed_since(&before), Some(2));
        assert_eq!(before.first_freed_since(&positions(&[], &[])), None);
    }

    #[test]
    fn topics_are_told_apart_by_their_whole_names() {
        assert_eq!(context_of("kitchen.events", ""), Some(KITCHEN));
        assert_eq!(context_of("test-kitchen.events", "test-"), Some(KITCHEN));
        assert_eq!(context_of("fieldkitchen.events", ""), Some(ContextName::new("fieldkitchen")));
        for (topic, prefix) in
            [("test-kitchen.events", ""), ("kitchen.events", "test-"), ("kitchen.commands", "")]
        {
            assert_eq!(context_of(topic, prefix), None, "{topic} after {prefix:?}");
        }
    }
}
