//! A stopped platform with orders in every end state, and copies of it for the tests that change something.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Platform, line};
use events::{Context, TOPIC_PARTITIONS};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(60);

/// The schemas with checkpoints.
pub fn schemas() -> impl Iterator<Item = &'static str> {
    Context::ALL.into_iter().map(Context::name).chain(["readmodel"])
}

/// The stopped platform, and some of its orders.
pub struct Filled {
    database_url: String,
    topic_prefix: String,
    pub delivered: Uuid,
    pub rejected: Uuid,
}

static FILLED: OnceCell<Filled> = OnceCell::const_new();

/// A copy of the stopped platform.
pub struct Resting {
    pub url: String,
    pub topic_prefix: String,
}

/// What a verification printed.
#[derive(Debug)]
pub struct Verdict {
    pub code: i32,
    pub json: Value,
    pub errors: String,
}

/// A record of a topic, to be copied.
#[derive(Debug, Clone)]
pub struct Copied {
    pub context: Context,
    pub partition: i32,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl Copied {
    pub fn position(&self) -> i64 {
        let value: Value = serde_json::from_slice(&self.value).expect("a record is JSON");
        value["position"].as_i64().expect("a record has its position")
    }
}

/// One for all tests of a run, whichever process each of them is.
pub async fn filled() -> &'static Filled {
    FILLED
        .get_or_init(async || {
            let make = async || fill().await.to_json().to_string();
            let filled = testkit::once_per_run("verify filled", make).await;
            Filled::from_json(&serde_json::from_str(&filled).expect("it was written as JSON"))
        })
        .await
}

/// Takes orders to every end state, and some half-way.
async fn fill() -> Filled {
    let mut platform = Platform::start("verify", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("TEAPOT", 100).await;
    shop.provider_treats("dan", json!({"outcome": "decline", "decline_code": "insufficient_funds"})).await;
    shop.provider_treats("carol", json!({"capture_at_once": true})).await;
    let teapots = |pieces| [line("TEAPOT", pieces, 1250)];
    let delivered = shop.places_order("alice", &teapots(2)).await;
    let shipped = shop.places_order("alice", &teapots(1)).await;
    let confirmed = shop.places_order("bob", &teapots(3)).await;
    let cancelled = shop.places_order("bob", &teapots(4)).await;
    let refunded = shop.places_order("carol", &teapots(5)).await;
    let gift = shop.places_order("eve", &[line("TEAPOT", 1, 0)]).await;
    let rejected = shop.places_order("dan", &teapots(1)).await;
    let short = shop.places_order("alice", &teapots(10_000)).await;
    for order in [delivered, shipped, confirmed, cancelled, refunded, gift] {
        shop.sees_order(order, "confirmed").await;
    }
    for order in [delivered, shipped] {
        shop.dispatches(order).await.accepted();
        shop.sees_payment(order, "captured").await;
    }
    shop.delivers(delivered).await;
    shop.sees_order(delivered, "delivered").await;
    shop.sees_order(shipped, "shipped").await;
    for order in [cancelled, refunded] {
        shop.cancels(order).await.accepted();
        shop.sees_order(order, "cancelled").await;
    }
    for order in [rejected, short] {
        shop.sees_order(order, "rejected").await;
    }
    shop.sees_payment(refunded, "refunded").await;
    shop.sees_stock("TEAPOT", 100, 93, 4, 3).await;
    for order in [confirmed, gift] {
        shop.shipment_is_prepared(order).await;
    }
    let (database_url, topic) = (platform.endpoint("database_url"), platform.topic(Context::Orders));
    let topic_prefix = topic.strip_suffix(Context::Orders.topic()).expect("a prefix and the name").to_owned();
    platform.stop().await;
    Filled { database_url, topic_prefix, delivered, rejected }
}

impl Filled {
    fn to_json(&self) -> Value {
        let Self { database_url, topic_prefix, delivered, rejected } = self;
        json!({
            "database_url": database_url, "topic_prefix": topic_prefix,
            "delivered": delivered, "rejected": rejected,
        })
    }

    fn from_json(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().expect("to_json wrote it").to_owned();
        let id = |name: &str| text(name).parse().expect("to_json wrote it");
        Self {
            database_url: text("database_url"),
            topic_prefix: text("topic_prefix"),
            delivered: id("delivered"),
            rejected: id("rejected"),
        }
    }

    /// A database of the test's own; the topics are everybody's: not to be changed.
    pub async fn copy_database(&self) -> Resting {
        let name = testkit::unique("verify_copy").replace('-', "_");
        let copy = testkit::copy_database(&self.database_url, &name).await;
        Resting { url: copy.url, topic_prefix: self.topic_prefix.clone() }
    }

    /// A database and topics for one test alone. `change` returns the records to write in place of each record.
    pub async fn copy_all(&self, change: impl Fn(Copied) -> Vec<Copied>) -> Resting {
        let mut copy = self.copy_database().await;
        copy.topic_prefix = format!("{}.", testkit::unique("verify-copy"));
        create_topics(&copy.topic_prefix).await;
        let producer: BaseProducer = client().create().expect("a producer");
        for context in Context::ALL {
            let to = format!("{}{}", copy.topic_prefix, context.topic());
            for record in read(context, &format!("{}{}", self.topic_prefix, context.topic())) {
                for Copied { partition, key, value, .. } in change(record) {
                    let record = BaseRecord::to(&to).partition(partition).key(&key).payload(&value);
                    producer.send(record).expect("the producer's queue holds a few records");
                }
            }
            for schema in schemas() {
                let topic = context.topic();
                let rename = "UPDATE {schema}.checkpoints SET topic = '{to}' WHERE topic LIKE '%.{topic}'";
                let rename =
                    rename.replace("{schema}", schema).replace("{to}", &to).replace("{topic}", topic);
                copy.execute(&rename).await;
            }
        }
        producer.flush(WAIT).expect("the records are delivered");
        copy
    }
}

impl Resting {
    /// As the superuser.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// One text, as the superuser.
    pub async fn text(&self, sql: &str) -> String {
        connect(&self.url).await.query_one(sql, &[]).await.expect(sql).get(0)
    }

    pub async fn verify(&self, more: &[&str]) -> Verdict {
        let (url, prefix) = (self.url.clone(), self.topic_prefix.clone());
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let run = move || {
            Command::new(std::env::var_os("TRADEWIND_BIN").expect("TRADEWIND_BIN is set by `make test`"))
                .args(["verify", "--json"])
                .args(more)
                .env("DATABASE_URL", url)
                .env("KAFKA_BROKERS", testkit::kafka_brokers())
                .env("TOPIC_PREFIX", prefix)
                .stdin(Stdio::null())
                .output()
                .expect("TRADEWIND_BIN is the tradewind binary")
        };
        let output = tokio::task::spawn_blocking(run).await.expect("verify ends");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Verdict { code: output.status.code().unwrap_or(-1), json, errors }
    }

    pub fn topic(&self, context: Context) -> String {
        format!("{}{}", self.topic_prefix, context.topic())
    }
}

impl Verdict {
    /// # Panics
    /// With everything that was printed, when something does not hold.
    #[track_caller]
    pub fn is_clean(&self) -> &Value {
        assert!(self.code == 0 && self.json["holds"] == json!(true), "{self:#?}");
        &self.json["properties"]
    }

    /// The first violation of a property.
    ///
    /// # Panics
    /// With everything that was printed, when that property holds.
    #[track_caller]
    pub fn violation(&self, property: &str) -> &Value {
        let first = &self.json["properties"][property]["first"];
        assert!(self.code == 1 && first.is_object(), "{property} should fail: {self:#?}");
        first
    }

    /// The properties that do not hold.
    pub fn failing(&self) -> Vec<&str> {
        let lines = self.json["properties"].as_object().expect("a report");
        let failing = lines.iter().filter(|(_, line)| line["violations"] != json!(0));
        failing.map(|(name, _)| name.as_str()).collect()
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

async fn execute(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.expect(sql);
}

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", testkit::kafka_brokers()).set("group.id", testkit::unique("verify"));
    client.set("enable.auto.commit", "false");
    client
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    client().create().expect("an admin client")
}

async fn create_topics(prefix: &str) {
    let names = Context::ALL.map(|context| format!("{prefix}{}", context.topic()));
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|name| NewTopic::new(name, TOPIC_PARTITIONS, TopicReplication::Fixed(1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    for created in admin().create_topics(&topics, &options).await.expect("Kafka answers") {
        created.expect("the topic is created");
    }
}

/// Every record of a topic, partition by partition.
fn read(context: Context, topic: &str) -> Vec<Copied> {
    let consumer: BaseConsumer = client().create().expect("a consumer");
    let (mut unread, mut assignment) = (BTreeMap::new(), TopicPartitionList::new());
    for partition in 0..TOPIC_PARTITIONS {
        let (begin, end) = consumer.fetch_watermarks(topic, partition, WAIT).expect("Kafka answers");
        if begin < end {
            unread.insert(partition, end);
            assignment.add_partition_offset(topic, partition, Offset::Offset(begin)).expect("an offset");
        }
    }
    consumer.assign(&assignment).expect("partitions can be assigned");
    let mut records = BTreeMap::new();
    while !unread.is_empty() {
        let record = consumer.poll(WAIT).expect("a record before the end").expect("no error");
        let (partition, offset) = (record.partition(), record.offset());
        let (key, value) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
        let copied = Copied { context, partition, key: key.to_vec(), value: value.to_vec() };
        records.insert((partition, offset), copied);
        unread.retain(|unread, end| *unread != partition || offset + 1 < *end);
    }
    records.into_values().collect()
}
