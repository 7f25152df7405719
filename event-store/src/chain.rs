//! How waiting appends become the commands of a batch: mostly one each; those that stand on one another become one, all
//! or nothing.
//!
//! Never: an append in a batch without what it stands on, unless that is in the log. Read next: `appender.rs`.

use std::collections::VecDeque;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::append::Prepared;
use crate::pending::Ticket;
use crate::{AppendError, Appended, StoreOptions};

pub(crate) type Outcome = Result<Appended, AppendError>;

/// An append in the queue, and who wants to know what became of it.
pub(crate) struct Waiting {
    pub prepared: Prepared,
    /// The appends that it was decided on.
    pub after: Vec<Ticket>,
    pub ticket: Ticket,
    pub caller: oneshot::Sender<Outcome>,
    pub _room: OwnedSemaphorePermit,
}

impl Waiting {
    /// Nothing but events on streams: several of them can be one command.
    fn is_plain(&self) -> bool {
        let append = &self.prepared.append;
        append.claim.is_none()
            && append.checkpoints.is_empty()
            && append.deadlines.is_empty()
            && append.parked.is_empty()
    }

    /// A caller who is gone does not want to know.
    pub(crate) fn tell(self, outcome: Outcome) {
        self.ticket.settle(outcome.is_ok());
        let _ = self.caller.send(outcome);
    }

    /// What it was decided on did not happen: as if its stream had moved.
    pub(crate) fn refuse(self) {
        let write = self.prepared.append.writes.first();
        let write = write.expect("what was decided on another append is about a stream");
        let (stream, expected) = (write.stream.clone(), write.expected_version);
        self.tell(Err(AppendError::Conflict { stream, expected, actual: expected.saturating_sub(1) }));
    }
}

/// One command of a batch: one append, or several that stand on one another, in their order.
pub(crate) struct Chain {
    pub parts: Vec<Waiting>,
}

impl Chain {
    pub(crate) fn prepared(&self) -> Vec<&Prepared> {
        self.parts.iter().map(|part| &part.prepared).collect()
    }

    pub(crate) fn events(&self) -> usize {
        self.parts.iter().map(|part| part.prepared.events.len()).sum()
    }

    fn takes(&self, next: &Waiting) -> bool {
        let has = |ticket: &&Ticket| self.parts.iter().any(|part| part.ticket.is(ticket));
        next.is_plain()
            && self.parts.iter().all(Waiting::is_plain)
            && next.after.iter().filter(|ticket| ticket.is_open()).all(|ticket| has(&ticket))
    }

    /// Each part its share of the positions, or the refusal of all.
    pub(crate) fn tell(self, outcome: Outcome) {
        let mut first_position = outcome.as_ref().map_or(0, |appended| appended.first_position);
        for part in self.parts {
            let count = i64::try_from(part.prepared.events.len()).expect("a command's events are countable");
            let share = outcome.clone().map(|appended| match count {
                0 => Appended { first_position: 0, last_position: 0, ..appended },
                _ => Appended { first_position, last_position: first_position + count - 1, ..appended },
            });
            first_position += count;
            part.tell(share);
        }
    }
}

/// What waits, in its order.
pub(crate) struct Queue {
    pub waiting: mpsc::Receiver<Waiting>,
    /// Taken from the queue and left for the next batch: too much for the last one, or standing on what was in it.
    pub held_back: VecDeque<Waiting>,
}

impl Queue {
    /// Whatever waits, up to the limits. Empty when all of it stood on what has failed.
    pub(crate) fn fill(&mut self, first: Waiting, options: &StoreOptions) -> Vec<Chain> {
        let mut batch: Vec<Chain> = Vec::new();
        let mut earlier = std::mem::take(&mut self.held_back);
        let (mut commands, mut events) = (0, 0);
        let mut next = Some(first);
        while let Some(waiting) = next {
            events += waiting.prepared.events.len();
            if commands > 0 && events > options.batch_events_max {
                self.held_back.push_back(waiting);
                break;
            }
            commands += 1;
            self.place(waiting, &mut batch);
            if commands == options.batch_commands_max {
                break;
            }
            next = earlier.pop_front().or_else(|| self.waiting.try_recv().ok());
        }
        self.held_back.append(&mut earlier);
        batch
    }

    fn place(&mut self, waiting: Waiting, batch: &mut Vec<Chain>) {
        if waiting.after.iter().any(Ticket::has_failed) {
            return waiting.refuse();
        }
        if !waiting.after.iter().any(Ticket::is_open) {
            return batch.push(Chain { parts: vec![waiting] });
        }
        match batch.iter_mut().find(|chain| chain.takes(&waiting)) {
            Some(chain) => chain.parts.push(waiting),
            None => self.held_back.push_back(waiting),
        }
    }
}
