//! A handler that keeps a ledger, as one consumer or as one of several handlers of a reader.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_bus::{
    Batch, BatchHandler, BusConfig, Checkpoint, ConsumerError, ConsumerHealth, ConsumerOptions, HandlerError,
    Record, Subscription, checkpoint, run_consumer, run_reader,
};
use events::{Context, Position};
use testkit::eventually;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{CONTEXT, LIMIT, Ledger};

/// Writes each record into the ledger, in one transaction with the checkpoints; fails as configured.
pub struct Keeper {
    pub ledger: Ledger,
    pub consumer: String,
    pub by: String,
    /// One is taken per batch: `Some` fails it.
    pub failures: Mutex<VecDeque<Option<HandlerError>>>,
    /// SQL to run before the next batch, as another process would.
    pub interfere: Mutex<Option<String>>,
    pub batches: Mutex<Vec<usize>>,
    /// The positions that it was asked about in `is_relevant`.
    pub asked: Mutex<Vec<Position>>,
    pub relevant: fn(Position) -> bool,
    pub context: Context,
    /// Whether every batch fails with a retry.
    pub stuck: AtomicBool,
    /// Whether its checkpoints cannot be read.
    pub away: AtomicBool,
    /// A permit for each batch that may run; none if batches do not wait.
    pub gate: Option<Semaphore>,
}

impl Keeper {
    pub fn new(ledger: &Ledger, by: &str) -> Arc<Self> {
        Self::relevant_if(|_| true, ledger, by)
    }

    pub fn relevant_if(relevant: fn(Position) -> bool, ledger: &Ledger, by: &str) -> Arc<Self> {
        Arc::new(Self { relevant, ..Self::plain(ledger, "keeper", by) })
    }

    /// One of several handlers, whose checkpoints have their own name.
    pub fn named(consumer: &str, ledger: &Ledger, by: &str) -> Arc<Self> {
        Arc::new(Self::plain(ledger, consumer, by))
    }

    /// A handler of another topic, which has no records.
    pub fn subscribed_to(context: Context, consumer: &str, ledger: &Ledger, by: &str) -> Arc<Self> {
        Arc::new(Self { context, ..Self::plain(ledger, consumer, by) })
    }

    /// The same, whose batches each wait for a permit.
    pub fn slow(consumer: &str, ledger: &Ledger, by: &str) -> Arc<Self> {
        Arc::new(Self { gate: Some(Semaphore::new(0)), ..Self::plain(ledger, consumer, by) })
    }

    fn plain(ledger: &Ledger, consumer: &str, by: &str) -> Self {
        Self {
            ledger: ledger.clone(),
            consumer: consumer.to_owned(),
            by: by.to_owned(),
            failures: Mutex::default(),
            interfere: Mutex::default(),
            batches: Mutex::default(),
            asked: Mutex::default(),
            relevant: |_| true,
            context: CONTEXT,
            stuck: AtomicBool::new(false),
            away: AtomicBool::new(false),
            gate: None,
        }
    }

    /// Releases so many of its batches.
    pub fn release(&self, batches: usize) {
        self.gate.as_ref().expect("a slow handler").add_permits(batches);
    }

    pub fn fails_with(self: Arc<Self>, failures: impl IntoIterator<Item = HandlerError>) -> Arc<Self> {
        self.failures.lock().expect("no panic").extend(failures.into_iter().map(Some));
        self
    }

    pub fn start(self: &Arc<Self>, bus: &BusConfig) -> Running {
        self.start_with(bus, false)
    }

    /// As the reactors do: a rewound checkpoint stops it.
    pub fn start_detecting_rewinds(self: &Arc<Self>, bus: &BusConfig) -> Running {
        self.start_with(bus, true)
    }

    fn start_with(self: &Arc<Self>, bus: &BusConfig, detect_rewind: bool) -> Running {
        let mut options = ConsumerOptions::new(self.consumer.clone(), [CONTEXT]);
        options.batch_max = 50;
        options.detect_rewind = detect_rewind;
        let shutdown = CancellationToken::new();
        let health: Arc<Mutex<Option<ConsumerHealth>>> = Arc::default();
        let (bus, handler, stop, seen) =
            (bus.clone(), Arc::clone(self), shutdown.clone(), Arc::clone(&health));
        let task = tokio::spawn(async move {
            let report = Arc::new(move |now: &ConsumerHealth| {
                *seen.lock().expect("no panic") = Some(now.clone());
            });
            run_consumer(&bus, options, handler, report, stop).await
        });
        Running { task, shutdown, health }
    }
}

#[async_trait]
impl BatchHandler for Keeper {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(HandlerError::Retry("its database is unreachable".to_owned()));
        }
        let client = self.ledger.pool.get().await.map_err(|error| HandlerError::Retry(error.to_string()))?;
        Ok(checkpoint::load(&client, &self.consumer).await?)
    }

    fn is_relevant(&self, record: &Record) -> bool {
        let position = record.position.unwrap_or_default();
        self.asked.lock().expect("no panic").push(position);
        (self.relevant)(position)
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let interfere = self.interfere.lock().expect("no panic").take();
        if let Some(sql) = interfere {
            self.ledger.execute(&sql).await;
        }
        if self.stuck.load(Ordering::SeqCst) {
            return Err(HandlerError::Retry("it is stuck".to_owned()));
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("the gate is never closed").forget();
        }
        if let Some(failure) = self.failures.lock().expect("no panic").pop_front().flatten() {
            return Err(failure);
        }
        let retry = |error: &dyn std::fmt::Display| HandlerError::Retry(error.to_string());
        let mut client = self.ledger.pool.get().await.map_err(|error| retry(&error))?;
        let transaction = client.transaction().await.map_err(|error| retry(&error))?;
        let partitions: Vec<i32> = batch.records.iter().map(|record| record.partition).collect();
        let offsets: Vec<i64> = batch.records.iter().map(|record| record.offset).collect();
        let positions: Vec<i64> = batch.records.iter().map(|record| record.position.unwrap_or(0)).collect();
        transaction
            .execute(
                "INSERT INTO ledger (partition, record_offset, position, by)
                 SELECT *, $4 FROM unnest($1::int[], $2::bigint[], $3::bigint[])",
                &[&partitions, &offsets, &positions, &self.by],
            )
            .await
            .map_err(|error| retry(&error))?;
        checkpoint::move_all(&transaction, &batch.moves).await?;
        transaction.commit().await.map_err(|error| retry(&error))?;
        self.batches.lock().expect("no panic").push(batch.records.len());
        Ok(())
    }
}

/// The group of the readers in these tests.
pub const GROUP: &str = "keepers";

/// Starts a reader with several handlers.
pub fn start_reader(bus: &BusConfig, keepers: &[&Arc<Keeper>], detect_rewind: bool) -> RunningReader {
    let shutdown = CancellationToken::new();
    let mut health = Vec::new();
    let mut subscriptions = Vec::new();
    for keeper in keepers {
        let mut options = ConsumerOptions::new(keeper.consumer.clone(), [keeper.context]);
        options.batch_max = 50;
        options.detect_rewind = detect_rewind;
        let seen: Arc<Mutex<Option<ConsumerHealth>>> = Arc::default();
        health.push(Arc::clone(&seen));
        let report =
            Arc::new(move |now: &ConsumerHealth| *seen.lock().expect("no panic") = Some(now.clone()));
        subscriptions.push(Subscription { options, handler: Arc::clone(keeper) as _, health: report });
    }
    let (bus, stop) = (bus.clone(), shutdown.clone());
    let task = tokio::spawn(async move { run_reader(&bus, GROUP, subscriptions, stop).await });
    RunningReader { task, shutdown, health }
}

/// A running reader, with the health of each of its handlers.
pub struct RunningReader {
    pub task: JoinHandle<Result<(), ConsumerError>>,
    pub shutdown: CancellationToken,
    pub health: Vec<Arc<Mutex<Option<ConsumerHealth>>>>,
}

impl RunningReader {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("no error");
    }

    pub async fn ended(self) -> Result<(), ConsumerError> {
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends in time").expect("it does not panic")
    }

    /// Drops the reader at whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn when_health(&self, index: usize, what: &str, condition: impl Fn(&ConsumerHealth) -> bool) {
        eventually(what, || async {
            let health = self.health[index].lock().expect("no panic");
            health.as_ref().is_some_and(&condition).then_some(())
        })
        .await;
    }
}

/// A running consumer.
pub struct Running {
    pub task: JoinHandle<Result<(), ConsumerError>>,
    pub shutdown: CancellationToken,
    pub health: Arc<Mutex<Option<ConsumerHealth>>>,
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("no error");
    }

    pub async fn ended(self) -> Result<(), ConsumerError> {
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends in time").expect("it does not panic")
    }

    /// Drops the consumer at whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn when_health(&self, what: &str, condition: impl Fn(&ConsumerHealth) -> bool) {
        eventually(what, || async {
            let health = self.health.lock().expect("no panic");
            health.as_ref().is_some_and(&condition).then_some(())
        })
        .await;
    }
}
