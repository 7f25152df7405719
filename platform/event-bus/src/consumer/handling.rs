//! What follows from a handler's answer.
//!
//! Never: a batch that is dropped because its handler failed. Read next: `placing.rs`.

use std::sync::Arc;
use std::time::Instant;

use fault::crash_point;

use super::ConsumerError;
use super::positions::Partition;
use super::worker::{InHand, Task, Worker};
use crate::{Batch, HandlerError};

impl Worker {
    /// The handler has answered. Gives what is to be done at once.
    pub fn on_handled(
        &mut self,
        mut batch: Batch,
        outcome: Result<(), HandlerError>,
    ) -> Result<Option<Task>, ConsumerError> {
        if let InHand::Running { since, .. } = std::mem::replace(&mut self.in_hand, InHand::Nothing) {
            let took = since.elapsed();
            self.pause.after_batch(Instant::now(), took, self.options.pause_percent);
            metrics::histogram!("consumer_batch_seconds", "consumer" => self.options.name.clone())
                .record(took.as_secs_f64());
        }
        let error = match outcome {
            Ok(()) => {
                self.on_done(&batch);
                return Ok(None);
            }
            Err(error) => self.not_final(error)?,
        };
        // What was revoked meanwhile is for its next owner.
        batch.retain(|topic, partition| self.intake.reads(topic, partition));
        match error {
            HandlerError::CheckpointLost { topic, partition } if batch.touches(&topic, partition) => {
                Ok(self.on_lost(batch, (Arc::from(topic), partition)))
            }
            error => {
                self.on_retry(batch, &error);
                Ok(None)
            }
        }
    }

    fn on_done(&mut self, batch: &Batch) {
        crash_point!("consumer::committed_before_told");
        self.intake.committed(&batch.moves);
        for step in &batch.moves {
            self.committed.insert((Arc::from(step.topic.as_str()), step.partition), step.to_offset);
        }
        self.backoff.reset();
        self.progress_at = Instant::now();
        self.trouble = None;
    }

    fn on_retry(&mut self, batch: Batch, error: &HandlerError) {
        if batch.moves.is_empty() {
            return;
        }
        let wait = self.backoff.next();
        let wait_ms = wait.as_millis() as u64;
        tracing::warn!(consumer = %self.options.name, %error, wait_ms, "batch to be tried again");
        self.count("consumer_retries_total", 1);
        self.trouble = Some(error.to_string());
        self.in_hand = InHand::Waiting { batch, until: Instant::now() + wait };
    }

    /// Another had the partition: what we hold of it is void. The rest of the batch comes again at once.
    fn on_lost(&mut self, mut batch: Batch, partition: Partition) -> Option<Task> {
        let (topic, number) = (&*partition.0, partition.1);
        tracing::warn!(consumer = %self.options.name, topic, partition = number, "checkpoint moved by another; reading it again");
        self.count("consumer_checkpoints_lost_total", 1);
        batch.retain(|other, other_number| (other, other_number) != (topic, number));
        self.forget(&partition);
        self.committed.remove(&partition);
        self.to_load.insert(partition);
        (!batch.moves.is_empty()).then(|| self.hand_over(batch))
    }

    /// Where the handler's commits were lost, what follows from them is void: every checkpoint is read again.
    pub fn reload_what_was_lost(&mut self) {
        if self.is_running() || !self.handler.has_lost_commits() {
            return;
        }
        tracing::warn!(consumer = %self.options.name, "the database has lost commits; reading all checkpoints again");
        let partitions: Vec<Partition> =
            self.intake.places().map(|(partition, _)| partition.clone()).collect();
        for partition in partitions {
            self.forget(&partition);
            self.committed.remove(&partition);
            self.to_load.insert(partition);
        }
        self.trim_waiting();
    }

    /// A batch that waits to be tried again loses what is no longer ours.
    pub fn trim_waiting(&mut self) {
        let InHand::Waiting { batch, .. } = &mut self.in_hand else { return };
        batch.retain(|topic, partition| self.intake.reads(topic, partition));
        if batch.moves.is_empty() {
            self.in_hand = InHand::Nothing;
            self.trouble = None;
        }
    }

    /// What the consumer outlives, or why it stops.
    pub fn not_final(&self, error: HandlerError) -> Result<HandlerError, ConsumerError> {
        match error {
            HandlerError::Fatal(reason) => Err(self.fatal(reason)),
            HandlerError::Restored(reason) => Err(self.restored(reason)),
            error => Ok(error),
        }
    }
}
