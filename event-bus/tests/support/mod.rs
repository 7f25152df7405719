//! A topic prefix and a database of the test's own, events to publish, and a handler that keeps a ledger.
//!
//! Never: a sleep; what is waited for is looked at until a limit. Read next: `../consumer.rs`.
#![allow(dead_code)] // each test binary uses a part

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use event_bus::{
    Batch, BatchHandler, BusConfig, Checkpoint, ConsumerError, ConsumerHealth, ConsumerOptions, HandlerError,
    OrderedPublisher, Outgoing, Record, checkpoint, ensure_topics, run_consumer,
};
use events::{Context, Metadata, Position, RawEvent, StreamId, TOPIC_PARTITIONS, cloud_event, partition_of};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const CONTEXT: Context = Context::Inventory;
const LIMIT: Duration = Duration::from_secs(60);

/// The engines, with empty topics that are this test's alone.
pub async fn bus() -> BusConfig {
    let bus = BusConfig::plain(testkit::kafka_brokers(), format!("{}-", testkit::unique("bus")));
    ensure_topics(&bus, 1).await.expect("the topics can be made");
    bus
}

/// Polls until `condition` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The event at `position`; some fifty streams take turns.
pub fn event(position: Position) -> RawEvent {
    event_of(position, &format!("stock-SKU{}", position % 50))
}

pub fn event_of(position: Position, stream: &str) -> RawEvent {
    RawEvent {
        position,
        stream: StreamId::from(stream.to_owned()),
        version: 1,
        event_id: Uuid::from_u128(position as u128),
        event_type: "StockReceived".to_owned(),
        schema_version: 1,
        payload: serde_json::value::to_raw_value(&serde_json::json!({"sku": "SKU", "quantity": 1}))
            .expect("JSON"),
        metadata: Metadata {
            correlation_id: Uuid::nil(),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "test".to_owned(),
            traceparent: None,
            idempotency_key: None,
        },
        recorded_at: chrono::DateTime::UNIX_EPOCH,
    }
}

pub fn outgoing(event: &RawEvent) -> Outgoing {
    Outgoing {
        key: event.stream.as_str().to_owned(),
        headers: vec![("ce_id", event.event_id.to_string())],
        value: cloud_event::encode(CONTEXT, event),
    }
}

pub fn home(event: &RawEvent) -> i32 {
    partition_of(event.stream.as_str(), TOPIC_PARTITIONS)
}

pub async fn publish(bus: &BusConfig, positions: impl IntoIterator<Item = Position>) {
    let mut publisher = OrderedPublisher::new(bus, bus.topic(CONTEXT)).expect("a publisher");
    let records: Vec<Outgoing> = positions.into_iter().map(|position| outgoing(&event(position))).collect();
    publisher.publish(&records).await.expect("acknowledged");
}

/// Puts a record where no relay would.
pub async fn put_by_hand(bus: &BusConfig, partition: i32, key: &str, value: &[u8]) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &bus.brokers).create().expect("a producer");
    let topic = bus.topic(CONTEXT);
    let record = FutureRecord::to(&topic).partition(partition).key(key).payload(value);
    producer.send(record, LIMIT).await.expect("acknowledged");
}

/// What lies on the topic: for each partition the positions, in order (0 for what is not an event).
pub async fn on_topic(bus: &BusConfig) -> BTreeMap<i32, Vec<Position>> {
    let mut found: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for record in testkit::read_topic(&bus.topic(CONTEXT)).await {
        let position = cloud_event::decode_raw(CONTEXT, &record.value).map_or(0, |event| event.position);
        found.entry(record.partition).or_default().push(position);
    }
    found
}

/// The positions in the order of their partitions that `positions` must leave on a topic.
pub fn expected(positions: impl IntoIterator<Item = Position>) -> BTreeMap<i32, Vec<Position>> {
    let mut partitions: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for position in positions {
        partitions.entry(home(&event(position))).or_default().push(position);
    }
    partitions
}

/// The effect of a record, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub partition: i32,
    pub record_offset: i64,
    /// 0: poison.
    pub position: Position,
    pub by: String,
}

/// A database with a ledger of effects and the checkpoints.
#[derive(Clone)]
pub struct Ledger {
    pub pool: Pool,
}

impl Ledger {
    pub async fn new() -> Self {
        let database = testkit::fresh_database("bus").await;
        let config: tokio_postgres::Config = database.url.parse().expect("a database url");
        let manager =
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager).max_size(4).build().expect("a pool");
        pool.get()
            .await
            .expect("a connection")
            .batch_execute(
                "CREATE TABLE ledger (entry bigint GENERATED ALWAYS AS IDENTITY, partition int, record_offset bigint,
                                      position bigint, by text);
                 CREATE TABLE checkpoints (consumer text, topic text, partition int, next_offset bigint,
                     last_position bigint, epoch bigint NOT NULL DEFAULT 1, CONSTRAINT checkpoints_pk PRIMARY KEY (consumer, topic, partition))",
            )
            .await
            .expect("tables");
        Self { pool }
    }

    pub async fn entries(&self) -> Vec<Entry> {
        let client = self.pool.get().await.expect("a connection");
        let rows = client
            .query("SELECT partition, record_offset, position, by FROM ledger ORDER BY entry", &[])
            .await
            .expect("the ledger");
        rows.iter()
            .map(|row| Entry {
                partition: row.get(0),
                record_offset: row.get(1),
                position: row.get(2),
                by: row.get(3),
            })
            .collect()
    }

    pub async fn execute(&self, sql: &str) {
        self.pool.get().await.expect("a connection").batch_execute(sql).await.expect("executed");
    }

    /// Waits for so many entries, and gives them.
    pub async fn when_entries(&self, count: usize) -> Vec<Entry> {
        until("entries in the ledger", || async {
            let entries = self.entries().await;
            (entries.len() >= count).then_some(entries)
        })
        .await
    }

    /// How many records the checkpoints have passed.
    pub async fn passed(&self) -> i64 {
        let client = self.pool.get().await.expect("a connection");
        let row = client
            .query_one("SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints", &[])
            .await
            .expect("the checkpoints");
        row.get(0)
    }

    /// Waits until the checkpoints have passed so many records.
    pub async fn when_passed(&self, records: i64) {
        let passed = || async { (self.passed().await >= records).then_some(()) };
        until("checkpoints past the records", passed).await;
    }
}

/// Writes each record into the ledger, in one transaction with the checkpoints; fails as told before.
pub struct Keeper {
    pub ledger: Ledger,
    pub consumer: String,
    pub by: String,
    /// Taken one per batch: `Some` fails it.
    pub failures: Mutex<VecDeque<Option<HandlerError>>>,
    /// SQL to run before the next batch, as somebody else.
    pub meddle: Mutex<Option<String>>,
    pub batches: Mutex<Vec<usize>>,
    /// Of which positions it was asked whether they concern it.
    pub asked: Mutex<Vec<Position>>,
    pub concerned: fn(Position) -> bool,
}

impl Keeper {
    pub fn new(ledger: &Ledger, by: &str) -> Arc<Self> {
        Self::concerned_with(|_| true, ledger, by)
    }

    pub fn concerned_with(concerned: fn(Position) -> bool, ledger: &Ledger, by: &str) -> Arc<Self> {
        Arc::new(Self {
            ledger: ledger.clone(),
            consumer: "keeper".to_owned(),
            by: by.to_owned(),
            failures: Mutex::default(),
            meddle: Mutex::default(),
            batches: Mutex::default(),
            asked: Mutex::default(),
            concerned,
        })
    }

    pub fn fails_with(self: Arc<Self>, failures: impl IntoIterator<Item = HandlerError>) -> Arc<Self> {
        self.failures.lock().expect("no panic").extend(failures.into_iter().map(Some));
        self
    }

    pub fn start(self: &Arc<Self>, bus: &BusConfig) -> Running {
        self.start_with(bus, false)
    }

    /// As the sagas do: a checkpoint that has gone back stops it.
    pub fn start_and_never_go_back(self: &Arc<Self>, bus: &BusConfig) -> Running {
        self.start_with(bus, true)
    }

    fn start_with(self: &Arc<Self>, bus: &BusConfig, never_back: bool) -> Running {
        let mut options = ConsumerOptions::new(self.consumer.clone(), [CONTEXT]);
        options.batch_max = 50;
        options.never_back = never_back;
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
        let client = self.ledger.pool.get().await.map_err(|error| HandlerError::Retry(error.to_string()))?;
        Ok(checkpoint::load(&client, &self.consumer).await?)
    }

    fn concerns(&self, record: &Record) -> bool {
        let position = record.position.unwrap_or_default();
        self.asked.lock().expect("no panic").push(position);
        (self.concerned)(position)
    }

    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let meddle = self.meddle.lock().expect("no panic").take();
        if let Some(sql) = meddle {
            self.ledger.execute(&sql).await;
        }
        if let Some(failure) = self.failures.lock().expect("no panic").pop_front().flatten() {
            return Err(failure);
        }
        let retry = |error: &dyn std::fmt::Display| HandlerError::Retry(error.to_string());
        let mut client = self.ledger.pool.get().await.map_err(|error| retry(&error))?;
        let transaction = client.transaction().await.map_err(|error| retry(&error))?;
        let partitions: Vec<i32> = batch.records.iter().map(|record| record.partition).collect();
        let offsets: Vec<i64> = batch.records.iter().map(|record| record.offset).collect();
        let positions: Vec<i64> = batch
            .records
            .iter()
            .map(|record| record.event.as_ref().map_or(0, |event| event.position))
            .collect();
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

/// A consumer at work.
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

    /// Drops the consumer in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn when_health(&self, what: &str, condition: impl Fn(&ConsumerHealth) -> bool) {
        until(what, || async {
            let health = self.health.lock().expect("no panic");
            health.as_ref().is_some_and(&condition).then_some(())
        })
        .await;
    }
}

/// Each position of `positions` once, and in order within each partition.
#[track_caller]
pub fn assert_once_and_in_order(entries: &[Entry], positions: impl IntoIterator<Item = Position>) {
    let mut found: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for entry in entries {
        found.entry(entry.partition).or_default().push(entry.position);
    }
    assert_eq!(found, expected(positions));
}
