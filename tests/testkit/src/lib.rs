//! A private database for each test, and a reader of topics, on the real engines that `make test` starts.
//!
//! Never: a mock of an engine, or a test that passes because an engine was missing.
//! Read next: `platform/event-store/tests/`.

mod topic;

pub use topic::{TopicRecord, read_topic, read_topic_at};

use std::time::{Duration, Instant};

use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// How long a database may stay in use before its copy is given up.
const COPY_MAX: Duration = Duration::from_secs(60);

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

/// Copies the database at `url` into one called `copy`, as a backup; one of that name is removed first. Nobody else may
/// be connected to the original: it is waited for.
///
/// # Panics
/// When the server refuses, or somebody stays connected.
pub async fn copy_database(url: &str, copy: &str) -> TestDatabase {
    let (server, original) = url.rsplit_once('/').expect("a database url ends in /<database>");
    let (admin, connection) = tokio_postgres::connect(&engine("DATABASE_URL"), NoTls)
        .await
        .expect("DATABASE_URL leads to a running PostgreSQL");
    tokio::spawn(connection);
    let drop_copy = format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)");
    admin.batch_execute(&drop_copy).await.expect("the role of DATABASE_URL may drop databases");
    let started = Instant::now();
    loop {
        match admin.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE {original}")).await {
            Ok(()) => return TestDatabase { url: format!("{server}/{copy}") },
            Err(error) => {
                let in_use = error.code() == Some(&SqlState::OBJECT_IN_USE);
                assert!(
                    in_use && started.elapsed() < COPY_MAX,
                    "{original} is not copied to {copy}: {error:?}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
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
