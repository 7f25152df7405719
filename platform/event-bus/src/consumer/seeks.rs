//! Seeks of the reader that are still to be made, retried after a failure.

use std::collections::BTreeMap;
use std::time::Instant;

use super::backoff::Backoff;
use super::positions::Partition;

#[derive(Default)]
pub(super) struct Seeks {
    wanted: BTreeMap<Partition, i64>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl Seeks {
    pub fn insert(&mut self, partition: Partition, offset: i64) {
        self.wanted.insert(partition, offset);
    }

    pub fn remove(&mut self, partition: &Partition) {
        self.wanted.remove(partition);
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The seeks to make now; empty while the wait after a failure lasts.
    pub fn take_due(&mut self) -> Vec<(Partition, i64)> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Vec::new();
        }
        std::mem::take(&mut self.wanted).into_iter().collect()
    }

    /// Keeps the seeks that failed for a retry.
    pub fn made(&mut self, failed: Vec<(Partition, i64)>) {
        self.retry_at = None;
        if failed.is_empty() {
            self.backoff.reset();
        } else {
            self.retry_at = Some(Instant::now() + self.backoff.next());
        }
        self.wanted.extend(failed);
    }
}
