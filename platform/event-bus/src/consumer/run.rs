//! The reader's loop: one task that serves Kafka, decodes each record once, gives it to every handler that wants it, and keeps
//! one batch with each of them.
//!
//! Kafka is served while any handler has room for more. When none has, librdkafka's own bounded queue holds the rest; when that
//! lasts, the partitions are paused and Kafka is served on, so that the group does not lose us.
//!
//! Never: an answer to a revocation while a batch that touches it is with a handler. Read next: `worker.rs`, then
//! `placing.rs`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;
use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ConsumerError;
use super::backoff::Backoff;
use super::behind::receive_missed;
use super::group::Group;
use super::membership::Rebalance;
use super::placing::Assigned;
use super::positions::{Partition, Positions};
use super::received::Received;
use super::worker::{Ended, InHand, Task, Worker};
use crate::BusConfig;

/// Health, metrics, the courtesy commit, and the checkpoints of what was passed.
const TICK: Duration = Duration::from_secs(1);

enum Happened {
    Stop,
    Ended(usize, Result<Ended, JoinError>),
    Due,
    Rebalance(Rebalance),
    Received(Box<Received>),
    ReceivedMissed(usize, Box<Received>),
    Tick,
}

pub(super) struct Reader {
    /// The group's, without the prefix.
    pub name: String,
    pub config: BusConfig,
    pub group: Group,
    pub workers: Vec<Worker>,
    /// Batches and loads under way, each with its worker's index. Whoever drops them lets them end by themselves.
    tasks: FuturesUnordered<BoxFuture<'static, (usize, Result<Ended, JoinError>)>>,
    /// What Kafka must give next.
    pub positions: Positions,
    pub assigned: Option<Assigned>,
    pub revoked: Option<TopicPartitionList>,
    /// Partitions in which a handler was placed just now.
    pub to_join: Vec<Partition>,
    /// Where the reader still has to be moved.
    pub seeks: BTreeMap<Partition, i64>,
    pub seek_backoff: Backoff,
    pub seek_again_at: Option<Instant>,
    /// Partitions with a handler ahead of the reader, of which is not known whether they have what it wants.
    pub ahead: BTreeSet<Partition>,
    /// A checkpoint was committed there, and Kafka not yet told.
    pub untold: HashSet<Partition>,
    pub paused: bool,
    pub served_at: Instant,
}

impl Reader {
    pub fn new(name: String, config: BusConfig, group: Group, workers: Vec<Worker>) -> Self {
        Self {
            name,
            config,
            group,
            workers,
            tasks: FuturesUnordered::new(),
            positions: Positions::default(),
            assigned: None,
            revoked: None,
            to_join: Vec::new(),
            seeks: BTreeMap::new(),
            seek_backoff: Backoff::default(),
            seek_again_at: None,
            ahead: BTreeSet::new(),
            untold: HashSet::new(),
            paused: false,
            served_at: Instant::now(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        self.report();
        let outcome = self.consume(&shutdown).await;
        // An error ended the loop: a batch may still commit, and whoever takes over sees its checkpoint.
        while self.workers.iter().any(Worker::is_running) {
            match self.tasks.next().await {
                Some((index, Ok(Ended::Handled(batch, Ok(()))))) => {
                    self.note_commits(&batch, &Ok(()));
                    let _ = self.workers[index].on_handled(batch, Ok(())); // a batch that is done asks for nothing more
                }
                // Nothing is tried again: the reader has ended.
                Some((index, Ok(Ended::Handled(_, Err(_))))) => self.workers[index].in_hand = InHand::Nothing,
                Some((_, Ok(Ended::Loaded(_)))) => {}
                Some((_, Err(_))) | None => break,
            }
        }
        self.tell_kafka();
        self.group.close().await;
        outcome
    }

    async fn consume(&mut self, shutdown: &CancellationToken) -> Result<(), ConsumerError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = shutdown.is_cancelled();
            if stopping && self.is_settled() {
                return Ok(());
            }
            if !stopping {
                self.answer_revocation()?;
                self.start_loading();
                self.answer_assignment()?;
                self.join_reader();
                self.receive_what_is_there().await?;
                self.start_batches();
                self.catch_up()?;
                self.seek().await;
                self.check_pause()?;
            }
            self.report_troubles();
            match self.next(&mut tick, shutdown, stopping).await {
                Happened::Stop => {}
                Happened::Ended(index, ended) => self.on_ended(index, ended)?,
                Happened::Due => self.try_again(),
                Happened::Rebalance(Rebalance::Revoke(partitions)) => self.on_revoked(partitions),
                Happened::Rebalance(Rebalance::Assign(partitions)) => self.on_assigned(partitions),
                Happened::Received(received) => self.on_received(*received).await?,
                Happened::ReceivedMissed(index, received) => {
                    self.on_received_missed(index, *received).await?;
                }
                Happened::Tick => self.on_tick().await?,
            }
        }
    }

    async fn next(
        &mut self,
        tick: &mut tokio::time::Interval,
        shutdown: &CancellationToken,
        stopping: bool,
    ) -> Happened {
        let (serve, not_before) = (self.serves(), self.receive_not_before());
        let due_at = self.workers.iter().filter_map(Worker::due_at).min().filter(|_| !stopping);
        let Self { group, workers, tasks, .. } = self;
        let receive = async {
            // In turn: neither may starve the other.
            tokio::select! {
                received = receive_after(not_before, group), if serve => Happened::Received(Box::new(received)),
                (index, received) = receive_missed(workers) => {
                    Happened::ReceivedMissed(index, Box::new(received))
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !stopping => Happened::Stop,
            Some((index, ended)) = tasks.next() => Happened::Ended(index, ended),
            () = until(due_at) => Happened::Due,
            rebalance = group.rebalance() => Happened::Rebalance(rebalance),
            _ = tick.tick() => Happened::Tick,
            happened = receive => happened,
        }
    }

    /// The worker waits for the task.
    pub(super) fn begin(&mut self, index: usize, task: Option<Task>) {
        if let Some(task) = task {
            self.tasks.push(Box::pin(async move { (index, task.await) }));
        }
    }

    fn start_batches(&mut self) {
        for index in 0..self.workers.len() {
            let task = self.workers[index].start_batch();
            self.begin(index, task);
        }
    }

    fn try_again(&mut self) {
        for index in 0..self.workers.len() {
            let task = self.workers[index].try_again();
            self.begin(index, task);
        }
    }

    /// Whether no handler has a batch any more, nor owes a checkpoint.
    fn is_settled(&mut self) -> bool {
        for index in 0..self.workers.len() {
            let task = self.workers[index].settle_what_is_owed();
            self.begin(index, task);
        }
        !self.workers.iter().any(Worker::is_running)
    }

    fn on_ended(&mut self, index: usize, ended: Result<Ended, JoinError>) -> Result<(), ConsumerError> {
        let panicked = |panic: JoinError| self.workers[index].fatal(format!("the handler panicked: {panic}"));
        match ended.map_err(panicked)? {
            Ended::Handled(batch, outcome) => {
                self.note_commits(&batch, &outcome);
                let task = self.workers[index].on_handled(batch, outcome)?;
                self.begin(index, task);
            }
            Ended::Loaded(loaded) => self.on_loaded(index, loaded)?,
        }
        Ok(())
    }

    fn note_commits(&mut self, batch: &crate::Batch, outcome: &Result<(), crate::HandlerError>) {
        if outcome.is_ok() {
            let moved = batch.moves.iter().map(|step| (Arc::from(step.topic.as_str()), step.partition));
            self.untold.extend(moved);
        }
    }

    async fn on_tick(&mut self) -> Result<(), ConsumerError> {
        self.check_ahead().await?;
        self.tell_kafka();
        for worker in &mut self.workers {
            worker.settle = true;
            worker.reload_what_was_lost();
        }
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        let membership = self.group.membership();
        self.workers.iter_mut().for_each(|worker| worker.report(membership));
    }

    fn report_troubles(&mut self) {
        let membership = self.group.membership();
        self.workers.iter_mut().for_each(|worker| worker.report_trouble(membership));
    }

    pub(super) fn restored(&self, reason: String) -> ConsumerError {
        ConsumerError::Restored { consumer: self.name.clone(), reason }
    }

    pub(super) fn kafka(&self, cause: KafkaError) -> ConsumerError {
        ConsumerError::Kafka { consumer: self.name.clone(), cause }
    }
}

async fn receive_after(not_before: Option<Instant>, group: &Group) -> Received {
    if let Some(not_before) = not_before {
        tokio::time::sleep_until(not_before.into()).await;
    }
    group.receive().await
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
