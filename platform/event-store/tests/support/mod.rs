//! A private log on a real Postgres, and the means to disturb it. No test sleeps: each waits for a state, with a limit.
#![allow(dead_code)] // each test file uses its part

pub mod proxy;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use event_store::{Append, EventStore, NewEvent, StoreOptions, StreamWrite};
use events::inventory::StockReceived;
use events::{Context, Metadata, Quantity, Sku, StockEvent, StreamId, Version};
use testkit::eventually;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub const CONTEXT: Context = Context::Inventory;
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The log of one context, in a private database.
pub struct TestLog {
    /// As the owner of the database.
    pub admin_url: String,
    /// As the context's role.
    pub role_url: String,
    pub admin: Client,
}

pub async fn fresh_log(name: &str) -> TestLog {
    let admin_url = testkit::context(name, CONTEXT).await.url;
    let admin = connect(&admin_url).await;
    let role = format!("tradewind_{CONTEXT}");
    admin.batch_execute(&format!("SET search_path TO {CONTEXT}")).await.expect("the schema is there");
    let role_url = url_of(&admin_url, &role);
    TestLog { admin_url, role_url, admin }
}

fn url_of(admin_url: &str, user: &str) -> String {
    let (_, server) = admin_url.split_once('@').expect("DATABASE_URL names a user");
    format!("postgres://{user}@{server}")
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    // A test may kill its own backend; the client then reports the broken connection.
    tokio::spawn(connection);
    client
}

pub fn pool(url: &str) -> Pool {
    let config = url.parse().expect("the url is made here");
    let manager =
        Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(8)
        .wait_timeout(Some(WAIT_MAX))
        .create_timeout(Some(WAIT_MAX))
        .recycle_timeout(Some(WAIT_MAX))
        .runtime(Runtime::Tokio1)
        .build()
        .expect("the pool's settings are complete")
}

pub async fn open(url: &str, options: StoreOptions) -> EventStore {
    EventStore::new(CONTEXT, pool(url), options).await.expect("the server answers")
}

impl TestLog {
    pub async fn store(&self) -> EventStore {
        open(&self.role_url, StoreOptions::default()).await
    }

    /// Keeps every append waiting until it is released.
    pub async fn hold(&self) -> HeldLog {
        let holder = connect(&self.admin_url).await;
        holder.batch_execute(&lock("pg_advisory_lock")).await.expect("the log's lock becomes free");
        HeldLog { holder }
    }

    /// Waits until that many appends wait for the log's lock.
    pub async fn until_waiting(&self, count: i64) {
        let query = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                      WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()";
        eventually("so many appends wait for the lock", async || {
            self.admin.query_one(query, &[]).await.expect("pg_locks is readable").get::<_, i64>(0) == count
        })
        .await;
    }

    /// Ends up to `limit` backends of the context's role that are appending, and returns how many.
    pub async fn kill_appending_backends(&self, limit: i64) -> usize {
        let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND usename = $1 AND state = 'active'
                        AND query LIKE '%append(%' ORDER BY random() LIMIT $2";
        let role = format!("tradewind_{CONTEXT}");
        self.admin.query(query, &[&role, &limit]).await.expect("the owner may end backends").len()
    }

    pub async fn count(&self, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        self.admin.query_one(&query, &[]).await.expect("the table is there").get(0)
    }
}

/// The log's lock, held by the test.
pub struct HeldLog {
    holder: Client,
}

impl HeldLog {
    /// Appends under the held lock, as another process would.
    pub async fn append(&self, stream: &StreamId, expected_version: Version, event_id: Uuid) {
        let statement = append_statement(stream, expected_version, event_id);
        self.holder
            .batch_execute(&format!("SET search_path TO {CONTEXT}; {statement}"))
            .await
            .expect("the lock is ours");
    }

    pub async fn release(self) {
        self.holder.batch_execute(&lock("pg_advisory_unlock")).await.expect("the lock is held");
    }
}

fn lock(function: &str) -> String {
    format!("SELECT {function}(x'5457'::integer, '{CONTEXT}.events'::regclass::oid::integer)")
}

pub fn stock(name: &str) -> StreamId {
    events::inventory::stock_stream(&sku(name))
}

pub fn sku(name: &str) -> Sku {
    name.parse().expect("a plain SKU")
}

pub fn metadata() -> Metadata {
    Metadata {
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        depends_on: events::Positions::default(),
        actor: "test".to_owned(),
        traceparent: None,
        idempotency_key: None,
    }
}

/// A receipt of stock.
pub fn received(name: &str, quantity: i64) -> NewEvent {
    NewEvent::new(&received_event(name, quantity), metadata())
}

pub fn received_event(name: &str, quantity: i64) -> StockEvent {
    let quantity = Quantity::try_from(quantity).expect("a positive quantity");
    StockEvent::from(StockReceived { sku: sku(name), quantity, reference: None })
}

/// One receipt for each stream, each at the version given.
pub fn receipts(streams: &[(&str, Version)]) -> Append {
    let write = |&(name, expected_version): &(&str, Version)| StreamWrite {
        stream: stock(name),
        expected_version,
        events: vec![received(name, 1)],
    };
    Append { writes: streams.iter().map(write).collect(), ..Append::default() }
}

/// A statement that appends one event to one stream without the appender.
pub fn append_statement(stream: &StreamId, expected_version: Version, event_id: Uuid) -> String {
    let version = expected_version + 1;
    format!(
        "SELECT outcome FROM append(
             '{{{stream}}}', '{{}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{0}}', '{{1}}', '{{1}}',
             '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',
             '{{1}}', '{{{expected_version}}}', '{{1}}',
             '{{1}}', '{{1}}', '{{1}}', '{{{version}}}', '{{{event_id}}}', '{{StockReceived}}', '{{1}}',
             ARRAY['{{}}'::json], ARRAY['{{}}'::json],
             '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',
             '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}')"
    )
}
