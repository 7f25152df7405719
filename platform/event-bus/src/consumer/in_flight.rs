//! The batch that a handler works on, or that waits for a retry: at most one per handler.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::pause::Pause;
use super::positions::Partition;
use crate::Batch;

/// When a handler can begin a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Now,
    /// At the end of the pause.
    At(Instant),
    /// After the batch in flight.
    Later,
}

#[derive(Default)]
pub(super) struct InFlightBatch {
    state: State,
    pause: Pause,
    backoff: Backoff,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    /// The handler works on a batch that touches these partitions.
    Handling { partitions: Vec<Partition>, since: Instant },
    /// The batch waits for its next attempt.
    BackingOff { batch: Batch, until: Instant },
}

impl InFlightBatch {
    pub fn is_none(&self) -> bool {
        matches!(self.state, State::None)
    }

    pub fn is_handling(&self) -> bool {
        matches!(self.state, State::Handling { .. })
    }

    pub fn is_backing_off(&self) -> bool {
        matches!(self.state, State::BackingOff { .. })
    }

    /// Whether the handler works on a batch that touches any of the partitions.
    pub fn is_handling_any_of(&self, wanted: &[Partition]) -> bool {
        let State::Handling { partitions, .. } = &self.state else { return false };
        partitions.iter().any(|partition| wanted.contains(partition))
    }

    /// The handler gets a batch that touches these partitions.
    pub fn start(&mut self, partitions: Vec<Partition>) {
        self.state = State::Handling { partitions, since: Instant::now() };
    }

    /// The handler has returned, and the pause begins: `pause_percent` of the batch's duration. Returns that duration.
    pub fn ended(&mut self, pause_percent: u32) -> Option<Duration> {
        let State::Handling { since, .. } = std::mem::take(&mut self.state) else { return None };
        let took = since.elapsed();
        self.pause.after_batch(Instant::now(), took, pause_percent);
        Some(took)
    }

    pub fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// Keeps the batch for a retry. Returns the wait before it.
    pub fn back_off(&mut self, batch: Batch) -> Duration {
        let wait = self.backoff.next();
        self.state = State::BackingOff { batch, until: Instant::now() + wait };
        wait
    }

    /// When the next attempt is due, if the batch waits for one.
    pub fn retry_at(&self) -> Option<Instant> {
        match &self.state {
            State::BackingOff { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The batch whose wait is over.
    pub fn take_due(&mut self) -> Option<Batch> {
        match std::mem::take(&mut self.state) {
            State::BackingOff { batch, until } if until <= Instant::now() => Some(batch),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Removes other partitions from a batch that waits for a retry. Returns whether that left nothing to retry.
    pub fn retain(&mut self, keep: impl Fn(&str, i32) -> bool) -> bool {
        let State::BackingOff { batch, .. } = &mut self.state else { return false };
        batch.retain(keep);
        let is_empty = batch.moves.is_empty();
        if is_empty {
            self.state = State::None;
        }
        is_empty
    }

    /// The end of the pause after the last batch; none if it is over.
    pub fn pause_ends_at(&self) -> Option<Instant> {
        self.pause.over_at(Instant::now())
    }

    /// When the next batch can begin.
    pub fn next_begins(&self) -> Begins {
        match (&self.state, self.pause_ends_at()) {
            (State::None, None) => Begins::Now,
            (State::None, Some(pause_ends_at)) => Begins::At(pause_ends_at),
            (State::Handling { .. } | State::BackingOff { .. }, _) => Begins::Later,
        }
    }
}
