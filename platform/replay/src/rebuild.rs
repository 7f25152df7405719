//! One projection, from an empty shadow to the swap.
//!
//! 1. The shadow catches up with live ([`Shadow::catch_up`]). 2. In one snapshot: live's checkpoints, the last events up to
//!    exactly there, and the comparison; nobody waits for it. 3. The swap. Never: a comparison while live is stopped.
//!    Read next: `catch_up.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use fault::crash_point;
use query_side::engine::Projector;
use tokio_postgres::IsolationLevel;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::catch_up::{Origin, Shadow};
use crate::compare::compare;
use crate::log::Logs;
use crate::reach::Reach;
use crate::report::{Comparison, Rebuilt};
use crate::shadow::{self, SHADOW};

/// Rebuilds the projection and compares it with live; then swaps them, unless `swaps` is false.
///
/// # Errors
/// [`Error`]; live is as it was.
pub async fn rebuild(
    projector: Arc<dyn Projector>,
    logs: &Logs,
    pool: &Pool,
    swaps: bool,
    shutdown: &CancellationToken,
) -> Result<Rebuilt, Error> {
    let begun = Instant::now();
    let (projection, table) = (projector.name(), projector.table());
    let indexes = shadow::create(pool, table).await?;
    let empty = (Origin::Empty, Reach::none(projector.contexts()));
    let mut shadow = Shadow::new(projector, logs, pool, shutdown, empty);
    let ended = build(&mut shadow, swaps, &indexes).await;
    shadow.progress.finish();
    // After a swap there is none left; after a check or an error it is of no use.
    let dropped = shadow::drop_table(pool, table).await;
    let (comparison, live_stopped) = ended?;
    dropped?;
    Ok(Rebuilt { projection, events: shadow.events, elapsed: begun.elapsed(), comparison, live_stopped })
}

/// `indexes`: the statements that make those that the table does not have yet.
async fn build(
    shadow: &mut Shadow<'_>,
    swaps: bool,
    indexes: &[String],
) -> Result<(Comparison, Option<Duration>), Error> {
    let pool = shadow.pool;
    shadow.catch_up().await?;
    crash_point!("replay::shadow_filled");
    shadow::analyze(pool, SHADOW, shadow.projector.table()).await?;
    if !swaps {
        return Ok((compare_with_live(shadow).await?, None));
    }
    let (comparison, ()) = tokio::try_join!(compare_with_live(shadow), shadow::index(pool, indexes))?;
    shadow.catch_up().await?;
    Ok((comparison, Some(shadow.swap().await?)))
}

/// Live as it is in one snapshot, and the shadow brought to exactly there.
async fn compare_with_live(shadow: &mut Shadow<'_>) -> Result<Comparison, Error> {
    let mut client = shadow.pool.get().await?;
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let live = Reach::of_live(&transaction, &*shadow.projector).await?;
    let advanced = shadow.advance_within(&transaction, &live).await?;
    let comparison = compare(&transaction, &*shadow.projector).await?;
    transaction.commit().await?;
    shadow.advanced(live, advanced);
    Ok(comparison)
}
