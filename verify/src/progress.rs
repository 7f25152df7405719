//! What the read models say of how far they have come, held against the checkpoints and the logs.
//!
//! A position is applied exactly when the checkpoint of its partition has passed it, and the log is read in the order of
//! `applied`: so one range at a time is looked at. `seen` has to cover what is applied, and what applied events depend on in
//! any context: that is known when all logs are read. Never: a set of positions. Read next: `travel.rs`.

use std::collections::VecDeque;

use events::Context;

use crate::Error;
use crate::database::Snapshot;
use crate::depends::Positions;
use crate::engines::index;
use crate::log::Published;
use crate::reach::Partitions;
use crate::report::{Line, Offence, Property, Report};

/// One context's row, to be held against its log.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// First and last position of each range, in order.
    applied: VecDeque<(i64, i64)>,
    seen: i64,
}

/// All rows, in the order of [`Context::ALL`]; where there is none, nothing is applied.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn read(read_model: &Snapshot, report: &mut Report) -> Result<[Claimed; 4], Error> {
    let sql = format!(
        "SELECT context, seen, lower(r), coalesce(upper(r) - 1, {}) FROM {}.progress LEFT JOIN unnest(applied) r ON true
          ORDER BY 1, 3",
        i64::MAX,
        read_model.owner
    );
    let mut claimed = <[Claimed; 4]>::default();
    let line = report.line(Property::Progress);
    for row in read_model.query(&sql, &[]).await? {
        let name: String = row.get(0);
        let Ok(context) = name.parse::<Context>() else {
            line.offend(Offence::new("progress in no context of ours").at("context", name));
            continue;
        };
        let claimed = &mut claimed[index(context)];
        claimed.seen = row.get(1);
        let first: Option<i64> = row.get(2);
        claimed.applied.extend(first.map(|first| (first, row.get(3))));
    }
    Ok(claimed)
}

/// One context on the way through its log.
pub struct Applied {
    context: Context,
    claimed: Claimed,
    /// The read models' checkpoints.
    reached: Partitions,
    shown: Shown,
}

/// What applied events are, and depend on: by context the highest position, and the event that names it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown([(i64, Option<(Context, i64)>); 4]);

impl Applied {
    pub fn new(context: Context, claimed: Claimed, reached: Partitions) -> Self {
        Self { context, claimed, reached, shown: Shown::default() }
    }

    /// The next event of the log.
    pub fn hold(&mut self, Published { event, depends_on, .. }: &Published, line: &mut Line) {
        while self.claimed.applied.pop_front_if(|(_, last)| *last < event.position).is_some() {}
        let is_claimed = self.claimed.applied.front().is_some_and(|(first, _)| *first <= event.position);
        let is_applied = event.position <= self.reached[event.partition() as usize];
        line.count("positions", u64::from(is_applied));
        if is_claimed != is_applied {
            let what = match is_applied {
                true => "a checkpoint has passed a position that is not told as applied",
                false => "a position is told as applied that no checkpoint has passed",
            };
            let offence = event.accuse(self.context, Offence::new(what));
            line.offend(offence.at("partition", event.partition()));
        }
        if is_applied {
            let by = (self.context, event.position);
            self.shown.raise(self.context, event.position, by);
            for (context, position) in Context::ALL.into_iter().zip(depends_on.iter().flatten()) {
                self.shown.raise(context, *position, by);
            }
        }
    }

    /// After the log's last event: nothing more may be told. Returns what was shown.
    pub fn finish(self, head: i64, line: &mut Line) -> Shown {
        if let Some((first, last)) = self.claimed.applied.iter().find(|(_, last)| *last > head) {
            let offence = Offence::new("positions are told as applied that the log does not have");
            let first = (*first).max(head + 1);
            let given = if *last == i64::MAX { format!("{first} on") } else { format!("{first} to {last}") };
            line.offend(offence.in_context(self.context).given(given).wanted(format!("up to {head}")));
        }
        if self.claimed.seen > head {
            let offence = Offence::new("a position is told as seen that the log does not have");
            let offence = offence.in_context(self.context).given(self.claimed.seen);
            line.offend(offence.wanted(format!("at most {head}")));
        }
        self.shown
    }
}

impl Shown {
    fn raise(&mut self, context: Context, position: i64, by: (Context, i64)) {
        let highest = &mut self.0[index(context)];
        if position > highest.0 {
            *highest = (position, Some(by));
        }
    }

    /// What another context's events are and depend on.
    pub fn add(&mut self, other: Self) {
        for (context, (position, by)) in Context::ALL.into_iter().zip(other.0) {
            by.into_iter().for_each(|by| self.raise(context, position, by));
        }
    }

    /// `seen` has to cover it: what each context's row says, in the order of [`Context::ALL`].
    pub fn hold(&self, seen: &Positions, line: &mut Line) {
        for ((context, seen), (position, by)) in Context::ALL.into_iter().zip(seen).zip(self.0) {
            if let Some((of, shown)) = by.filter(|_| *seen < position) {
                let offence = Offence::new("what is told as seen ends before what is shown depends on");
                let offence = offence.in_context(context).at("shown", format!("{of}:{shown}"));
                line.offend(offence.given(seen).wanted(format!("at least {position}")));
            }
        }
    }
}

impl Claimed {
    pub fn seen(&self) -> i64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::{TOPIC_PARTITIONS, partition_of};
    use uuid::Uuid;

    use super::*;
    use crate::log::Event;

    const HEAD: i64 = 4;

    /// The event at `position` of the orders' log, alone in the partition of that number.
    fn published(position: i64, depends_on: Positions) -> Published {
        let is_its = |stream: &String| i64::from(partition_of(stream, TOPIC_PARTITIONS)) == position;
        let stream =
            (0..).map(|number| format!("order-{number}")).find(is_its).expect("some name falls there");
        let event = Event {
            position,
            stream,
            version: 1,
            event_id: Uuid::nil(),
            event_type: "OrderDelivered".to_owned(),
            schema_version: 1,
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        Published { event, wire: Ok(Vec::new()), depends_on: Ok(depends_on) }
    }

    /// What is found where the checkpoints have passed some positions, and these are told. The third event depends on the
    /// ninth of the inventory.
    fn found(passed: &[i64], applied: &[(i64, i64)], seen: Positions) -> Option<String> {
        let mut reached = Partitions::default();
        passed.iter().for_each(|position| reached[*position as usize] = *position);
        let claimed = Claimed { applied: applied.iter().copied().collect(), seen: seen[0] };
        let (mut of_orders, mut line) = (Applied::new(Context::Orders, claimed, reached), Line::default());
        for position in 1..=HEAD {
            of_orders.hold(&published(position, [0, if position == 3 { 9 } else { 0 }, 0, 0]), &mut line);
        }
        let mut shown = Shown::default();
        shown.add(of_orders.finish(HEAD, &mut line));
        shown.hold(&seen, &mut line);
        line.first.map(|offence| offence.to_string())
    }

    #[test]
    fn ranges_have_the_gaps_of_partitions_that_are_behind() {
        assert_eq!(found(&[1, 3, 4], &[(1, 1), (3, 4)], [4, 9, 0, 0]), None);
        assert_eq!(found(&[], &[], [0, 0, 0, 0]), None);
        assert_eq!(found(&[1, 2, 4], &[(1, 2), (4, 4)], [4, 0, 0, 0]), None, "the third is not shown");
    }

    #[test]
    fn a_position_too_many_or_missing_is_named() {
        let first = |passed: &[i64], applied: &[(i64, i64)]| found(passed, applied, [4, 9, 0, 0]);
        let missing = first(&[1, 3, 4], &[(1, 1), (4, 4)]).expect("an offence");
        assert!(missing.starts_with("a checkpoint has passed a position that is not told"), "{missing}");
        assert!(missing.contains("position 3"), "{missing}");
        let more = first(&[1, 3, 4], &[(1, 4)]).expect("an offence");
        assert!(more.starts_with("a position is told as applied that no checkpoint has passed"), "{more}");
        assert!(more.contains("position 2"), "{more}");
        let beyond = first(&[1, 2, 3, 4], &[(1, 6)]).expect("an offence");
        assert!(
            beyond.ends_with("that the log does not have at context orders; given 5 to 6; wanted up to 4")
        );
    }

    #[test]
    fn what_is_seen_covers_what_is_shown_and_what_that_depends_on() {
        let first = |seen| found(&[1, 2, 3, 4], &[(1, 4)], seen);
        assert_eq!(first([4, 12, 0, 0]), None);
        let less = first([3, 9, 0, 0]).expect("an offence");
        assert!(less.contains("context orders, shown orders:4; given 3; wanted at least 4"), "{less}");
        let less = first([4, 8, 0, 0]).expect("an offence");
        assert!(less.contains("context inventory, shown orders:3; given 8; wanted at least 9"), "{less}");
        let more = first([5, 9, 0, 0]).expect("an offence");
        assert!(
            more.contains("that the log does not have at context orders; given 5; wanted at most 4"),
            "{more}"
        );
    }
}
