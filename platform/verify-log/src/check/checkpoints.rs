//! `checkpoints`: each checkpoint agrees with the records before it.

use crate::read::applied_positions::{AppliedPositions, Checkpoint, UnknownCheckpoint};
use crate::read::connections::Connections;
use crate::read::topic::Bounds;
use crate::report::{Line, Property, Violation};

pub static PROPERTY: Property = Property::new(
    "checkpoints",
    "each lies within its partition, and its `last_position` is the highest position of the records before its `next_offset`",
);

/// Counts the checkpoints of a schema, and reports those whose topic or partition does not exist.
pub fn check_known(connections: &Connections, consumers: &AppliedPositions, line: &mut Line) {
    let AppliedPositions { checkpoints, unknown_checkpoints, .. } = consumers;
    line.count("checkpoints", (checkpoints.len() + unknown_checkpoints.len()) as u64);
    for UnknownCheckpoint { owner, consumer, topic, partition } in unknown_checkpoints {
        let violation = Violation::new("a checkpoint of an unknown topic or partition").at("schema", owner);
        let violation = violation.at("consumer", consumer).at("topic", topic).at("partition", partition);
        let last = connections.topic_partitions - 1;
        line.add_violation(violation.wanted(format!("{}…, partition 0 to {last}", connections.topic_prefix)));
    }
}

/// One checkpoint. `highest`: the highest position of the records before its `next_offset`; none when the partition's first
/// records are gone.
pub fn check(checkpoint: &Checkpoint, topic: &str, bounds: Bounds, highest: Option<i64>, line: &mut Line) {
    let Checkpoint { owner, consumer, partition, next_offset, last_position, .. } = checkpoint;
    let Bounds { begin, end } = bounds;
    let here = |what: &str| {
        let violation = Violation::new(what).at("schema", owner).at("consumer", consumer);
        let violation = violation.at("topic", topic).at("partition", partition);
        violation.at("next_offset", next_offset).at("last_position", last_position)
    };
    if *next_offset < begin || *next_offset > end {
        let violation = here("a checkpoint outside its partition").given(next_offset);
        line.add_violation(violation.wanted(format!("{begin} to {end}")));
    } else if let Some(highest) = highest
        && highest != *last_position
    {
        let violation = here("a checkpoint that does not agree with the records before it");
        line.add_violation(violation.given(last_position).wanted(highest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TOY;

    fn found(next_offset: i64, last_position: i64, highest: Option<i64>) -> Option<String> {
        let (owner, consumer) = ("tea".to_owned(), "drinker".to_owned());
        let context = TOY.contexts[0];
        let checkpoint = Checkpoint { owner, consumer, context, partition: 3, next_offset, last_position };
        let mut line = Line::default();
        check(&checkpoint, "tea.events", Bounds { begin: 2, end: 9 }, highest, &mut line);
        line.first.map(|violation| violation.to_string())
    }

    #[test]
    fn a_checkpoint_lies_within_its_partition() {
        for outside in [1, 10] {
            let violation = found(outside, 4, Some(4)).expect("a violation");
            assert!(violation.starts_with("a checkpoint outside its partition"), "{violation}");
            assert!(violation.ends_with("wanted 2 to 9"), "{violation}");
        }
    }

    #[test]
    fn a_checkpoint_says_the_highest_position_before_it_where_that_is_known() {
        assert_eq!(found(9, 4, Some(4)), None);
        assert_eq!(found(9, 4, None), None);
        let violation = found(9, 5, Some(4)).expect("a violation");
        assert!(violation.ends_with("given 5; wanted 4"), "{violation}");
    }
}
