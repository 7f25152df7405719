//! A private database, private topics and a private payment provider for each test, and a small relay that publishes every
//! record twice.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use domain::orders::OrderStatus;
use domain::{Order, State, StockItem};
use event_bus::{BusConfig, OrderedPublisher, Outgoing, ensure_topics};
use event_store::{EventStore, StoreOptions};
use events::{Context, OrderId, StreamId, cloud_event};
use runtime::{Health, Secret, postgres};
use sagas::SagaError;
use sagas::payments::PaymentProvider;
use serde_json::{Value, json};
use testkit::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const RELAY_BATCH_MAX: usize = 500;

pub struct TestEnvironment {
    pub bus: BusConfig,
    database_url: Secret,
    provider_address: String,
    stores: BTreeMap<Context, EventStore>,
    http: reqwest::Client,
    stop: CancellationToken,
    _stopped_at_the_end: DropGuard,
}

/// Sagas that run in this test.
pub struct RunningSagas {
    pub health: Health,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SagaError>>,
}

impl TestEnvironment {
    pub async fn start() -> Self {
        let owners = ["provider", "every context"];
        let database = testkit::migrated_database("sagas", &owners, async |admin| {
            postgres::prepare_owner(admin, "provider", None).await.expect("the admin may make owners");
            payment_provider::migrate(admin).await.expect("the provider's migrations apply");
            testkit::migrate_contexts(admin, &Context::ALL).await;
        });
        let database_url = Secret::from(database.await.url);
        let bus = BusConfig::plain(testkit::kafka_brokers(), format!("{}-", testkit::unique("sagas")));
        ensure_topics(&bus, &events::Context::NAMES, 1).await.expect("the topics can be made");
        let mut stores = BTreeMap::new();
        for context in Context::ALL {
            let url = postgres::owner_url(&database_url, context.name());
            let pool = postgres::pool(&url, 4).expect("a good url");
            let store = EventStore::new(context, pool, StoreOptions::default()).await.expect("a store");
            stores.insert(context, store);
        }
        let stop = CancellationToken::new();
        let environment = Self {
            bus,
            database_url,
            provider_address: format!("127.0.0.1:{}", free_port()),
            stores,
            http: reqwest::Client::new(),
            _stopped_at_the_end: stop.clone().drop_guard(),
            stop,
        };
        for store in environment.stores.values() {
            tokio::spawn(relay(store.clone(), environment.bus.clone(), environment.stop.clone()));
        }
        environment
    }

    /// What only the owner of the database may do to it.
    pub async fn as_owner(&self, sql: &str) {
        let owner = postgres::connect(&self.database_url).await.expect("it answers");
        owner.batch_execute(sql).await.expect(sql);
    }

    pub fn store(&self, context: Context) -> &EventStore {
        &self.stores[&context]
    }

    /// Starts the sagas with these options besides the engines'.
    pub fn start_sagas(&self, options: &[&str]) -> RunningSagas {
        let config = self.config(options);
        let (health, stop) = (Health::new(), self.stop.child_token());
        let task = tokio::spawn(sagas::run(config, health.clone(), stop.clone()));
        RunningSagas { health, stop, task }
    }

    /// Starts the sagas with another provider than that of the environment.
    pub fn start_sagas_with(&self, provider: Arc<dyn PaymentProvider>) -> RunningSagas {
        let config = self.config(&[]);
        let (health, stop) = (Health::new(), self.stop.child_token());
        let task = tokio::spawn(sagas::run_with(config, provider, health.clone(), stop.clone()));
        RunningSagas { health, stop, task }
    }

    fn config(&self, options: &[&str]) -> sagas::Config {
        let provider = format!("http://{}", self.provider_address);
        let mut words =
            vec!["--database-url", self.database_url.expose(), "--payment-provider-url", &provider];
        words.extend(["--kafka-brokers", &self.bus.brokers, "--topic-prefix", &self.bus.topic_prefix]);
        words.extend(options);
        parse(&words)
    }

    /// Starts the payment provider, and waits until it answers.
    pub async fn start_provider(&self, options: &[&str]) {
        let mut words =
            vec!["--database-url", self.database_url.expose(), "--listen", &self.provider_address];
        words.extend(options);
        let config: payment_provider::Config = parse(&words);
        let running = tokio::spawn(payment_provider::run(config, self.stop.clone()));
        let ready = format!("http://{}/readyz", self.provider_address);
        eventually("the provider is ready", async || {
            assert!(!running.is_finished(), "the provider ended");
            self.http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Changes what the provider does with all payments.
    pub async fn set_provider_behaviour(&self, behaviour: Value) {
        let url = format!("http://{}/v1/behaviour", self.provider_address);
        let answer = self.http.put(url).json(&json!({ "default": behaviour })).send().await;
        assert!(answer.expect("the provider answers").status().is_success());
    }

    /// What the provider's ledger says about an order.
    pub async fn at_provider(&self, order_id: OrderId) -> Value {
        let url = format!("http://{}/v1/payments/{order_id}", self.provider_address);
        let answer = self.http.get(url).send().await.expect("the provider answers");
        answer.json().await.expect("JSON")
    }

    /// Voids the payment of an order at the provider, without our knowledge.
    pub async fn void_at_provider(&self, order_id: OrderId) {
        let url = format!("http://{}/v1/payments/{order_id}/void", self.provider_address);
        let answer = self.http.post(url).send().await.expect("the provider answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// As the owner of the database.
    pub async fn execute(&self, sql: &str) {
        let admin = postgres::connect(&self.database_url).await.expect("the database is there");
        admin.batch_execute(sql).await.expect("the owner may do anything");
    }

    /// How many entries of each kind the provider's ledger has, in all currencies.
    pub async fn provider_entries(&self) -> Value {
        let url = format!("http://{}/v1/ledger", self.provider_address);
        let answer = self.http.get(url).send().await.expect("the provider answers");
        answer.json::<Value>().await.expect("JSON")["counts"].clone()
    }

    /// The state as the log has it now.
    pub async fn fresh<A: State>(&self, context: Context, stream: &StreamId) -> A {
        let store = self.store(context);
        store.invalidate(std::slice::from_ref(stream));
        A::clone(&store.load::<A>(stream).await.expect("the log can be read").state)
    }

    pub async fn stock(&self, skus: &[&str]) -> Vec<StockItem> {
        let mut stock = Vec::new();
        for name in skus {
            let stream = events::inventory::stock_stream(&name.parse().expect("a SKU"));
            stock.push(self.fresh::<StockItem>(Context::Inventory, &stream).await);
        }
        stock
    }

    pub async fn status(&self, order_id: OrderId) -> OrderStatus {
        self.fresh::<Order>(Context::Orders, &events::orders::stream(order_id)).await.status()
    }

    #[track_caller]
    pub fn until_status(&self, order_id: OrderId, wanted: OrderStatus) -> impl Future<Output = ()> {
        let what = format!("order {order_id} is {}", wanted.name());
        async move {
            eventually(&what, async || (self.status(order_id).await == wanted).then_some(())).await;
        }
    }

    /// The types of a stream's events.
    pub async fn history(&self, context: Context, stream: &StreamId) -> Vec<String> {
        let events = self.store(context).read_stream(stream, 0, 1_000).await.expect("the log can be read");
        events.into_iter().map(|event| event.event_type).collect()
    }

    pub async fn payment_history(&self, order_id: OrderId) -> Vec<String> {
        self.history(Context::Payments, &events::payments::stream(order_id)).await
    }

    /// The ids of the deadlines that are set in the payments context.
    pub async fn deadlines(&self) -> Vec<String> {
        let client = self.store(Context::Payments).pool().get().await.expect("a connection");
        let rows = client.query("SELECT id FROM deadlines ORDER BY id", &[]).await.expect("a readable table");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Why the records of a stream are parked, in the order in which they were.
    pub async fn parked(&self, consumer: &str, stream: &StreamId) -> Vec<String> {
        let context = consumer.strip_prefix("sagas.").and_then(|name| name.parse().ok()).expect("a reactor");
        let client = self.store(context).pool().get().await.expect("a connection");
        let query =
            "SELECT reason FROM parked_events WHERE consumer = $1 AND stream = $2 ORDER BY record_offset";
        let rows = client.query(query, &[&consumer, &stream.as_str()]).await.expect("a readable table");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Puts a record on the topic of the orders that no relay would.
    pub async fn publish_raw(&self, key: &StreamId, value: &[u8]) {
        let mut publisher =
            OrderedPublisher::new(&self.bus, self.bus.topic(Context::Orders)).expect("a publisher");
        let record = Outgoing { key: key.as_str().to_owned(), headers: Vec::new(), value: value.to_vec() };
        publisher.publish(&[record]).await.expect("acknowledged");
    }
}

impl RunningSagas {
    pub async fn until_ready(&self) {
        eventually("the sagas are ready", async || self.health.readiness().ok()).await;
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

/// At least once, as the contract has it: here exactly twice.
async fn relay(store: EventStore, bus: BusConfig, stop: CancellationToken) {
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(store.context())).expect("a publisher");
    let mut cursor = 0;
    while !stop.is_cancelled() {
        let events = store.scan(cursor, RELAY_BATCH_MAX).await.expect("the log can be read");
        let outgoing = |event: &events::RawEvent| Outgoing {
            key: event.stream.as_str().to_owned(),
            headers: Vec::new(),
            value: cloud_event::encode(store.context(), event),
        };
        let records: Vec<Outgoing> = events.iter().map(outgoing).collect();
        if let Some(last) = events.last() {
            publisher.publish(&records).await.expect("acknowledged");
            publisher.publish(&records).await.expect("acknowledged");
            cursor = last.position;
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn parse<C: Args + FromArgMatches>(words: &[&str]) -> C {
    let command = C::augment_args(Command::new("test").no_binary_name(true));
    let matches = command.try_get_matches_from(words).expect("good options");
    C::from_arg_matches(&matches).expect("good options")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}
