//! A running platform, seen from outside: over HTTP, Kafka and the `tradewind` command.
//!
//! Never: a look into a crate of the platform. What users cannot see, these tests cannot see.
//! Read next: `tests/e2e/tests/story.rs`.

pub mod chaos;
mod connection;
mod engines;
pub mod kafka;
mod platform;
mod shop;
mod topic;

pub use connection::Connection;
pub use engines::{PrivateKafka, PrivatePostgres};
pub use platform::{AnotherDoor, Beside, Platform, TestEnvironment, readiness, signal};
pub use shop::{Answer, Shop, line};
pub use testkit::{WAIT_MAX, eventually};
pub use topic::{first_occurrences_are_in_order, those_who_park};

use std::io::Write as _;

/// Says that a test was not done, and why: past the test harness, which shows what a test prints only when it fails.
pub fn skipped(test: &str, why: &str) {
    // Who has no standard error has nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
