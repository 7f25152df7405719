//! Events a second of `tradewind replay orders`, with the comparison with the live table and the swap.
//! Baseline: COPY TO STDOUT of the same events; nothing that reads them can be faster.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::seed_log::seeded_log;
use crate::tool::{self, Ended};

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    for events in environment.sizes.replay_events.clone() {
        let database = seeded_log(environment, events).await?;
        let (mut replayed, mut copied) = (Vec::new(), Vec::new());
        // The first replay builds the live table; later replays are compared with it.
        replay(&database).await?;
        for _ in 0..repetitions(environment, events) {
            let replay = replay(&database).await?;
            ensure!(replay.events == events && replay.is_equal, "a replay of {events} events: {replay:?}");
            replayed.push(replay.per_second);
            peaks.push(replay.peak_rss_mib);
            copied.push(copy(&database, events).await?);
        }
        rows.push(
            Row::new(format!("orders, {events} events"), "events/s", Spread::of(replayed))
                .baseline("events/s, COPY TO STDOUT", Spread::of(copied).median)
                .goal(Goal::AtLeast(0.4)),
        );
    }
    rows.push(Row::new("peak resident memory of a replay", "MiB", Spread::of(peaks)));
    Ok(rows)
}

/// One repetition of a long log is enough.
fn repetitions(environment: &Environment, events: u64) -> usize {
    if events > 1_000_000 { 1 } else { environment.sizes.repetitions }
}

#[derive(Debug)]
pub struct Replay {
    pub events: u64,
    pub per_second: f64,
    pub peak_rss_mib: f64,
    /// The rebuilt table equals the live one.
    pub is_equal: bool,
}

/// Runs the tool as a user does.
///
/// # Errors
/// When its output cannot be parsed.
pub async fn replay(database: &Database) -> anyhow::Result<Replay> {
    let Ended { status, printed, peak_rss_mib, .. } = tool::run(&["replay", "orders"], database, "").await?;
    // orders: 1000000 events in 9000 ms (111111 events/s): 250000 rows, equal to live; swapped ...
    let mut words = printed.split_whitespace().skip(1);
    let events = words.next().and_then(|word| word.parse::<u64>().ok());
    let ms = words.nth(2).and_then(|word| word.parse::<f64>().ok());
    let (events, ms) = events.zip(ms).with_context(|| format!("what replay printed: {printed:?}"))?;
    let per_second = events as f64 * 1_000.0 / ms.max(1.0);
    Ok(Replay { events, per_second, peak_rss_mib, is_equal: status.success() })
}

/// Reads the same events from the server and drops them; events a second.
///
/// # Errors
/// When the server does not answer.
async fn copy(database: &Database, events: u64) -> anyhow::Result<f64> {
    let admin = database.admin().await?;
    let begun = Instant::now();
    let statement = "COPY (SELECT position, stream, version, event_id, type, schema_version, payload, metadata, \
                     recorded_at FROM orders.events ORDER BY position) TO STDOUT";
    let rows = admin.copy_out(statement).await?;
    let bytes = rows.try_fold(0, async |sum, chunk| Ok(sum + chunk.len())).await?;
    ensure!(bytes > 0, "the log has events");
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}
