//! One handler of a reader: the batch in hand, what follows from the handler's answer, and how it is doing.
//!
//! Every handler has its own buffer, its own pauses and its own troubles: one that is slow or must try again holds up itself
//! alone. Never: two batches of a handler at a time (they would race for its checkpoints). Read next: `handling.rs`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fault::crash_point;
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::catch_up::CatchUp;
use super::intake::{Intake, Taken};
use super::pause::Pause;
use super::positions::Partition;
use super::received::Topics;
use super::{ConsumerError, ConsumerOptions, HealthReport, Subscription};
use crate::{Batch, BatchHandler, Checkpoint, HandlerError};

/// What a task of a handler ends with.
pub(super) enum Ended {
    Handled(Batch, Result<(), HandlerError>),
    Loaded(Result<Vec<Checkpoint>, HandlerError>),
}

pub(super) type Task = JoinHandle<Ended>;

/// The batch in hand.
pub(super) enum InHand {
    Nothing,
    Running {
        partitions: Vec<Partition>,
        since: Instant,
    },
    /// To be tried again.
    Waiting {
        batch: Batch,
        until: Instant,
    },
}

/// When a handler can begin a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Now,
    At(Instant),
    Later,
}

pub(super) struct Worker {
    pub options: ConsumerOptions,
    pub handler: Arc<dyn BatchHandler>,
    pub health: HealthReport,
    /// The topics that it hears.
    topics: Topics,
    pub intake: Intake,
    pub in_hand: InHand,
    pub pause: Pause,
    /// The checkpoints that are owed move next.
    pub settle: bool,
    pub backoff: Backoff,
    /// Partitions that wait for their checkpoints, and those whose checkpoints are being read.
    pub to_load: BTreeSet<Partition>,
    pub loading: Option<BTreeSet<Partition>>,
    pub loading_backoff: Backoff,
    pub loading_delay: Duration,
    /// The checkpoints as they were committed; Kafka is told.
    pub committed: HashMap<Partition, i64>,
    pub catch_up: Option<CatchUp>,
    pub trouble: Option<String>,
    /// The trouble that the health report has told.
    pub told_trouble: Option<String>,
    pub progress_at: Instant,
}

impl Worker {
    pub fn new(subscription: Subscription, topics: Topics) -> Self {
        let Subscription { options, handler, health } = subscription;
        let intake = Intake::new(options.batch_max, options.batch_bytes_max);
        Self {
            options,
            handler,
            health,
            topics,
            intake,
            in_hand: InHand::Nothing,
            pause: Pause::default(),
            settle: false,
            backoff: Backoff::default(),
            to_load: BTreeSet::new(),
            loading: None,
            loading_backoff: Backoff::default(),
            loading_delay: Duration::ZERO,
            committed: HashMap::new(),
            catch_up: None,
            trouble: Some("joining the consumer group".to_owned()),
            told_trouble: None,
            progress_at: Instant::now(),
        }
    }

    pub fn hears(&self, partition: &Partition) -> bool {
        self.topics.contains_key(&*partition.0)
    }

    pub fn is_running(&self) -> bool {
        matches!(self.in_hand, InHand::Running { .. })
    }

    /// Whether the batch with the handler touches any of the partitions.
    pub fn is_running_in(&self, wanted: &[Partition]) -> bool {
        let InHand::Running { partitions, .. } = &self.in_hand else { return false };
        partitions.iter().any(|partition| wanted.contains(partition))
    }

    /// Takes the next batch, when none is in hand.
    pub fn start_batch(&mut self) -> Option<Task> {
        if !matches!(self.in_hand, InHand::Nothing) || self.next_batch_at().is_some() {
            return None;
        }
        if std::mem::take(&mut self.settle)
            && let Some(task) = self.settle_what_is_owed()
        {
            return Some(task);
        }
        while !self.intake.is_empty() {
            let Taken { batch, duplicates, unconcerned } =
                self.intake.take(&self.options.name, |record| self.handler.concerns(record));
            self.count("consumer_duplicates_total", duplicates);
            self.count("consumer_unconcerned_total", unconcerned);
            if let Some(batch) = batch {
                self.count("consumer_records_total", batch.records.len());
                metrics::histogram!("consumer_batch_records", "consumer" => self.options.name.clone())
                    .record(batch.records.len() as f64);
                crash_point!("consumer::batch_taken");
                return Some(self.hand_over(batch));
            }
            self.progress_at = Instant::now();
        }
        None
    }

    /// Hands over the checkpoints that are owed, and nothing else. None when none are, or it cannot be done: whoever comes
    /// next passes the same records.
    pub fn settle_what_is_owed(&mut self) -> Option<Task> {
        if !matches!(self.in_hand, InHand::Nothing) {
            return None;
        }
        let batch = self.intake.owed(&self.options.name)?;
        Some(self.hand_over(batch))
    }

    /// When something falls due without anything coming: the pause after a batch is over, or the wait before a batch is tried
    /// again.
    pub fn due_at(&self) -> Option<Instant> {
        match &self.in_hand {
            InHand::Nothing => self.next_batch_at(),
            InHand::Running { .. } => None,
            InHand::Waiting { until, .. } => Some(*until),
        }
    }

    /// When the pause will be over for what is buffered; none when it is already, or there is nothing, or a full batch.
    fn next_batch_at(&self) -> Option<Instant> {
        let waits = !self.intake.is_empty() && !self.intake.has_full_batch();
        self.pause.over_at(Instant::now()).filter(|_| waits)
    }

    /// When it can begin a batch of what comes next: now, when its pause is over, or, with a batch in hand, nobody knows.
    pub fn begins(&self) -> Begins {
        match (&self.in_hand, self.pause.over_at(Instant::now())) {
            (InHand::Nothing, None) => Begins::Now,
            (InHand::Nothing, Some(over_at)) => Begins::At(over_at),
            (InHand::Running { .. } | InHand::Waiting { .. }, _) => Begins::Later,
        }
    }

    pub fn hand_over(&mut self, batch: Batch) -> Task {
        let partitions =
            batch.moves.iter().map(|step| (Arc::from(step.topic.as_str()), step.partition)).collect();
        self.in_hand = InHand::Running { partitions, since: Instant::now() };
        let handler = Arc::clone(&self.handler);
        tokio::spawn(async move {
            let outcome = handler.handle(&batch).await;
            Ended::Handled(batch, outcome)
        })
    }

    /// Hands over again what has waited long enough.
    pub fn try_again(&mut self) -> Option<Task> {
        match std::mem::replace(&mut self.in_hand, InHand::Nothing) {
            InHand::Waiting { batch, until } if until <= Instant::now() => Some(self.hand_over(batch)),
            other => {
                self.in_hand = other;
                None
            }
        }
    }

    /// Whatever is held of the partition is void, but for what is with the handler.
    pub fn forget(&mut self, partition: &Partition) {
        self.intake.remove(partition);
        self.to_load.remove(partition);
        if let Some(loading) = &mut self.loading {
            loading.remove(partition);
        }
        self.leave_catch_up(partition);
    }

    /// The partition is read with the others again, or not at all.
    pub fn leave_catch_up(&mut self, partition: &Partition) {
        let Some(catch_up) = &mut self.catch_up else { return };
        catch_up.leave(partition);
        if catch_up.is_empty() {
            tracing::info!(consumer = %self.options.name, "reads with the others again");
            self.catch_up = None;
        }
    }

    /// No trouble that is still there.
    pub fn forget_trouble_of_placing(&mut self) {
        let waits = matches!(self.in_hand, InHand::Waiting { .. });
        if self.to_load.is_empty() && self.loading.is_none() && !waits {
            self.trouble = None;
        }
    }

    /// A position of another epoch speaks of another log.
    pub fn check_epoch(&self, partition: &Partition, epoch: i64) -> Result<(), ConsumerError> {
        match self.intake.epoch(partition) {
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

    pub fn count(&self, name: &'static str, by: usize) {
        metrics::counter!(name, "consumer" => self.options.name.clone()).increment(by as u64);
    }
}
