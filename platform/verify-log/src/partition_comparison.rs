//! One partition beside its log: its next first occurrence, and the checkpoints that are still ahead.
//!
//! A record is a repetition when its position is not above all before it, as consumers decide it. So two swapped records show
//! as one that is missing in its place.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::Error;
use crate::check::topics::{Place, RepeatedRecord};
use crate::check::{checkpoints, foreign_records, topics};
use crate::read::applied_positions::Checkpoint;
use crate::read::record::ExpectedRecord;
use crate::read::topic::{Bounds, Record};
use crate::report::Report;

/// Reads the next record of a partition; none at its end.
pub type ReadRecord = Box<dyn FnMut() -> Result<Option<Record>, Error>>;

pub struct PartitionComparison {
    place: Place,
    bounds: Bounds,
    read: ReadRecord,
    /// By `next_offset`. Those before the next record are checked already.
    checkpoints: VecDeque<Checkpoint>,
    /// The highest position so far, which a checkpoint here must have. None when the partition's first records are gone.
    highest: Option<i64>,
    /// The next first occurrence, and its position.
    next: Option<(Record, i64)>,
    repeated: mpsc::Sender<RepeatedRecord>,
}

impl PartitionComparison {
    pub fn new(
        place: Place,
        bounds: Bounds,
        read: ReadRecord,
        mut checkpoints: Vec<Checkpoint>,
        repeated: mpsc::Sender<RepeatedRecord>,
    ) -> Self {
        checkpoints.sort_by_key(|checkpoint| checkpoint.next_offset);
        let highest = (bounds.begin == 0).then_some(0);
        Self { place, bounds, read, checkpoints: checkpoints.into(), highest, next: None, repeated }
    }

    /// The next first occurrence, once [`Self::find`] has looked.
    pub fn next(&self) -> Option<&Record> {
        self.next.as_ref().map(|(record, _)| record)
    }

    /// Whether the next first occurrence is this event's; then it is checked. Records before it that are no event of this
    /// partition are reported.
    ///
    /// # Errors
    /// [`Error`] when Kafka fails.
    pub fn find(&mut self, expected: &ExpectedRecord, report: &mut Report) -> Result<bool, Error> {
        let wanted = expected.event.position;
        loop {
            self.read_next(Some(expected), report)?;
            let Some((record, position)) = self.next.take_if(|(_, position)| *position <= wanted) else {
                return Ok(false);
            };
            let violation = match position == wanted {
                true => topics::check_record(expected, &self.place, &record),
                // Every event of this partition before this one was found before.
                false => Some(topics::misplaced(&self.place, &record, position)),
            };
            let line = report.line(&topics::PROPERTY);
            violation.into_iter().for_each(|violation| line.add_violation(violation));
            if position == wanted {
                return Ok(true);
            }
        }
    }

    /// After the log's last event: no record may be left.
    ///
    /// # Errors
    /// [`Error`] when Kafka fails.
    pub fn finish(&mut self, head: i64, report: &mut Report) -> Result<(), Error> {
        loop {
            self.read_next(None, report)?;
            let Some((record, position)) = self.next.take() else { break };
            let violation = topics::left_over(&self.place, &record, position, head);
            report.line(&topics::PROPERTY).add_violation(violation);
        }
        self.check_checkpoints(i64::MAX, report);
        Ok(())
    }

    /// Reads up to the next first occurrence. It is most likely that of `expected`, and is then recognised by its bytes.
    fn read_next(&mut self, expected: Option<&ExpectedRecord>, report: &mut Report) -> Result<(), Error> {
        while self.next.is_none() {
            let Some(record) = (self.read)()? else { break };
            self.check_checkpoints(record.offset, report);
            report.line(&topics::PROPERTY).count("records", 1);
            let expected = expected.filter(|expected| expected.has_value(&record.value));
            let position = match expected {
                Some(expected) => Ok(expected.event.position),
                None => foreign_records::check(&self.place, &record),
            };
            match position {
                Err(foreign) => report.line(&foreign_records::PROPERTY).add_violation(foreign),
                Ok(position) if self.highest.is_some_and(|highest| position <= highest) => {
                    report.line(&topics::PROPERTY).count("repeated", 1);
                    let repeated = RepeatedRecord { place: self.place.clone(), position, record };
                    // The receiver is gone when it has failed; it reports why.
                    let _ = self.repeated.blocking_send(repeated);
                }
                Ok(position) => {
                    self.highest = Some(position);
                    self.next = Some((record, position));
                }
            }
        }
        Ok(())
    }

    /// Checks the checkpoints up to `offset`: every record before it was read.
    fn check_checkpoints(&mut self, offset: i64, report: &mut Report) {
        let is_due = |checkpoint: &mut Checkpoint| checkpoint.next_offset <= offset;
        while let Some(checkpoint) = self.checkpoints.pop_front_if(is_due) {
            let line = report.line(&checkpoints::PROPERTY);
            checkpoints::check(&checkpoint, &self.place.topic, self.bounds, self.highest, line);
        }
    }
}
