//! The outcomes of a handler's batches. No batch is dropped because its handler failed.

use std::sync::Arc;
use std::time::Instant;

use fault::crash_point;

use super::{Task, Worker};
use crate::consumer::ConsumerError;
use crate::consumer::commits::Commits;
use crate::consumer::positions::Partition;
use crate::{Batch, HandlerError};

impl Worker {
    /// Processes the outcome of a batch. Returns the task to start at once, if there is one.
    pub fn on_handled(
        &mut self,
        mut batch: Batch,
        outcome: Result<(), HandlerError>,
        commits: &mut Commits,
    ) -> Result<Option<Task>, ConsumerError> {
        if let Some(took) = self.in_flight.ended(self.options.pause_percent) {
            metrics::histogram!("consumer_batch_seconds", "consumer" => self.options.name.clone())
                .record(took.as_secs_f64());
        }
        let error = match outcome {
            Ok(()) => {
                self.on_done(&batch, commits);
                return Ok(None);
            }
            Err(error) => self.retryable(error)?,
        };
        // Partitions that were revoked during the batch belong to another consumer now.
        batch.retain(|topic, partition| self.buffer.reads(topic, partition));
        match error {
            HandlerError::CheckpointLost { topic, partition } if batch.touches(&topic, partition) => {
                Ok(self.on_lost(batch, (Arc::from(topic), partition), commits))
            }
            error => {
                self.on_retry(batch, &error);
                Ok(None)
            }
        }
    }

    fn on_done(&mut self, batch: &Batch, commits: &mut Commits) {
        crash_point!("consumer::committed_before_told");
        self.buffer.committed(&batch.moves);
        commits.committed(self.index, &batch.moves);
        self.in_flight.succeeded();
        self.progress_at = Instant::now();
        self.trouble = None;
    }

    fn on_retry(&mut self, batch: Batch, error: &HandlerError) {
        if batch.moves.is_empty() {
            return;
        }
        let wait_ms = self.in_flight.back_off(batch).as_millis() as u64;
        tracing::warn!(consumer = %self.options.name, %error, wait_ms, "batch failed; retrying");
        self.count("consumer_retries_total", 1);
        self.trouble = Some(error.to_string());
    }

    /// Another consumer had the partition: drops its buffered records. The rest of the batch starts again at once.
    fn on_lost(&mut self, mut batch: Batch, partition: Partition, commits: &mut Commits) -> Option<Task> {
        let (topic, number) = (&*partition.0, partition.1);
        tracing::warn!(consumer = %self.options.name, topic, partition = number, "checkpoint moved by another consumer; reading it again");
        self.count("consumer_checkpoints_lost_total", 1);
        batch.retain(|other, other_number| (other, other_number) != (topic, number));
        self.reload(partition, commits);
        (!batch.moves.is_empty()).then(|| self.start_handling(batch))
    }

    /// Reads every checkpoint again if the database has lost commits of the handler.
    pub fn reload_lost_checkpoints(&mut self, commits: &mut Commits) {
        if self.is_running() || !self.handler.has_lost_commits() {
            return;
        }
        tracing::warn!(consumer = %self.options.name, "the database has lost commits; reading all checkpoints again");
        let partitions: Vec<Partition> =
            self.buffer.next_offsets().map(|(partition, _)| partition.clone()).collect();
        for partition in partitions {
            self.reload(partition, commits);
        }
        self.trim_retry();
    }

    fn reload(&mut self, partition: Partition, commits: &mut Commits) {
        self.forget(&partition);
        commits.forget(self.index, &partition);
        self.loads.request(partition);
    }

    /// The checkpoints could not be read: the next load tries again.
    pub fn on_load_failed(&mut self, error: HandlerError) -> Result<(), ConsumerError> {
        let error = self.retryable(error)?;
        tracing::warn!(consumer = %self.options.name, %error, "checkpoints could not be read; retrying");
        self.trouble = Some(error.to_string());
        self.loads.failed();
        Ok(())
    }

    /// Removes partitions that are no longer read from a batch that waits for a retry.
    pub fn trim_retry(&mut self) {
        if self.in_flight.retain(|topic, partition| self.buffer.reads(topic, partition)) {
            self.trouble = None;
        }
    }

    /// The error, if a retry may help; otherwise the reason to stop.
    fn retryable(&self, error: HandlerError) -> Result<HandlerError, ConsumerError> {
        match error {
            HandlerError::Fatal(reason) => Err(self.fatal(reason)),
            HandlerError::Restored(reason) => Err(self.restored(reason)),
            error => Ok(error),
        }
    }
}
