//! A context's log in a private database, private topics, and relays between them. No test sleeps: each waits for a
//! state, with a limit.
#![allow(dead_code)] // each test binary uses a part

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event_bus::{BusConfig, ensure_topics};
use event_store::{Append, EventStore, NewEvent, RelayStatus, StoreOptions, StreamWrite};
use events::inventory::StockReceived;
use events::{
    Context, Metadata, Position, Quantity, Sku, StockEvent, TOPIC_PARTITIONS, Version, cloud_event,
    partition_of,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use relay::{Config, Error};
use runtime::{Health, Secret};
use testkit::{TopicRecord, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const CONTEXT: Context = Context::Inventory;
const LIMIT: Duration = Duration::from_secs(60);
const STREAMS: usize = 50;

pub struct World {
    pub config: Config,
    pub store: EventStore,
    admin: tokio_postgres::Client,
    versions: Vec<Version>,
}

/// An event's record on the topic.
#[derive(Debug, Clone)]
pub struct OnTopic {
    pub position: Position,
    pub record: TopicRecord,
}

pub async fn world() -> World {
    world_with_topic(&[]).await
}

/// `settings` of the context's topic, from its creation, because a later change takes effect with a delay.
pub async fn world_with_topic(settings: &[(&str, &str)]) -> World {
    let database_url = Secret::from(testkit::context("relay", CONTEXT).await.url);
    let admin = runtime::postgres::connect(&database_url).await.expect("the database answers");
    admin.batch_execute(&format!("SET search_path TO {CONTEXT}")).await.expect("the schema is there");
    let bus = BusConfig::plain(testkit::kafka_brokers(), format!("{}-", testkit::unique("relay")));
    make_topic(&bus, settings).await;
    ensure_topics(&bus, &Context::NAMES, 1).await.expect("the other topics can be made");
    let role_url = runtime::postgres::owner_url(&database_url, CONTEXT.name());
    let pool = runtime::postgres::pool(&role_url, 4).expect("a pool");
    let store = EventStore::new(CONTEXT, pool, StoreOptions::default()).await.expect("the store opens");
    let config = Config {
        databases: runtime::ContextUrls::one(database_url),
        bus,
        contexts: vec![CONTEXT.into()],
        lease_ms: 20_000,
        poll_ms_max: 10,
        batch_max: 500,
    };
    World { config, store, admin, versions: vec![0; STREAMS] }
}

async fn make_topic(bus: &BusConfig, settings: &[(&str, &str)]) {
    let topic = bus.topic(CONTEXT);
    let new = NewTopic::new(&topic, TOPIC_PARTITIONS, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let made = admin(bus).create_topics([&new], &AdminOptions::new()).await.expect("answered");
    assert_eq!(made, [Ok(topic.clone())]);
}

/// Changes the context's topic; Kafka applies it with a delay.
pub async fn set_max_message_bytes(world: &World, bytes: &str) {
    let topic = world.config.bus.topic(CONTEXT);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let admin = admin(&world.config.bus);
    let outcome = admin.alter_configs([&change], &AdminOptions::new()).await.expect("answered");
    outcome.into_iter().for_each(|one| drop(one.expect("altered")));
}

fn admin(bus: &BusConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &bus.brokers).create().expect("an admin client")
}

impl World {
    /// Appends `count` events; the streams alternate.
    pub async fn append(&mut self, count: usize) {
        self.append_noted(count, None).await;
    }

    /// `note`: text that makes the events larger.
    pub async fn append_noted(&mut self, count: usize, note: Option<String>) {
        let metadata = Metadata {
            correlation_id: Uuid::nil(),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "test".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            idempotency_key: None,
        };
        let mut left = count;
        while left > 0 {
            let now = left.min(1_000);
            left -= now;
            let mut writes = Vec::new();
            for index in 0..now.min(STREAMS) {
                let sku: Sku = format!("SKU{index}").parse().expect("a SKU");
                let received = StockReceived {
                    sku: sku.clone(),
                    quantity: Quantity::try_from(1).expect("1 is a quantity"),
                    reference: note.clone(),
                };
                let events: Vec<NewEvent> = (0..(now - index).div_ceil(STREAMS))
                    .map(|_| NewEvent::new(&StockEvent::from(received.clone()), metadata.clone()))
                    .collect();
                let expected_version = self.versions[index];
                self.versions[index] += events.len() as Version;
                writes.push(StreamWrite {
                    stream: events::inventory::stock_stream(&sku),
                    expected_version,
                    events,
                });
            }
            let append = Append { writes, ..Append::default() };
            self.store.append(append).await.expect("appended");
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.admin.batch_execute(sql).await.expect("executed");
    }

    pub async fn status(&self) -> RelayStatus {
        self.store.relay_status().await.expect("the status")
    }

    pub async fn when_cursor(&self, position: Position) {
        eventually("the cursor has moved", || async {
            (self.status().await.cursor >= position).then_some(())
        })
        .await;
    }

    /// All records of the context's topic: for each partition, in order.
    pub async fn on_topic(&self) -> BTreeMap<i32, Vec<OnTopic>> {
        let mut found: BTreeMap<i32, Vec<OnTopic>> = BTreeMap::new();
        for record in testkit::read_topic(&self.config.bus.topic(CONTEXT)).await {
            let position = cloud_event::decode_raw(CONTEXT, &record.value).expect("an event").position;
            found.entry(record.partition).or_default().push(OnTopic { position, record });
        }
        found
    }

    /// Asserts that every event of the log is on its partition, and that first occurrences are in order. Returns the
    /// number of duplicates.
    #[track_caller]
    pub fn assert_all_there_in_order(&self, head: Position, topic: &BTreeMap<i32, Vec<OnTopic>>) -> usize {
        let mut all = BTreeSet::new();
        let mut duplicates = 0;
        for (&partition, records) in topic {
            let mut last = 0;
            for OnTopic { position, record } in records {
                assert_eq!(partition_of(&record.key, TOPIC_PARTITIONS), partition);
                if !all.insert(*position) {
                    duplicates += 1;
                    continue;
                }
                assert!(*position > last, "position {position} first comes after {last}");
                last = *position;
            }
        }
        assert!(all.iter().copied().eq(1..=head), "{} of {head} events are there", all.len());
        duplicates
    }
}

/// A running relay.
pub struct Running {
    pub task: JoinHandle<Result<(), Error>>,
    pub shutdown: CancellationToken,
    pub health: Health,
}

pub fn start(config: &Config) -> Running {
    let (shutdown, health) = (CancellationToken::new(), Health::new());
    let task = tokio::spawn(relay::run(config.clone(), &Context::NAMES, health.clone(), shutdown.clone()));
    Running { task, shutdown, health }
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("no error");
    }

    pub async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends in time").expect("it does not panic")
    }

    /// Drops the relay at whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Waits until `condition` is true of the readiness: none, or the reason of the one check.
    pub async fn when_readiness(&self, what: &str, condition: impl Fn(Option<&str>) -> bool) {
        eventually(what, || async {
            let failing = self.health.readiness().err();
            let reason = failing.as_ref().map(|failing| failing[0].reason.as_str());
            condition(reason).then_some(())
        })
        .await;
    }
}
