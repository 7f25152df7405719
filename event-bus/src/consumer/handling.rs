//! The batch in hand: given to the handler, and what follows from its answer.
//!
//! Never: a batch that is dropped because its handler failed. Read next: `placing.rs`.

use std::sync::Arc;
use std::time::Instant;

use fault::crash_point;
use tokio::task::JoinError;

use super::ConsumerError;
use super::intake::Taken;
use super::run::{InHand, Loop};
use crate::{Batch, HandlerError};

impl Loop {
    /// Takes the next batch, when none is in hand.
    pub(super) fn start_batch(&mut self) -> Result<(), ConsumerError> {
        if !matches!(self.in_hand, InHand::Nothing) || self.revoked.is_some() {
            return Ok(());
        }
        self.set_paused(false)?;
        if self.next_batch_at().is_some() {
            return Ok(());
        }
        if std::mem::take(&mut self.settle) && self.settle_what_is_owed() {
            return Ok(());
        }
        if self.intake.is_empty() {
            return Ok(());
        }
        let Taken { batch, duplicates, unconcerned } =
            self.intake.take(&self.options.name, |record| self.handler.concerns(record));
        let consumer = self.options.name.clone();
        metrics::counter!("consumer_duplicates_total", "consumer" => consumer.clone())
            .increment(duplicates as u64);
        metrics::counter!("consumer_unconcerned_total", "consumer" => consumer.clone())
            .increment(unconcerned as u64);
        let Some(batch) = batch else {
            if duplicates + unconcerned > 0 {
                self.progress_at = Instant::now();
            }
            return Ok(());
        };
        self.batch_begun_at = Some(Instant::now());
        metrics::counter!("consumer_records_total", "consumer" => consumer.clone())
            .increment(batch.records.len() as u64);
        metrics::histogram!("consumer_batch_records", "consumer" => consumer)
            .record(batch.records.len() as f64);
        crash_point!("consumer::batch_taken");
        self.hand_over(batch);
        Ok(())
    }

    /// Hands over the checkpoints that are owed, and nothing else. False when none are, or it cannot be done: whoever comes
    /// next passes the same records.
    pub(super) fn settle_what_is_owed(&mut self) -> bool {
        if !matches!(self.in_hand, InHand::Nothing) || self.revoked.is_some() {
            return false;
        }
        let Some(batch) = self.intake.owed(&self.options.name) else { return false };
        self.hand_over(batch);
        true
    }

    /// When what is buffered will be due; none when it is already, or there is nothing.
    pub(super) fn next_batch_at(&self) -> Option<Instant> {
        let due = self.batch_begun_at? + self.options.batch_pace;
        let waits = self.intake.has_room() && !self.intake.is_empty() && Instant::now() < due;
        waits.then_some(due)
    }

    fn hand_over(&mut self, batch: Batch) {
        let handler = Arc::clone(&self.handler);
        let task = tokio::spawn(async move {
            let outcome = handler.handle(&batch).await;
            (batch, outcome)
        });
        self.in_hand = InHand::Running { task, since: Instant::now() };
    }

    /// The wait is over.
    pub(super) fn try_again(&mut self) {
        match std::mem::replace(&mut self.in_hand, InHand::Nothing) {
            InHand::Waiting { batch, .. } => self.hand_over(batch),
            other => self.in_hand = other,
        }
    }

    pub(super) fn on_handled(
        &mut self,
        handled: Result<(Batch, Result<(), HandlerError>), JoinError>,
    ) -> Result<(), ConsumerError> {
        let InHand::Running { since, .. } = std::mem::replace(&mut self.in_hand, InHand::Nothing) else {
            return Ok(());
        };
        let (mut batch, outcome) =
            handled.map_err(|panic| self.fatal(format!("the handler panicked: {panic}")))?;
        metrics::histogram!("consumer_batch_seconds", "consumer" => self.options.name.clone())
            .record(since.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => {
                self.on_done(&batch);
                Ok(())
            }
            Err(HandlerError::Fatal(reason)) => Err(self.fatal(reason)),
            Err(HandlerError::Restored(reason)) => Err(self.restored(reason)),
            Err(error) => {
                // What was revoked meanwhile is for its next owner.
                batch.retain(|topic, partition| self.intake.reads(topic, partition));
                match error {
                    HandlerError::CheckpointLost { topic, partition } if batch.touches(&topic, partition) => {
                        self.on_lost(batch, Arc::from(topic), partition);
                        Ok(())
                    }
                    error => self.on_retry(batch, &error),
                }
            }
        }
    }

    fn on_done(&mut self, batch: &Batch) {
        crash_point!("consumer::committed_before_told");
        self.intake.committed(&batch.moves);
        for step in &batch.moves {
            self.untold.insert((Arc::from(step.topic.as_str()), step.partition), step.to_offset);
        }
        self.backoff.reset();
        self.progress_at = Instant::now();
        self.set_trouble(None);
    }

    fn on_retry(&mut self, batch: Batch, error: &HandlerError) -> Result<(), ConsumerError> {
        if batch.moves.is_empty() {
            return Ok(());
        }
        let wait = self.backoff.next();
        let wait_ms = wait.as_millis() as u64;
        tracing::warn!(consumer = %self.options.name, %error, wait_ms, "batch to be tried again");
        metrics::counter!("consumer_retries_total", "consumer" => self.options.name.clone()).increment(1);
        self.set_trouble(Some(error.to_string()));
        self.in_hand = InHand::Waiting { batch, until: Instant::now() + wait };
        self.set_paused(true)
    }

    /// Another had the partition: what we hold of it is void. The rest of the batch comes again at once.
    fn on_lost(&mut self, mut batch: Batch, topic: Arc<str>, partition: i32) {
        tracing::warn!(consumer = %self.options.name, %topic, partition, "checkpoint moved by another; reading it again");
        metrics::counter!("consumer_checkpoints_lost_total", "consumer" => self.options.name.clone())
            .increment(1);
        batch.retain(|other, number| (other, number) != (&*topic, partition));
        let partition = (topic, partition);
        self.intake.remove(&partition);
        self.to_place.lost.push(partition);
        if !batch.moves.is_empty() {
            self.hand_over(batch);
        }
    }
}
