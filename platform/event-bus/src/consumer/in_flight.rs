//! The batch that a handler works on, or that waits for a retry: at most one per handler.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::positions::Partition;
use crate::Batch;

/// The longest pause after a batch: a client that waits for an effect would notice a longer one.
const PAUSE_MAX: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct InFlightBatch {
    state: State,
    /// When the last batch ended, and how long it took.
    last: Option<(Instant, Duration)>,
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

    /// The handler has returned. Returns how long it took.
    pub fn ended(&mut self) -> Option<Duration> {
        let State::Handling { since, .. } = std::mem::take(&mut self.state) else { return None };
        let took = since.elapsed();
        self.last = Some((Instant::now(), took));
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

    /// The end of the pause after the last batch, if it is not over.
    pub fn pause_ends_at(&self, percent: u32) -> Option<Instant> {
        let (ended_at, took) = self.last?;
        let pause = pause_after(took, percent);
        (ended_at.elapsed() < pause).then(|| ended_at + pause)
    }
}

fn pause_after(took: Duration, percent: u32) -> Duration {
    (took * percent / 100).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_a_batch_depends_on_how_long_the_batch_took_up_to_a_limit() {
        let took = Duration::from_millis(20);
        assert_eq!(pause_after(took, 0), Duration::ZERO);
        assert_eq!(pause_after(took, 100), took);
        assert_eq!(pause_after(took, 50), took / 2);
        assert_eq!(pause_after(Duration::from_secs(9), 100), PAUSE_MAX);
    }
}
