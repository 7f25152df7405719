//! Events a second of `tradewind replay orders` into real tables, compared with live and swapped, live reads going on.
//!
//! Beside it COPY TO STDOUT of the same events: nothing that reads them can be faster. Read next: `platform/replay/src/rebuild.rs`.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;

use crate::figures::{Goal, Row, Spread};
use crate::fill::log_of;
use crate::stage::{Database, Stage};
use crate::tool::{self, Ended};

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    for events in stage.sizes.replay_events.clone() {
        let database = log_of(stage, events).await?;
        let (mut replayed, mut copied) = (Vec::new(), Vec::new());
        // The first makes the live table that the next are compared with.
        replay(&database).await?;
        for _ in 0..repetitions(stage, events) {
            let replay = replay(&database).await?;
            ensure!(replay.events == events && replay.is_equal, "a replay of {events} events: {replay:?}");
            replayed.push(replay.per_second);
            peaks.push(replay.peak_rss_mib);
            copied.push(copy(&database, events).await?);
        }
        rows.push(
            Row::new(format!("orders, {events} events"), "events/s", Spread::of(replayed))
                .beside("events/s, COPY TO STDOUT", Spread::of(copied).median)
                .goal(Goal::AtLeast(0.4)),
        );
    }
    rows.push(Row::new("peak resident memory of a replay", "MiB", Spread::of(peaks)));
    Ok(rows)
}

/// The long ones take long enough by themselves.
fn repetitions(stage: &Stage, events: u64) -> usize {
    if events > 1_000_000 { 1 } else { stage.sizes.repetitions }
}

#[derive(Debug)]
pub struct Replay {
    pub events: u64,
    pub per_second: f64,
    pub peak_rss_mib: f64,
    /// Live and rebuilt were the same.
    pub is_equal: bool,
}

/// Runs the tool as a user does.
///
/// # Errors
/// When it does not say what it did.
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

/// The same events out of the server, dropped as they come; events a second.
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
