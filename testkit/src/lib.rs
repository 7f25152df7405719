//! A private database for each test, and a reader of topics, on the real engines that `make test` starts.
//!
//! Never: a mock of an engine, or a test that passes because an engine was missing.
//! Read next: `event-store/tests/`.

mod topic;

pub use topic::{TopicRecord, read_topic};

use tokio_postgres::NoTls;
use uuid::Uuid;

/// An empty database of this test's own. It goes with the private cluster when the run ends.
pub struct TestDatabase {
    /// As the owner of the database, who may do everything.
    pub url: String,
}

/// Creates an empty database whose name starts with `name`.
///
/// # Panics
/// When `DATABASE_URL` is not set or no server answers there.
pub async fn fresh_database(name: &str) -> TestDatabase {
    let admin_url = engine("DATABASE_URL");
    let (admin, connection) =
        tokio_postgres::connect(&admin_url, NoTls).await.expect("DATABASE_URL leads to a running PostgreSQL");
    tokio::spawn(connection);
    let database = unique(name).replace('-', "_");
    admin
        .batch_execute(&format!("CREATE DATABASE {database}"))
        .await
        .expect("the role of DATABASE_URL may create databases");
    let (server, _) = admin_url.rsplit_once('/').expect("DATABASE_URL ends in /<database>");
    TestDatabase { url: format!("{server}/{database}") }
}

/// `host:port` of a running Kafka.
///
/// # Panics
/// When `KAFKA_BROKERS` is not set.
pub fn kafka_brokers() -> String {
    engine("KAFKA_BROKERS")
}

/// A name that nothing else has: a prefix for topics and consumer groups, a database.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::now_v7().simple())
}

fn engine(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests by `make test`, which starts private engines")
    })
}
