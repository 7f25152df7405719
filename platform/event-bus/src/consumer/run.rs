//! The reader's loop: one task that serves Kafka, decodes each record once, passes it to every handler that needs it, and keeps one
//! batch in flight with each of them.
//!
//! The loop polls Kafka while any handler has room for more records. If none has, librdkafka's own bounded queue holds the rest. If
//! that lasts, the loop pauses the partitions and polls on, so that the group does not expel this member.
//!
//! A revocation is never answered while a handler works on a batch that touches its partitions.

mod behind;
mod rebalance;
mod serving;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rdkafka::error::KafkaError;
use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ConsumerError;
use super::assignment::Assignment;
use super::commits::Commits;
use super::group::Group;
use super::membership::Rebalance;
use super::positions::{Partition, Positions};
use super::received::Received;
use super::seeks::Seeks;
use super::worker::{Ended, Task, Worker};
use crate::BusConfig;
use behind::receive_missed;

/// The interval of health reports, metrics, offset commits to Kafka, and commits of pending checkpoints.
const TICK: Duration = Duration::from_secs(1);

enum LoopEvent {
    Stop,
    Ended(usize, Result<Ended, JoinError>),
    Due,
    Rebalance(Rebalance),
    Received(Box<Received>),
    ReceivedMissed(usize, Box<Received>),
    Tick,
}

pub(super) struct Reader {
    /// The group's name, without the prefix.
    name: String,
    config: BusConfig,
    group: Group,
    workers: Vec<Worker>,
    /// Running batches and checkpoint loads, each with its worker's index. Dropping them lets them finish by themselves.
    tasks: FuturesUnordered<BoxFuture<'static, (usize, Result<Ended, JoinError>)>>,
    /// The offsets that Kafka must return next.
    positions: Positions,
    assignment: Assignment,
    seeks: Seeks,
    /// Partitions with a handler ahead of the reader, whose offset was not yet compared with the partition's range.
    ahead: BTreeSet<Partition>,
    commits: Commits,
    paused: bool,
    served_at: Instant,
}

impl Reader {
    pub fn new(name: String, config: BusConfig, group: Group, workers: Vec<Worker>) -> Self {
        Self {
            name,
            config,
            group,
            commits: Commits::new(workers.len()),
            workers,
            tasks: FuturesUnordered::new(),
            positions: Positions::default(),
            assignment: Assignment::default(),
            seeks: Seeks::default(),
            ahead: BTreeSet::new(),
            paused: false,
            served_at: Instant::now(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        self.report();
        let outcome = self.consume(&shutdown).await;
        // After an error a batch may still commit; the next owner of its partitions sees its checkpoint.
        while self.workers.iter().any(Worker::is_running) {
            match self.tasks.next().await {
                Some((index, Ok(Ended::Handled(batch, Ok(()))))) => {
                    // A successful batch starts no task.
                    let _ = self.workers[index].on_handled(batch, Ok(()), &mut self.commits);
                }
                // The reader has ended: there are no retries.
                Some((index, Ok(Ended::Handled(_, Err(_))))) => drop(self.workers[index].in_flight.ended(0)),
                Some((_, Ok(Ended::Loaded(_)))) => {}
                Some((_, Err(_))) | None => break,
            }
        }
        self.commit_offsets();
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
                self.receive_arrived().await?;
                self.start_batches();
                self.catch_up()?;
                self.seek().await;
                self.check_pause()?;
            }
            self.report_troubles();
            match self.next(&mut tick, shutdown, stopping).await {
                LoopEvent::Stop => {}
                LoopEvent::Ended(index, ended) => self.on_ended(index, ended)?,
                LoopEvent::Due => self.retry(),
                LoopEvent::Rebalance(Rebalance::Revoke(partitions)) => self.on_revoked(partitions),
                LoopEvent::Rebalance(Rebalance::Assign(partitions)) => self.on_assigned(partitions),
                LoopEvent::Received(received) => self.on_received(*received).await?,
                LoopEvent::ReceivedMissed(index, received) => {
                    self.on_received_missed(index, *received).await?;
                }
                LoopEvent::Tick => self.on_tick().await?,
            }
        }
    }

    async fn next(
        &mut self,
        tick: &mut tokio::time::Interval,
        shutdown: &CancellationToken,
        stopping: bool,
    ) -> LoopEvent {
        let (serve, not_before) = (self.serves(), self.receive_not_before());
        let due_at = self.workers.iter().filter_map(Worker::due_at).min().filter(|_| !stopping);
        let Self { group, workers, tasks, .. } = self;
        let receive = async {
            // Unbiased: neither source may starve the other.
            tokio::select! {
                received = receive_after(not_before, group), if serve => LoopEvent::Received(Box::new(received)),
                (index, received) = receive_missed(workers) => {
                    LoopEvent::ReceivedMissed(index, Box::new(received))
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !stopping => LoopEvent::Stop,
            Some((index, ended)) = tasks.next() => LoopEvent::Ended(index, ended),
            () = until(due_at) => LoopEvent::Due,
            rebalance = group.rebalance() => LoopEvent::Rebalance(rebalance),
            _ = tick.tick() => LoopEvent::Tick,
            event = receive => event,
        }
    }

    /// Adds a worker's task to those that the loop waits for.
    fn begin(&mut self, index: usize, task: Option<Task>) {
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

    fn retry(&mut self) {
        for index in 0..self.workers.len() {
            let task = self.workers[index].retry();
            self.begin(index, task);
        }
    }

    /// Whether no handler has a batch in flight or a pending checkpoint.
    fn is_settled(&mut self) -> bool {
        for index in 0..self.workers.len() {
            let task = self.workers[index].start_pending_checkpoints();
            self.begin(index, task);
        }
        !self.workers.iter().any(Worker::is_running)
    }

    fn on_ended(&mut self, index: usize, ended: Result<Ended, JoinError>) -> Result<(), ConsumerError> {
        let panicked = |panic: JoinError| self.workers[index].fatal(format!("the handler panicked: {panic}"));
        match ended.map_err(panicked)? {
            Ended::Handled(batch, outcome) => {
                let task = self.workers[index].on_handled(batch, outcome, &mut self.commits)?;
                self.begin(index, task);
            }
            Ended::Loaded(loaded) => self.on_loaded(index, loaded)?,
        }
        Ok(())
    }

    async fn on_tick(&mut self) -> Result<(), ConsumerError> {
        self.check_ahead().await?;
        self.commit_offsets();
        for worker in &mut self.workers {
            worker.commit_pending_checkpoints();
            worker.reload_lost_checkpoints(&mut self.commits);
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

    fn restored(&self, reason: String) -> ConsumerError {
        ConsumerError::Restored { consumer: self.name.clone(), reason }
    }

    fn kafka(&self, cause: KafkaError) -> ConsumerError {
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
