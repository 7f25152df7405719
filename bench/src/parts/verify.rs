//! Events a second of `tradewind verify` on a resting platform: logs, topics, checkpoints, read models, stock and money.
//!
//! Beside it COPY TO STDOUT of the same events: what it must at least read once. Read next: `verify/src/lib.rs`.

use std::time::Instant;

use anyhow::ensure;
use events::Context;
use futures::TryStreamExt as _;

use crate::figures::{Goal, Row, Spread};
use crate::floor::Floor;
use crate::parts::saga::{stock_up, two_lines};
use crate::stage::Stage;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let sizes = stage.sizes.clone();
    let floor = stage.floor().await?;
    stock_up(floor).await?;
    let placed = floor.place(sizes.projection_orders, two_lines).await?;
    floor.all_settled(&placed).await?;
    let events = floor.events().await?;
    let (mut verified, mut copied) = (Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        verified.push(events / verify(floor).await?);
        copied.push(events / copy(floor).await?);
    }
    let row = Row::new(format!("{events:.0} events of all contexts"), "events/s", Spread::of(verified))
        .beside("events/s, COPY TO STDOUT", Spread::of(copied).median)
        .goal(Goal::AtLeast(0.25));
    Ok(vec![row])
}

/// Runs the tool as a user does; seconds.
///
/// # Errors
/// When it finds anything.
pub async fn verify(floor: &Floor) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (code, printed) = floor.platform.tradewind(&["verify"]).await;
    ensure!(code == 0, "tradewind verify ended with {code}:\n{printed}");
    Ok(begun.elapsed().as_secs_f64())
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
