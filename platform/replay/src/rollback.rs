//! The table that the last swap replaced, brought to where live stands and swapped in again.
//!
//! Checkpoints are shared by all projections, so they are not set back: the kept table comes forward instead, by the events
//! that live has applied since. The table that was live is kept in its place, so a rollback can itself be rolled back. Killed
//! half-way, the kept table has come further than is noted with it, and the next rollback applies the same events once more.
//! Never: a step that live waits for but the swap. Read next: `catch_up.rs`, `kept.rs`.

use std::sync::Arc;

use deadpool_postgres::Pool;
use fault::crash_point;
use query_side::engine::Projector;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::catch_up::{Origin, Shadow};
use crate::kept::{self, KEPT};
use crate::log::Logs;
use crate::report::RolledBack;
use crate::shadow;

/// # Errors
/// [`Error`]; live is as it was.
pub async fn roll_back(
    projector: Arc<dyn Projector>,
    logs: &Logs,
    pool: &Pool,
    shutdown: &CancellationToken,
) -> Result<RolledBack, Error> {
    let (projection, table) = (projector.name(), projector.table());
    let kept = (Origin::Kept, kept::reach(pool, &*projector).await?);
    let mut shadow = Shadow::new(projector, logs, pool, shutdown, kept);
    let caught_up = shadow.catch_up().await;
    shadow.progress.finish();
    caught_up?;
    crash_point!("replay::kept_caught_up");
    shadow::analyze(pool, KEPT, table).await?;
    let live_stopped = shadow.swap().await?;
    Ok(RolledBack { projection, events: shadow.events, live_stopped })
}
