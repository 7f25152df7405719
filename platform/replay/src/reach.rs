//! How far a projection's table has come: for each partition, the last position applied.
//!
//! Partitions advance apart, so "the same position" is a position per partition: an event is in the live table when its
//! own partition has come that far, its stream is not parked and nobody has discarded it. All projections share the
//! checkpoints of one reader; what is parked or discarded is the projection's own. Checkpoints and tables move in one
//! transaction, so a snapshot that reads both sees them agree. Never: a guess from the head of the log. Read next: [`crate::log`].

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::Transaction;
use events::{Context, Position, StreamId, TOPIC_PARTITIONS, partition_of};
use query_side::READ_MODEL;
use query_side::engine::{Projector, READER, consumer_name};

/// The last position applied in each partition of one context.
pub type Partitions = [Position; TOPIC_PARTITIONS as usize];

/// What a projection's table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    contexts: BTreeMap<Context, Partitions>,
    /// Parked streams, and from which position on their events wait.
    parked: HashMap<StreamId, Position>,
    /// Events that a person gave up: live is without them for good.
    discarded: HashSet<(StreamId, Position)>,
}

impl Reach {
    /// Nothing yet.
    pub fn none(contexts: &[Context]) -> Self {
        let contexts = contexts.iter().map(|context| (*context, Partitions::default())).collect();
        Self { contexts, parked: HashMap::new(), discarded: HashSet::new() }
    }

    /// As of the transaction's snapshot.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_live(
        transaction: &Transaction<'_>,
        projector: &dyn Projector,
    ) -> Result<Self, tokio_postgres::Error> {
        let mut reach = Self::none(projector.contexts());
        let consumer = consumer_name(projector.name());
        let checkpoints = format!(
            "SELECT topic, partition, last_position FROM {READ_MODEL}.checkpoints WHERE consumer = $1"
        );
        for row in transaction.query(&checkpoints, &[&READER]).await? {
            let topic: &str = row.try_get(0)?;
            // The topic's name may have a prefix; those that the projection does not hear are nothing to it.
            let heard = projector.contexts().iter().find(|context| topic.ends_with(context.topic()));
            if let Some(context) = heard {
                reach.come_to(*context, row.try_get(1)?, row.try_get(2)?);
            }
        }
        let parked = format!(
            "SELECT stream, min(position) FROM {READ_MODEL}.parked_events
             WHERE consumer = $1 AND position IS NOT NULL GROUP BY stream"
        );
        for row in transaction.query(&parked, &[&consumer]).await? {
            reach.park(StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?);
        }
        let discarded = format!(
            "SELECT stream, position FROM {READ_MODEL}.discarded_events
             WHERE consumer = $1 AND position IS NOT NULL"
        );
        for row in transaction.query(&discarded, &[&consumer]).await? {
            reach.discarded.insert((StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?));
        }
        Ok(reach)
    }

    /// In one partition.
    pub fn come_to(&mut self, context: Context, partition: i32, position: Position) {
        let partitions = self.contexts.get_mut(&context).zip(usize::try_from(partition).ok());
        if let Some(reached) = partitions.and_then(|(partitions, index)| partitions.get_mut(index)) {
            *reached = position;
        }
    }

    /// The events of the stream wait from this position on.
    pub fn park(&mut self, stream: StreamId, from: Position) {
        self.parked.insert(stream, from);
    }

    /// The last position applied in each partition.
    pub fn partitions(&self) -> impl Iterator<Item = (Context, i32, Position)> {
        self.contexts.iter().flat_map(|(context, partitions)| {
            (0..).zip(*partitions).map(|(partition, position)| (*context, partition, position))
        })
    }

    /// The streams whose events wait, and from which position on.
    pub fn parked(&self) -> impl Iterator<Item = (&StreamId, Position)> {
        self.parked.iter().map(|(stream, from)| (stream, *from))
    }

    /// Up to here no event of the context is missing, but those that wait or were discarded.
    pub fn first(&self, context: Context) -> Position {
        self.contexts.get(&context).and_then(|partitions| partitions.iter().min()).copied().unwrap_or(0)
    }

    /// The last position of the context that anything was applied of.
    pub fn last(&self, context: Context) -> Position {
        self.contexts.get(&context).and_then(|partitions| partitions.iter().max()).copied().unwrap_or(0)
    }

    /// Whether the event's partition has come this far.
    pub fn includes(&self, context: Context, stream: &StreamId, position: Position) -> bool {
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS) as usize;
        self.contexts.get(&context).is_some_and(|partitions| position <= partitions[partition])
    }

    /// Whether the event is in the table.
    pub fn has_applied(&self, context: Context, stream: &StreamId, position: Position) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(parked: &[(&str, Position)], discarded: &[(&str, Position)]) -> Reach {
        let stream = |name: &str| StreamId::from(name.to_owned());
        Reach {
            contexts: BTreeMap::from([(Context::Orders, [9; TOPIC_PARTITIONS as usize])]),
            parked: parked.iter().map(|(name, from)| (stream(name), *from)).collect(),
            discarded: discarded.iter().map(|(name, at)| (stream(name), *at)).collect(),
        }
    }

    #[test]
    fn what_is_parked_or_discarded_or_ahead_is_not_in_the_table() {
        let (live, a) = (reach(&[("a", 4)], &[("b", 2)]), StreamId::from("a".to_owned()));
        let b = StreamId::from("b".to_owned());
        let applied = |stream, position| live.has_applied(Context::Orders, stream, position);
        assert_eq!([3, 4, 9].map(|position| applied(&a, position)), [true, false, false]);
        assert_eq!([1, 2, 9, 10].map(|position| applied(&b, position)), [true, false, true, false]);
    }

    #[test]
    fn a_stream_that_is_retried_or_discarded_meanwhile_is_read_again_from_where_it_waited() {
        let before = reach(&[("a", 4), ("b", 2)], &[]);
        assert_eq!(reach(&[("a", 4), ("b", 2)], &[]).first_freed_since(&before), None);
        assert_eq!(reach(&[("a", 7), ("b", 2)], &[("a", 4)]).first_freed_since(&before), Some(4));
        assert_eq!(reach(&[], &[]).first_freed_since(&before), Some(2));
        assert_eq!(before.first_freed_since(&reach(&[], &[])), None);
    }
}
