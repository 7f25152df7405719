//! `progress`: what the read models say of their progress, held against the checkpoints and the logs.
//!
//! A position is applied exactly when the checkpoint of its partition has passed it. The log is read by position, in the
//! order of the ranges of `applied`, so one range is looked at at a time. `seen` must cover what is applied and what applied
//! events of any context depend on, which is known when all logs are read.

use std::collections::BTreeMap;

use crate::Domain;
use crate::read::applied_positions::Partitions;
use crate::read::positions::Positions;
use crate::read::progress::{Progress, RecordedProgress};
use crate::read::record::ExpectedRecord;
use crate::report::{Line, Property, Violation};
use event_log::ContextName;

pub static PROPERTY: Property = Property::new(
    "progress",
    "what the read models say of their progress (the table `progress`): a position is in `applied` exactly when the checkpoint of \
     its partition has passed it; `seen` covers every position that is applied, or that an applied event of any context depends \
     on, and lies within the log",
);

/// Reports rows of contexts that do not exist.
pub fn check_known(progress: &Progress, line: &mut Line) {
    for name in &progress.unknown {
        line.add_violation(Violation::new("progress of an unknown context").at("context", name));
    }
}

/// The progress of one context, event by event of its log.
pub struct ProgressCheck {
    context: ContextName,
    recorded: RecordedProgress,
    /// What the checkpoints of the read models have passed.
    passed: Partitions,
    shown: Shown,
}

/// What applied events are, and depend on: by context the highest position, and the event that names it.
#[derive(Debug, Clone, Default)]
pub struct Shown(BTreeMap<ContextName, (i64, (ContextName, i64))>);

impl ProgressCheck {
    pub fn new(context: ContextName, recorded: RecordedProgress, passed: Partitions) -> Self {
        Self { context, recorded, passed, shown: Shown::default() }
    }

    /// The next event of the log.
    pub fn check(&mut self, ExpectedRecord { event, depends_on, .. }: &ExpectedRecord, line: &mut Line) {
        let ranges = &mut self.recorded.applied;
        while ranges.pop_front_if(|(_, last)| *last < event.position).is_some() {}
        let is_recorded = ranges.front().is_some_and(|(first, _)| *first <= event.position);
        let is_applied = self.passed.has_passed(event.partition, event.position);
        line.count("positions", u64::from(is_applied));
        if is_recorded != is_applied {
            let what = match is_applied {
                true => "a checkpoint has passed a position that is not recorded as applied",
                false => "a position is recorded as applied that no checkpoint has passed",
            };
            line.add_violation(event.violation(what).at("partition", event.partition));
        }
        if is_applied {
            let by = (self.context, event.position);
            self.shown.raise(self.context, event.position, by);
            for (context, position) in depends_on.iter().flat_map(Positions::iter) {
                self.shown.raise(context, position, by);
            }
        }
    }

    /// After the log's last event: no later position may be recorded. Returns what the read models show.
    pub fn finish(self, head: i64, line: &mut Line) -> Shown {
        if let Some((first, last)) = self.recorded.applied.iter().find(|(_, last)| *last > head) {
            let violation = Violation::new("positions are recorded as applied that the log does not have");
            let first = (*first).max(head + 1);
            let given = if *last == i64::MAX { format!("{first} on") } else { format!("{first} to {last}") };
            let violation = violation.in_context(self.context).given(given);
            line.add_violation(violation.wanted(format!("up to {head}")));
        }
        if self.recorded.seen > head {
            let violation = Violation::new("a position is recorded as seen that the log does not have");
            let violation = violation.in_context(self.context).given(self.recorded.seen);
            line.add_violation(violation.wanted(format!("at most {head}")));
        }
        self.shown
    }
}

impl Shown {
    fn raise(&mut self, context: ContextName, position: i64, by: (ContextName, i64)) {
        let highest = self.0.entry(context).or_insert((position, by));
        if position > highest.0 {
            *highest = (position, by);
        }
    }

    /// Adds what another context's events are and depend on.
    pub fn add(&mut self, other: Self) {
        for (context, (position, by)) in other.0 {
            self.raise(context, position, by);
        }
    }

    /// `seen` of each context must cover it.
    pub fn check(&self, domain: &Domain, seen: impl Fn(ContextName) -> i64, line: &mut Line) {
        for context in domain.contexts {
            let Some((position, (of, shown))) = self.0.get(context) else { continue };
            let seen = seen(*context);
            if seen < *position {
                let what = "what is recorded as seen ends before what is shown depends on";
                let violation =
                    Violation::new(what).in_context(*context).at("shown", format!("{of}:{shown}"));
                line.add_violation(violation.given(seen).wanted(format!("at least {position}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::log::tests::event;
    use crate::domain::TOY;
    use crate::read::log::RawEvent;
    use crate::read::positions::tests::positions;

    const HEAD: i64 = 4;
    const A: ContextName = TOY.contexts[0];
    const B: ContextName = TOY.contexts[1];

    /// The event at `position` of the first context's log, alone in the partition of that number. The third event depends on the
    /// ninth of the second context.
    fn record(position: i64) -> ExpectedRecord {
        let partition = i32::try_from(position).expect("a small position");
        let depends_on = positions((position == 3).then_some((B, 9)));
        let event = RawEvent { partition, ..event(position) };
        ExpectedRecord { event, value: Ok(Vec::new()), depends_on: Ok(depends_on) }
    }

    /// What is found when the checkpoints have passed some positions, and these are recorded.
    fn found(passed: &[i64], applied: &[(i64, i64)], seen: [i64; 2]) -> Option<String> {
        let passed = passed.iter().map(|position| (*position as i32, *position)).collect();
        let recorded = RecordedProgress { applied: applied.iter().copied().collect(), seen: seen[0] };
        let (mut check, mut line) = (ProgressCheck::new(A, recorded, passed), Line::default());
        for position in 1..=HEAD {
            check.check(&record(position), &mut line);
        }
        let mut shown = Shown::default();
        shown.add(check.finish(HEAD, &mut line));
        shown.check(&TOY, |context| if context == A { seen[0] } else { seen[1] }, &mut line);
        line.first.map(|violation| violation.to_string())
    }

    #[test]
    fn ranges_have_the_gaps_of_partitions_that_are_behind() {
        assert_eq!(found(&[1, 3, 4], &[(1, 1), (3, 4)], [4, 9]), None);
        assert_eq!(found(&[], &[], [0, 0]), None);
        assert_eq!(found(&[1, 2, 4], &[(1, 2), (4, 4)], [4, 0]), None, "the third is not shown");
    }

    #[test]
    fn a_position_too_many_or_missing_is_named() {
        let first = |passed: &[i64], applied: &[(i64, i64)]| found(passed, applied, [4, 9]);
        let missing = first(&[1, 3, 4], &[(1, 1), (4, 4)]).expect("a violation");
        assert!(missing.starts_with("a checkpoint has passed a position that is not recorded"), "{missing}");
        assert!(missing.contains("position 3"), "{missing}");
        let more = first(&[1, 3, 4], &[(1, 4)]).expect("a violation");
        assert!(
            more.starts_with("a position is recorded as applied that no checkpoint has passed"),
            "{more}"
        );
        assert!(more.contains("position 2"), "{more}");
        let beyond = first(&[1, 2, 3, 4], &[(1, 6)]).expect("a violation");
        let what = format!("that the log does not have at context {A}; given 5 to 6; wanted up to 4");
        assert!(beyond.ends_with(&what), "{beyond}");
    }

    #[test]
    fn what_is_seen_covers_what_is_shown_and_what_that_depends_on() {
        let first = |seen| found(&[1, 2, 3, 4], &[(1, 4)], seen);
        assert_eq!(first([4, 12]), None);
        let less = first([3, 9]).expect("a violation");
        let what = format!("context {A}, shown {A}:4; given 3; wanted at least 4");
        assert!(less.contains(&what), "{less}");
        let less = first([4, 8]).expect("a violation");
        let what = format!("context {B}, shown {A}:3; given 8; wanted at least 9");
        assert!(less.contains(&what), "{less}");
        let more = first([5, 9]).expect("a violation");
        let what = format!("that the log does not have at context {A}; given 5; wanted at most 4");
        assert!(more.contains(&what), "{more}");
    }

    #[test]
    fn progress_of_an_unknown_context_is_named() {
        let (mut line, unknown) = (Line::default(), vec!["tea".to_owned()]);
        check_known(&Progress { unknown, ..Progress::default() }, &mut line);
        let violation = line.first.expect("a violation").to_string();
        assert_eq!(violation, "progress of an unknown context at context tea");
    }
}
