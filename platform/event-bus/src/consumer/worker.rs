//! One handler of a reader: its buffer, its batch in flight, and its state for health reports.
//!
//! Every handler has its own buffer, pauses and retries, so a slow or failing handler delays only itself. A handler has one batch at a
//! time: two would race for its checkpoints.

mod dispatch;
mod report;

use std::sync::Arc;
use std::time::Instant;

use fault::crash_point;
use tokio::task::JoinHandle;

use super::assignment::CheckpointLoads;
use super::catch_up::CatchUp;
use super::in_flight::InFlightBatch;
use super::partition_buffer::{PartitionBuffer, Taken};
use super::positions::Partition;
use super::received::Topics;
use super::{ConsumerError, ConsumerOptions, HealthReport, Subscription};
use crate::{Batch, BatchHandler, Checkpoint, HandlerError};

/// The result of a handler's task.
pub(super) enum Ended {
    Handled(Batch, Result<(), HandlerError>),
    Loaded(Result<Vec<Checkpoint>, HandlerError>),
}

pub(super) type Task = JoinHandle<Ended>;

pub(super) struct Worker {
    index: usize,
    pub options: ConsumerOptions,
    pub handler: Arc<dyn BatchHandler>,
    health: HealthReport,
    /// The topics that the handler subscribes to.
    topics: Topics,
    pub buffer: PartitionBuffer,
    pub in_flight: InFlightBatch,
    /// The next batch commits the pending checkpoints.
    commit_pending: bool,
    pub loads: CheckpointLoads,
    pub catch_up: Option<CatchUp>,
    trouble: Option<String>,
    /// The trouble in the last health report.
    reported_trouble: Option<String>,
    progress_at: Instant,
}

impl Worker {
    /// `index`: the handler's number among those of its reader.
    pub fn new(index: usize, subscription: Subscription, topics: Topics) -> Self {
        let Subscription { options, handler, health } = subscription;
        let buffer = PartitionBuffer::new(options.batch_max, options.batch_bytes_max);
        Self {
            index,
            options,
            handler,
            health,
            topics,
            buffer,
            in_flight: InFlightBatch::default(),
            commit_pending: false,
            loads: CheckpointLoads::default(),
            catch_up: None,
            trouble: Some("joining the consumer group".to_owned()),
            reported_trouble: None,
            progress_at: Instant::now(),
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn subscribes_to(&self, partition: &Partition) -> bool {
        self.topics.contains_key(&*partition.0)
    }

    pub fn is_running(&self) -> bool {
        self.in_flight.is_handling()
    }

    /// Makes the next batch commit the pending checkpoints.
    pub fn commit_pending_checkpoints(&mut self) {
        self.commit_pending = true;
    }

    /// Starts the next batch if none is in flight.
    pub fn start_batch(&mut self) -> Option<Task> {
        if !self.in_flight.is_none() || self.next_batch_at().is_some() {
            return None;
        }
        if std::mem::take(&mut self.commit_pending)
            && let Some(task) = self.start_pending_checkpoints()
        {
            return Some(task);
        }
        while !self.buffer.is_empty() {
            let Taken { batch, duplicates, skipped } =
                self.buffer.take(&self.options.name, |record| self.handler.is_relevant(record));
            self.count("consumer_duplicates_total", duplicates);
            self.count("consumer_skipped_total", skipped);
            if let Some(batch) = batch {
                self.count("consumer_records_total", batch.records.len());
                metrics::histogram!("consumer_batch_records", "consumer" => self.options.name.clone())
                    .record(batch.records.len() as f64);
                crash_point!("consumer::batch_taken");
                return Some(self.start_handling(batch));
            }
            self.progress_at = Instant::now();
        }
        None
    }

    /// Starts a batch of the pending checkpoints alone. None if there are none, or a batch is in flight: then the next owner skips the
    /// same records.
    pub fn start_pending_checkpoints(&mut self) -> Option<Task> {
        if !self.in_flight.is_none() {
            return None;
        }
        let batch = self.buffer.pending_checkpoints(&self.options.name)?;
        Some(self.start_handling(batch))
    }

    /// When the worker has something to do without a new record: at the end of the pause after a batch, or of the wait before a retry.
    pub fn due_at(&self) -> Option<Instant> {
        if self.in_flight.is_none() { self.next_batch_at() } else { self.in_flight.retry_at() }
    }

    /// The end of the pause, if buffered records wait for it. A full batch does not wait.
    fn next_batch_at(&self) -> Option<Instant> {
        let waits = !self.buffer.is_empty() && !self.buffer.has_full_batch();
        self.in_flight.pause_ends_at().filter(|_| waits)
    }

    fn start_handling(&mut self, batch: Batch) -> Task {
        let partitions =
            batch.moves.iter().map(|step| (Arc::from(step.topic.as_str()), step.partition)).collect();
        self.in_flight.start(partitions);
        let handler = Arc::clone(&self.handler);
        tokio::spawn(async move {
            let outcome = handler.handle(&batch).await;
            Ended::Handled(batch, outcome)
        })
    }

    /// Starts the batch again whose wait is over.
    pub fn retry(&mut self) -> Option<Task> {
        let batch = self.in_flight.take_due()?;
        Some(self.start_handling(batch))
    }

    /// Drops everything about the partition but the batch that the handler works on.
    pub fn forget(&mut self, partition: &Partition) {
        self.buffer.remove(partition);
        self.loads.cancel(partition);
        self.leave_catch_up(partition);
    }

    /// The catch-up consumer no longer reads the partition.
    pub fn leave_catch_up(&mut self, partition: &Partition) {
        let Some(catch_up) = &mut self.catch_up else { return };
        catch_up.leave(partition);
        if catch_up.is_empty() {
            tracing::info!(consumer = %self.options.name, "caught up with the reader");
            self.catch_up = None;
        }
    }

    /// Clears the trouble if no checkpoint load and no retry is left.
    pub fn clear_assignment_trouble(&mut self) {
        if self.loads.is_idle() && !self.in_flight.is_backing_off() {
            self.trouble = None;
        }
    }

    /// Positions are only comparable within one epoch.
    pub fn check_epoch(&self, partition: &Partition, epoch: i64) -> Result<(), ConsumerError> {
        match self.buffer.epoch(partition) {
            Some(known) if known != epoch => Err(self.restored(format!(
                "{}/{} holds records of epoch {epoch}, and the checkpoint there is of epoch {known}",
                partition.0, partition.1
            ))),
            _ => Ok(()),
        }
    }

    pub fn fatal(&self, reason: String) -> ConsumerError {
        ConsumerError::Fatal { consumer: self.options.name.clone(), reason }
    }

    pub fn restored(&self, reason: String) -> ConsumerError {
        ConsumerError::Restored { consumer: self.options.name.clone(), reason }
    }

    fn count(&self, name: &'static str, by: usize) {
        metrics::counter!(name, "consumer" => self.options.name.clone()).increment(by as u64);
    }
}
