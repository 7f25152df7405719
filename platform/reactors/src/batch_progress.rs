//! Which checkpoints a part of a batch moves: a batch that makes too many events is committed in several parts, each
//! with the moves of its own records.

use std::collections::BTreeMap;

use event_bus::Batch;
use event_store::CheckpointMove;

/// The offset of each partition of the batch after the parts committed so far.
#[derive(Debug, Clone)]
pub(crate) struct BatchProgress {
    offsets: BTreeMap<(String, i32), i64>,
}

impl BatchProgress {
    pub(crate) fn start_of(batch: &Batch) -> Self {
        let start =
            |step: &event_bus::CheckpointMove| ((step.topic.clone(), step.partition), step.from_offset);
        Self { offsets: batch.moves.iter().map(start).collect() }
    }

    /// The moves of the part that ends before record `end`; none when a part cannot end there, because all records of a
    /// partition in it are unreadable, so that its last position is unknown.
    pub(crate) fn moves_up_to(&self, batch: &Batch, start: usize, end: usize) -> Option<Vec<CheckpointMove>> {
        let is_last_part = end == batch.records.len();
        let mut moves = Vec::new();
        for step in &batch.moves {
            let from_offset = self.offsets[&(step.topic.clone(), step.partition)];
            let (to_offset, last_position) = if is_last_part {
                (step.to_offset, step.last_position)
            } else {
                let ours = || {
                    let part = batch.records[start..end].iter();
                    part.filter(|record| *record.topic == step.topic && record.partition == step.partition)
                };
                let Some(last) = ours().next_back() else { continue };
                (last.offset + 1, ours().filter_map(|record| record.position).max()?)
            };
            if to_offset == from_offset {
                continue;
            }
            moves.push(CheckpointMove {
                consumer: step.consumer.clone(),
                topic: step.topic.clone(),
                partition: step.partition,
                from_offset,
                to_offset,
                last_position,
            });
        }
        Some(moves)
    }

    pub(crate) fn advance(&mut self, moves: &[CheckpointMove]) {
        for step in moves {
            self.offsets.insert((step.topic.clone(), step.partition), step.to_offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event_bus::Record;
    use event_log::ContextName;

    use super::*;

    fn record(partition: i32, offset: i64, position: Option<i64>) -> Arc<Record> {
        let topic = Arc::from("garden.events");
        let mut record =
            Record::read(ContextName::new("garden"), topic, (partition, offset), Vec::new(), Vec::new());
        record.position = position;
        Arc::new(record)
    }

    fn step(
        partition: i32,
        from_offset: i64,
        to_offset: i64,
        last_position: i64,
    ) -> event_bus::CheckpointMove {
        event_bus::CheckpointMove {
            consumer: "sagas.kitchen".into(),
            topic: "garden.events".into(),
            partition,
            from_offset,
            to_offset,
            last_position,
        }
    }

    fn short(moves: &[CheckpointMove]) -> Vec<(i32, i64, i64, i64)> {
        moves
            .iter()
            .map(|step| (step.partition, step.from_offset, step.to_offset, step.last_position))
            .collect()
    }

    #[test]
    fn parts_of_a_batch_move_each_partition_step_by_step_to_where_the_batch_ends() {
        let records = vec![
            record(0, 10, Some(1)),
            record(1, 20, Some(2)),
            record(0, 11, Some(3)),
            record(0, 13, Some(5)),
        ];
        let batch = Batch { records, moves: vec![step(0, 10, 15, 6), step(1, 19, 21, 2), step(2, 4, 6, 4)] };
        let mut progress = BatchProgress::start_of(&batch);
        let first = progress.moves_up_to(&batch, 0, 3).expect("every position is known");
        assert_eq!(short(&first), [(0, 10, 12, 3), (1, 19, 21, 2)]);
        progress.advance(&first);
        let second = progress.moves_up_to(&batch, 3, 4).expect("the last part ends where the batch does");
        assert_eq!(short(&second), [(0, 12, 15, 6), (2, 4, 6, 4)]);
    }

    #[test]
    fn a_part_does_not_end_where_the_last_position_is_unknown() {
        let batch = Batch {
            records: vec![record(0, 10, None), record(0, 11, Some(7))],
            moves: vec![step(0, 10, 12, 7)],
        };
        let progress = BatchProgress::start_of(&batch);
        assert_eq!(progress.moves_up_to(&batch, 0, 1), None);
        let whole = progress.moves_up_to(&batch, 0, 2).expect("the whole batch");
        assert_eq!(short(&whole), [(0, 10, 12, 7)]);
    }
}
