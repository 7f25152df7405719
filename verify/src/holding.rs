//! One partition, where the comparison stands in it: its next first occurrence, and the checkpoints that lie ahead.
//!
//! Never: a record passed unread. A record is a repetition when its position is not above all before it: that is how
//! consumers tell, so a swap shows as a record that is missing in its place. Read next: `travel.rs`.

use std::collections::VecDeque;

use events::Context;
use tokio::sync::mpsc;

use crate::Error;
use crate::log::Published;
use crate::reach::Claim;
use crate::report::{Offence, Property, Report};
use crate::topic::{Bounds, Partition, Record};

pub struct Holding {
    context: Context,
    topic: String,
    number: i32,
    bounds: Bounds,
    partition: Partition,
    /// By `next_offset`, those before the next record are checked already.
    claims: VecDeque<Claim>,
    /// The highest position so far; what a checkpoint here must say. None when the partition's beginning is gone.
    highest: Option<i64>,
    /// The next first occurrence, and its position.
    head: Option<(Record, i64)>,
    to_look_up: mpsc::Sender<(String, Repeated)>,
}

/// A record whose position was met before.
pub struct Repeated {
    pub position: i64,
    partition: i32,
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Repeated {
    /// What is wrong with it, if it is not what the log says.
    pub fn offence(&self, context: Context, event: Option<&Published>) -> Option<Offence> {
        let here = |what: &str| {
            let offence = Offence::new(what).in_context(context).at("position", self.position);
            offence.at("partition", self.partition).at("offset", self.offset)
        };
        let Some(event) = event else {
            return Some(here("a record of a position that the log does not have"));
        };
        differs(event, self.partition, &self.key, &self.value).map(|(what, wanted)| {
            let given = String::from_utf8_lossy(&self.value);
            here(&format!("a repeated record {what}"))
                .at("stream", &event.event.stream)
                .differing(&given, &wanted)
        })
    }
}

impl Holding {
    pub fn new(
        context: Context,
        topic: &str,
        number: i32,
        bounds: Bounds,
        partition: Partition,
        mut claims: Vec<Claim>,
        to_look_up: mpsc::Sender<(String, Repeated)>,
    ) -> Self {
        claims.sort_by_key(|claim| claim.next_offset);
        let highest = (bounds.begin == 0).then_some(0);
        let (topic, claims) = (topic.to_owned(), claims.into());
        Self { context, topic, number, bounds, partition, claims, highest, head: None, to_look_up }
    }

    /// The next first occurrence, once [`Self::meet`] has looked.
    pub fn head(&self) -> Option<&Record> {
        self.head.as_ref().map(|(record, _)| record)
    }

    /// Whether the next first occurrence is this event's. Whatever comes before it and is no event of the log is accused.
    ///
    /// # Errors
    /// [`Error`] when Kafka fails.
    pub fn meet(&mut self, published: &Published, report: &mut Report) -> Result<bool, Error> {
        let event = &published.event;
        loop {
            self.look_ahead(Some(published), report)?;
            let Some((record, position)) = &self.head else { return Ok(false) };
            let position = *position;
            if position > event.position {
                return Ok(false);
            }
            let offence = if position < event.position {
                // Every event of this partition before this one was met before.
                Some(
                    self.here("a record on a partition that is not its stream's", record)
                        .at("position", position),
                )
            } else {
                differs(published, self.number, &record.key, &record.value).map(|(what, wanted)| {
                    let offence =
                        event.accuse(self.context, self.here(&format!("the record {what}"), record));
                    offence.differing(&String::from_utf8_lossy(&record.value), &wanted)
                })
            };
            self.head = None;
            offence.into_iter().for_each(|offence| report.line(Property::Topics).offend(offence));
            if position == event.position {
                return Ok(true);
            }
        }
    }

    /// After the log's last event: nothing may be left.
    ///
    /// # Errors
    /// [`Error`] when Kafka fails.
    pub fn finish(&mut self, head: i64, report: &mut Report) -> Result<(), Error> {
        loop {
            self.look_ahead(None, report)?;
            let Some((record, position)) = self.head.take() else { break };
            let what = if position > head {
                "a record of an event that the log does not have"
            } else {
                "a record on a partition that is not its stream's"
            };
            let offence = self.here(what, &record).at("position", position);
            report.line(Property::Topics).offend(offence.wanted(format!("positions up to {head}")));
        }
        self.check_claims(i64::MAX, report);
        Ok(())
    }

    /// Reads up to the next first occurrence. It is most likely that of `expected`, and is then known by its bytes.
    fn look_ahead(&mut self, expected: Option<&Published>, report: &mut Report) -> Result<(), Error> {
        while self.head.is_none() {
            let Some(record) = self.partition.read()? else { break };
            self.check_claims(record.offset, report);
            let line = report.line(Property::Topics);
            line.count("records", 1);
            let expected = expected.filter(|published| published.is(&record.value));
            let position = expected.map(|published| published.event.position).or_else(|| record.position());
            match position {
                None => {
                    let given = String::from_utf8_lossy(&record.value);
                    let offence = self.here("a record that is no event", &record).given(given);
                    report.line(Property::ForeignRecords).offend(offence);
                }
                Some(position) if self.highest.is_some_and(|highest| position <= highest) => {
                    line.count("repeated", 1);
                    let Record { offset, key, value } = record;
                    let repeated = Repeated { position, partition: self.number, offset, key, value };
                    // A receiver that is gone has failed, and says why.
                    let _ = self.to_look_up.blocking_send((self.topic.clone(), repeated));
                }
                Some(position) => {
                    self.highest = Some(position);
                    self.head = Some((record, position));
                }
            }
        }
        Ok(())
    }

    /// Those that lie at or before `offset`: every record before it was read.
    fn check_claims(&mut self, offset: i64, report: &mut Report) {
        while let Some(claim) = self.claims.pop_front_if(|claim| claim.next_offset <= offset) {
            let Bounds { begin, end } = self.bounds;
            let here = |what: &str| {
                let offence = Offence::new(what).at("schema", claim.owner).at("consumer", &claim.consumer);
                let offence = offence.at("topic", &self.topic).at("partition", self.number);
                offence.at("next_offset", claim.next_offset).at("last_position", claim.last_position)
            };
            let line = report.line(Property::Checkpoints);
            if claim.next_offset < begin || claim.next_offset > end {
                let offence = here("a checkpoint outside its partition").given(claim.next_offset);
                line.offend(offence.wanted(format!("{begin} to {end}")));
            } else if let Some(highest) = self.highest
                && highest != claim.last_position
            {
                let offence = here("a checkpoint that is not where the records before it say");
                line.offend(offence.given(claim.last_position).wanted(highest));
            }
        }
    }

    fn here(&self, what: &str, record: &Record) -> Offence {
        let offence = Offence::new(what).in_context(self.context).at("topic", &self.topic);
        offence.at("partition", self.number).at("offset", record.offset)
    }
}

/// What is wrong with the record of an event, and the value that it should have.
fn differs(
    Published { event, wire, .. }: &Published,
    partition: i32,
    key: &[u8],
    value: &[u8],
) -> Option<(&'static str, String)> {
    let wire = match wire {
        Ok(wire) => wire,
        Err(unreadable) => return Some(("cannot be compared with the log", unreadable.clone())),
    };
    let wanted = || String::from_utf8_lossy(wire).into_owned();
    if value != wire {
        return Some(("has another body than the log", wanted()));
    }
    if key != event.stream.as_bytes() {
        return Some(("has another key than its stream", event.stream.clone()));
    }
    (event.partition() != partition)
        .then(|| ("is on another partition than its key's", event.partition().to_string()))
}
