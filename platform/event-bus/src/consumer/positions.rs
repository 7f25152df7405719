//! The offset that a reader must get next in each partition, and where in a partition a reader of several handlers
//! starts.
//!
//! PURE: no Kafka, no clock.

use std::collections::HashMap;
use std::sync::Arc;

/// A partition of a topic.
pub(super) type Partition = (Arc<str>, i32);

/// A handler that is at most this many records behind the others shares their reader, and the others drop what they
/// already have. A handler that is further behind reads alone until it has caught up.
pub(super) const NEAR_RECORDS_MAX: i64 = 1_000;

/// How an arrived offset compares with the expected one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Next,
    /// It is before the expected one, or the partition is not read any more.
    Old,
    /// Records are missing before it: read again from `next_offset`. If the same gap appears again, it is in the topic
    /// (compaction, an aborted transaction), and the record is the next one.
    Gap {
        next_offset: i64,
    },
}

struct Position {
    next_offset: i64,
    /// The offset of the record after a gap, if one was seen.
    gap_to: Option<i64>,
}

/// The partitions that are read, with the offset that Kafka must return next.
#[derive(Default)]
pub(super) struct Positions {
    partitions: HashMap<Partition, Position>,
}

impl Positions {
    pub fn set(&mut self, partition: Partition, next_offset: i64) {
        self.partitions.insert(partition, Position { next_offset, gap_to: None });
    }

    pub fn remove(&mut self, partition: &Partition) {
        self.partitions.remove(partition);
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub fn next_offset(&self, partition: &Partition) -> Option<i64> {
        self.partitions.get(partition).map(|position| position.next_offset)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.partitions.iter().map(|(partition, position)| (partition, position.next_offset))
    }

    /// Compares an arrived offset with the expected one, and moves on if it is that one.
    pub fn arrived(&mut self, partition: &Partition, offset: i64) -> Arrival {
        let Some(position) = self.partitions.get_mut(partition) else { return Arrival::Old };
        if offset < position.next_offset {
            return Arrival::Old;
        }
        if offset > position.next_offset && position.gap_to != Some(offset) {
            position.gap_to = Some(offset);
            return Arrival::Gap { next_offset: position.next_offset };
        }
        *position = Position { next_offset: offset + 1, gap_to: None };
        Arrival::Next
    }
}

/// Where a reader starts for handlers with these next offsets; none if there are none.
pub(super) fn start_of(next_offsets: &[i64]) -> Option<i64> {
    let nearest = next_offsets.iter().max()? - NEAR_RECORDS_MAX;
    next_offsets.iter().copied().filter(|offset| *offset >= nearest).min()
}

/// Where a reader at `reader` must move for handlers with these next offsets: if it has passed all of them, or is far
/// before all of them. Otherwise it stays, and handlers behind it catch up by themselves.
pub(super) fn jump(reader: i64, next_offsets: &[i64]) -> Option<i64> {
    let (first, last) = (*next_offsets.iter().min()?, *next_offsets.iter().max()?);
    let passed_all = last < reader;
    let far_before_all = first > reader + NEAR_RECORDS_MAX;
    if passed_all || far_before_all { start_of(next_offsets) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        (Arc::from("inventory.events"), 0)
    }

    #[test]
    fn a_record_before_the_next_one_or_of_a_foreign_partition_is_old() {
        let mut positions = Positions::default();
        positions.set(partition(), 5);
        assert_eq!(positions.arrived(&partition(), 4), Arrival::Old);
        assert_eq!(positions.arrived(&(partition().0, 1), 9), Arrival::Old);
        assert_eq!(positions.arrived(&partition(), 5), Arrival::Next);
        assert_eq!(positions.next_offset(&partition()), Some(6));
    }

    #[test]
    fn a_gap_is_accepted_only_when_it_is_seen_twice() {
        let mut positions = Positions::default();
        positions.set(partition(), 0);
        assert_eq!(positions.arrived(&partition(), 3), Arrival::Gap { next_offset: 0 });
        assert_eq!(positions.arrived(&partition(), 4), Arrival::Gap { next_offset: 0 }, "still the old read");
        assert_eq!(
            positions.arrived(&partition(), 4),
            Arrival::Next,
            "read again, and the gap is still there"
        );
    }

    #[test]
    fn a_reader_starts_at_the_last_of_the_offsets_that_are_near_the_highest() {
        assert_eq!(start_of(&[]), None);
        assert_eq!(start_of(&[7]), Some(7));
        assert_eq!(start_of(&[5_000, 4_500, 4_000, 3_999]), Some(4_000));
    }

    #[test]
    fn a_reader_stays_as_long_as_any_handler_follows_it() {
        assert_eq!(jump(100, &[100, 3]), None);
        assert_eq!(jump(100, &[150, 130]), None, "they drop the few records that they already have");
    }

    #[test]
    fn a_reader_moves_to_its_handlers_if_it_has_passed_all_of_them_or_is_far_before_them() {
        assert_eq!(jump(100, &[90, 80]), Some(80));
        assert_eq!(jump(5_000, &[4_900, 80]), Some(4_900));
        assert_eq!(jump(100, &[9_000, 1_101]), Some(9_000));
    }
}
