//! What tests share: a private database for each, a reader of topics, and the wait for a state, on the real engines that
//! `make test` starts.
//!
//! Never: a mock of an engine, or a test that passes because an engine was missing.
//! Read next: `platform/event-store/tests/`.

mod database;
mod shared;
mod topic;
mod wait;

pub use database::{
    TestDatabase, context, contexts, copy_database, fresh_database, migrate_contexts, migrated_database,
};
pub use shared::once_per_run;
pub use topic::{TopicRecord, read_topic, read_topic_at};
pub use wait::{Probed, WAIT_MAX, eventually};

use uuid::Uuid;

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
