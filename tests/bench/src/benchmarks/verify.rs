//! Events a second of `tradewind verify` on an idle platform, and its peak memory there and on a log many times as
//! long. Baseline: COPY TO STDOUT of the same events, which it has to read at least once.

use std::time::Instant;

use anyhow::ensure;
use events::Context;
use futures::TryStreamExt as _;

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::history::platform_of;
use crate::platform::BenchPlatform;
use crate::shop::two_lines;
use crate::tool::{self, Ended};

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let sizes = environment.sizes.clone();
    let platform = environment.platform().await?;
    platform.shop.receive_all_stock().await?;
    let placed = platform.place(sizes.projection_orders, two_lines).await?;
    platform.wait_until_settled(&placed).await?;
    platform.stop_roles().await?;
    let events = platform.events().await?;
    let (mut verified, mut copied, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        let run = verify(&platform.database, &platform.topic_prefix).await?;
        verified.push(events / run.seconds);
        peaks.push(run.peak_rss_mib);
        copied.push(events / copy(platform).await?);
    }
    let row = Row::new(format!("{events:.0} events of all contexts"), "events/s", Spread::of(verified))
        .baseline("events/s, COPY TO STDOUT", Spread::of(copied).median)
        .goal(Goal::AtLeast(0.25));
    let short = Spread::of(peaks);
    let history = platform_of(sizes.verify_events).await?;
    let run = verify(&history.database, &history.topic_prefix).await?;
    history.database.drop().await?;
    let long = Row::new(
        format!("peak resident memory, {} events", history.events),
        "MiB",
        Spread::one(run.peak_rss_mib),
    );
    let long = long.baseline(format!("MiB, of {events:.0} events"), short.median);
    Ok(vec![row, long])
}

/// Runs the tool as a user does.
///
/// # Errors
/// When it reports a violation.
pub async fn verify(database: &Database, topic_prefix: &str) -> anyhow::Result<Ended> {
    let ended = tool::run(&["verify"], database, topic_prefix).await?;
    ensure!(ended.status.success(), "tradewind verify ended with {}:\n{}", ended.status, ended.printed);
    Ok(ended)
}

/// Reads every log from the server, one after the other; seconds.
async fn copy(platform: &BenchPlatform) -> anyhow::Result<f64> {
    let admin = platform.database.admin().await?;
    let begun = Instant::now();
    for context in Context::ALL {
        let statement = format!("COPY (SELECT * FROM {context}.events ORDER BY position) TO STDOUT");
        let rows = admin.copy_out(&statement).await?;
        rows.try_fold((), async |(), _| Ok(())).await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
