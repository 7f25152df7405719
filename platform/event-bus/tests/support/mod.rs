//! A private topic prefix and database, events to publish, and a handler that keeps a ledger.
//!
//! No test sleeps: each waits for a state, with a limit.
#![allow(dead_code)] // each test binary uses a part

mod keeper;

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use event_bus::{BusConfig, OrderedPublisher, Outgoing, ensure_topics};
use events::{Context, Metadata, Position, RawEvent, StreamId, TOPIC_PARTITIONS, cloud_event, partition_of};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::eventually;
use tokio_postgres::NoTls;
use uuid::Uuid;

#[allow(unused_imports)]
pub use keeper::{GROUP, Keeper, start_reader};

pub const CONTEXT: Context = Context::Inventory;
const LIMIT: Duration = Duration::from_secs(60);

/// The configuration of Kafka with private, empty topics.
pub async fn bus() -> BusConfig {
    let bus = BusConfig::plain(testkit::kafka_brokers(), format!("{}-", testkit::unique("bus")));
    ensure_topics(&bus, &Context::NAMES, 1).await.expect("the topics can be made");
    bus
}

/// The event at `position`; some fifty streams alternate.
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

/// Writes a record to a partition where no relay would write it.
pub async fn put_by_hand(bus: &BusConfig, partition: i32, key: &str, value: &[u8]) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &bus.brokers).create().expect("a producer");
    let topic = bus.topic(CONTEXT);
    let record = FutureRecord::to(&topic).partition(partition).key(key).payload(value);
    producer.send(record, LIMIT).await.expect("acknowledged");
}

/// The positions of each partition's records, in order (0 for a record that is not an event).
pub async fn on_topic(bus: &BusConfig) -> BTreeMap<i32, Vec<Position>> {
    let mut found: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for record in testkit::read_topic(&bus.topic(CONTEXT)).await {
        let position = cloud_event::decode_raw(CONTEXT, &record.value).map_or(0, |event| event.position);
        found.entry(record.partition).or_default().push(position);
    }
    found
}

/// The positions that `positions` must leave on each partition, in order.
pub fn expected(positions: impl IntoIterator<Item = Position>) -> BTreeMap<i32, Vec<Position>> {
    let mut partitions: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for position in positions {
        partitions.entry(home(&event(position))).or_default().push(position);
    }
    partitions
}

/// The effect of a record in the ledger.
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

    /// Waits for so many entries, and returns them.
    pub async fn when_entries(&self, count: usize) -> Vec<Entry> {
        eventually("entries in the ledger", || async {
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

    /// How many records the checkpoints of one consumer have passed.
    pub async fn passed_by(&self, consumer: &str) -> i64 {
        let client = self.pool.get().await.expect("a connection");
        let query = "SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints WHERE consumer = $1";
        client.query_one(query, &[&consumer]).await.expect("the checkpoints").get(0)
    }

    /// Waits until the checkpoints have passed so many records.
    pub async fn when_passed(&self, records: i64) {
        let passed = || async { (self.passed().await >= records).then_some(()) };
        eventually("checkpoints past the records", passed).await;
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
