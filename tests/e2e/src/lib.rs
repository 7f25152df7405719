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
pub use platform::{AnotherDoor, Beside, Ground, Platform, readiness, signal};
pub use shop::{Answer, Shop, line};
pub use topic::{first_occurrences_are_in_order, those_who_park};

use std::io::Write as _;
use std::time::{Duration, Instant};

/// The longest that anything here may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Says that a test was not done, and why: past the test harness, which shows what a test prints only when it fails.
pub fn skipped(test: &str, why: &str) {
    // Who has no standard error has nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Asks again and again, with a short pause between, until `probe` answers with a value.
///
/// # Panics
/// When `what` has not come true within [`PATIENCE`]; shows what `probe` said last.
pub async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() > PATIENCE => {
                panic!("{what}: not within {PATIENCE:?}; last: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
