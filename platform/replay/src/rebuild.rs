//! Rebuilds one projection, from an empty shadow to the swap.
//!
//! 1. The shadow catches up with live ([`Shadow::catch_up`]). 2. In one snapshot: live's checkpoints, the last events up to exactly
//!    there, and the comparison; live goes on meanwhile. 3. The swap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::EventSet;
use fault::crash_point;
use projections::Projector;
use tokio_postgres::IsolationLevel;

use crate::applied_positions::AppliedPositions;
use crate::catch_up::{Origin, Shadow};
use crate::compare::compare;
use crate::report::{Comparison, Rebuilt};
use crate::{Error, Replay, shadow};

/// Rebuilds the projection and compares it with live; then swaps them, unless `swaps` is false.
///
/// # Errors
/// [`Error`]; live is as it was.
pub async fn rebuild<E: EventSet>(
    projector: Arc<dyn Projector<E>>,
    replay: &Replay<'_, E>,
    swaps: bool,
) -> Result<Rebuilt, Error> {
    let started = Instant::now();
    let (projection, table) = (projector.name(), projector.table());
    let indexes = shadow::create(&replay.pool, &replay.schemas, table).await?;
    let empty = (Origin::Empty, AppliedPositions::none(projector.contexts()));
    let mut shadow = Shadow::new(projector, replay, empty);
    let ended = build(&mut shadow, swaps, &indexes).await;
    shadow.progress.finish();
    // After a swap there is none left; after a check or an error it is of no use.
    let dropped = shadow::drop_table(&replay.pool, &replay.schemas, table).await;
    let (comparison, live_stopped) = ended?;
    dropped?;
    Ok(Rebuilt { projection, events: shadow.events, elapsed: started.elapsed(), comparison, live_stopped })
}

/// `indexes`: the statements that make those that the table does not have yet.
async fn build<E: EventSet>(
    shadow: &mut Shadow<'_, E>,
    swaps: bool,
    indexes: &[String],
) -> Result<(Comparison, Option<Duration>), Error> {
    let Replay { pool, schemas, .. } = shadow.replay;
    shadow.catch_up().await?;
    crash_point!("replay::shadow_filled");
    shadow::analyze(pool, &schemas.shadow, shadow.projector.table()).await?;
    if !swaps {
        return Ok((compare_with_live(shadow).await?, None));
    }
    let (comparison, ()) = tokio::try_join!(compare_with_live(shadow), shadow::index(pool, indexes))?;
    shadow.catch_up().await?;
    Ok((comparison, Some(shadow.swap().await?)))
}

/// Live as it is in one snapshot, and the shadow brought to exactly there.
async fn compare_with_live<E: EventSet>(shadow: &mut Shadow<'_, E>) -> Result<Comparison, Error> {
    let mut client = shadow.replay.pool.get().await?;
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let live = shadow.applied_by_live(&transaction).await?;
    let advanced = shadow.advance_within(&transaction, &live).await?;
    let comparison = compare(&transaction, &shadow.replay.schemas, &*shadow.projector).await?;
    transaction.commit().await?;
    shadow.advanced(live, advanced);
    Ok(comparison)
}
