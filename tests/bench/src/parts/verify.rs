//! Events a second of `tradewind verify` on a resting platform: logs, topics, checkpoints, read models, stock and money.
//!
//! Beside it COPY TO STDOUT of the same events: what it must at least read once. And its peak memory there and on a log
//! that is many times as long. Read next: `verify/src/lib.rs`, `history.rs`.

use std::time::Instant;

use anyhow::ensure;
use events::Context;
use futures::TryStreamExt as _;

use crate::figures::{Goal, Row, Spread};
use crate::floor::Floor;
use crate::history::platform_of;
use crate::parts::saga::{stock_up, two_lines};
use crate::stage::{Database, Stage};
use crate::tool::{self, Ended};

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let sizes = stage.sizes.clone();
    let floor = stage.floor().await?;
    stock_up(floor).await?;
    let placed = floor.place(sizes.projection_orders, two_lines).await?;
    floor.all_settled(&placed).await?;
    floor.rest().await?;
    let events = floor.events().await?;
    let (mut verified, mut copied, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        let run = verify(&floor.database, &floor.prefix).await?;
        verified.push(events / run.seconds);
        peaks.push(run.peak_rss_mib);
        copied.push(events / copy(floor).await?);
    }
    let row = Row::new(format!("{events:.0} events of all contexts"), "events/s", Spread::of(verified))
        .beside("events/s, COPY TO STDOUT", Spread::of(copied).median)
        .goal(Goal::AtLeast(0.25));
    let short = Spread::of(peaks);
    let history = platform_of(sizes.verify_events).await?;
    let run = verify(&history.database, &history.prefix).await?;
    history.database.drop().await?;
    let long = Row::new(
        format!("peak resident memory, {} events", history.events),
        "MiB",
        Spread::one(run.peak_rss_mib),
    );
    let long = long.beside(format!("MiB, of {events:.0} events"), short.median);
    Ok(vec![row, long])
}

/// Runs the tool as a user does.
///
/// # Errors
/// When it finds anything.
pub async fn verify(database: &Database, topic_prefix: &str) -> anyhow::Result<Ended> {
    let ended = tool::run(&["verify"], database, topic_prefix).await?;
    ensure!(ended.status.success(), "tradewind verify ended with {}:\n{}", ended.status, ended.printed);
    Ok(ended)
}

/// Every log out of the server, one after the other; seconds.
async fn copy(floor: &Floor) -> anyhow::Result<f64> {
    let admin = floor.database.admin().await?;
    let begun = Instant::now();
    for context in Context::ALL {
        let statement = format!("COPY (SELECT * FROM {context}.events ORDER BY position) TO STDOUT");
        let rows = admin.copy_out(&statement).await?;
        rows.try_fold((), async |(), _| Ok(())).await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
