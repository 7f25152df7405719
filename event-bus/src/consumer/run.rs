//! The consumer's loop: one task that serves Kafka, keeps one batch with the handler and reads the next one ahead.
//!
//! While a handler works, Kafka is served until the buffer is full; when the handler takes long or must try again,
//! the partitions are paused and Kafka is served on, so that the group does not lose us.
//!
//! Never: two batches at a time (they would race for the checkpoints), or an answer to a revocation while a batch is
//! with the handler. Read next: `handling.rs`, then `placing.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::group::{Arrived, Group, Interruption, Received};
use super::intake::{Intake, Offered, Partition};
use super::membership::Rebalance;
use super::{ConsumerError, ConsumerOptions, HealthReport};
use crate::{Batch, BatchHandler, Checkpoint, HandlerError, Record};

/// Health, metrics, the courtesy commit, and the checkpoints of what was passed.
const TICK: Duration = Duration::from_secs(1);
/// A handler that takes longer than this has its partitions paused, and Kafka served meanwhile.
const UNSERVED_MAX: Duration = Duration::from_secs(5);

pub(super) type Loaded = Result<Vec<Checkpoint>, HandlerError>;

/// The batch in hand.
pub(super) enum InHand {
    Nothing,
    Running {
        task: JoinHandle<(Batch, Result<(), HandlerError>)>,
        since: Instant,
    },
    /// To be tried again.
    Waiting {
        batch: Batch,
        until: Instant,
    },
}

/// Partitions that wait for their checkpoints.
#[derive(Default)]
pub(super) struct Placing {
    pub assigned: Option<TopicPartitionList>,
    pub lost: Vec<Partition>,
}

enum Happened {
    Stop,
    Handled(Result<(Batch, Result<(), HandlerError>), JoinError>),
    TryAgain,
    BatchDue,
    Rebalance(Rebalance),
    Loaded(Result<Loaded, JoinError>),
    Received(Box<Received>),
    Tick,
}

pub(super) struct Loop {
    pub(super) group: Group,
    pub(super) intake: Intake,
    pub(super) options: ConsumerOptions,
    pub(super) handler: Arc<dyn BatchHandler>,
    pub(super) health: HealthReport,
    pub(super) in_hand: InHand,
    pub(super) batch_begun_at: Option<Instant>,
    /// The checkpoints that are owed move next.
    pub(super) settle: bool,
    pub(super) revoked: Option<TopicPartitionList>,
    pub(super) to_place: Placing,
    pub(super) loading: Option<(JoinHandle<Loaded>, Placing)>,
    pub(super) paused: bool,
    pub(super) backoff: Backoff,
    pub(super) loading_backoff: Backoff,
    pub(super) loading_delay: Duration,
    /// Handled and not yet told to Kafka.
    pub(super) untold: HashMap<Partition, i64>,
    pub(super) trouble: Option<String>,
    pub(super) progress_at: Instant,
}

impl Loop {
    pub fn new(
        group: Group,
        options: ConsumerOptions,
        handler: Arc<dyn BatchHandler>,
        health: HealthReport,
    ) -> Self {
        let intake = Intake::new(options.batch_max, options.batch_bytes_max);
        Self {
            group,
            intake,
            options,
            handler,
            health,
            in_hand: InHand::Nothing,
            batch_begun_at: None,
            settle: false,
            revoked: None,
            to_place: Placing::default(),
            loading: None,
            paused: false,
            backoff: Backoff::default(),
            loading_backoff: Backoff::default(),
            loading_delay: Duration::ZERO,
            untold: HashMap::new(),
            trouble: Some("joining the consumer group".to_owned()),
            progress_at: Instant::now(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        self.report();
        let outcome = self.consume(&shutdown).await;
        if let InHand::Running { task, .. } = &mut self.in_hand {
            // An error ended the loop: the batch may still commit, and whoever takes over sees its checkpoint.
            let _ = task.await;
        }
        self.group.commit(&self.untold);
        self.group.close().await;
        outcome
    }

    async fn consume(&mut self, shutdown: &CancellationToken) -> Result<(), ConsumerError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = shutdown.is_cancelled();
            let running = matches!(self.in_hand, InHand::Running { .. });
            if stopping && !running && !self.settle_what_is_owed() {
                return Ok(());
            }
            if !stopping {
                self.answer_revocation()?;
                self.start_loading();
                self.start_batch()?;
            }
            match self.next(&mut tick, shutdown, stopping).await {
                Happened::Stop | Happened::BatchDue => {}
                Happened::Handled(handled) => self.on_handled(handled)?,
                Happened::TryAgain => self.try_again(),
                Happened::Rebalance(Rebalance::Revoke(partitions)) => self.on_revoked(partitions),
                Happened::Rebalance(Rebalance::Assign(partitions)) => {
                    self.to_place.assigned = Some(partitions);
                }
                Happened::Loaded(loaded) => self.on_loaded(loaded).await?,
                Happened::Received(received) => self.on_received(*received).await?,
                Happened::Tick => self.on_tick()?,
            }
        }
    }

    async fn next(
        &mut self,
        tick: &mut tokio::time::Interval,
        shutdown: &CancellationToken,
        stopping: bool,
    ) -> Happened {
        let serve = self.paused || self.intake.has_room();
        let batch_at = self.next_batch_at().filter(|_| matches!(self.in_hand, InHand::Nothing));
        let Self { group, in_hand, loading, .. } = self;
        let (running, waiting) = match in_hand {
            InHand::Nothing => (None, None),
            InHand::Running { task, .. } => (Some(task), None),
            InHand::Waiting { until, .. } => (None, Some(*until)),
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !stopping => Happened::Stop,
            handled = or_never(running) => Happened::Handled(handled),
            () = until(waiting) => Happened::TryAgain,
            () = until(batch_at) => Happened::BatchDue,
            rebalance = group.rebalance() => Happened::Rebalance(rebalance),
            loaded = or_never(loading.as_mut().map(|(task, _)| task)) => Happened::Loaded(loaded),
            _ = tick.tick() => Happened::Tick,
            received = group.receive(), if serve => Happened::Received(Box::new(received)),
        }
    }

    /// Takes what came, and all that is there already while there is room.
    async fn on_received(&mut self, first: Received) -> Result<(), ConsumerError> {
        let mut received = Some(first);
        let mut served = 0;
        while let Some(one) = received {
            match one {
                Ok(Arrived { record, epoch }) => {
                    self.check_epoch(&record, epoch)?;
                    let partition = (Arc::clone(&record.topic), record.partition);
                    if let Offered::Gap { next_offset } = self.intake.offer(record) {
                        self.seek(partition, next_offset).await;
                    }
                }
                Err(Interruption::Halted { topic, reason }) => {
                    return Err(self.restored(format!("the relay halted {topic}: {reason}")));
                }
                Err(Interruption::OffsetOutOfRange) => self.on_out_of_range().await?,
                Err(Interruption::Trouble(error)) => {
                    tracing::debug!(consumer = %self.options.name, %error, "while consuming");
                }
                Err(Interruption::Broken(cause)) => return Err(self.kafka(cause)),
            }
            served += 1;
            let more = served < self.options.batch_max && self.intake.has_room();
            received = if more { self.group.receive_now() } else { None };
        }
        Ok(())
    }

    /// A position of another epoch speaks of another log.
    fn check_epoch(&self, record: &Record, epoch: i64) -> Result<(), ConsumerError> {
        match self.intake.epoch(&record.topic, record.partition) {
            Some(known) if known != epoch => Err(self.restored(format!(
                "{}/{} holds records of epoch {epoch}, and the checkpoint there is of epoch {known}",
                record.topic, record.partition
            ))),
            _ => Ok(()),
        }
    }

    fn on_tick(&mut self) -> Result<(), ConsumerError> {
        if let InHand::Running { since, .. } = &self.in_hand
            && since.elapsed() > UNSERVED_MAX
        {
            self.set_paused(true)?;
        }
        if !self.untold.is_empty() {
            self.group.commit(&std::mem::take(&mut self.untold));
        }
        self.settle = true;
        self.report();
        Ok(())
    }

    pub(super) fn set_paused(&mut self, paused: bool) -> Result<(), ConsumerError> {
        if self.paused != paused {
            let done = if paused { self.group.pause() } else { self.group.resume() };
            done.map_err(|cause| self.kafka(cause))?;
            self.paused = paused;
        }
        Ok(())
    }

    pub(super) fn fatal(&self, reason: String) -> ConsumerError {
        ConsumerError::Fatal { consumer: self.options.name.clone(), reason }
    }

    pub(super) fn restored(&self, reason: String) -> ConsumerError {
        ConsumerError::Restored { consumer: self.options.name.clone(), reason }
    }

    pub(super) fn kafka(&self, cause: KafkaError) -> ConsumerError {
        ConsumerError::Kafka { consumer: self.options.name.clone(), cause }
    }
}

async fn or_never<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
