//! Catches the table that the last swap replaced up with live, and swaps it in again.
//!
//! Checkpoints are shared by all projections, so they are not set back: the previous table comes forward instead, by the events that
//! live has applied since. The table that was live becomes the previous one, so a rollback can itself be rolled back. Killed half-way,
//! the previous table has applied more than is recorded with it, and the next rollback applies the same events once more.

use std::sync::Arc;

use event_log::EventSet;
use fault::crash_point;
use projections::Projector;

use crate::catch_up::{Origin, Shadow};
use crate::report::RolledBack;
use crate::{Error, Replay, previous, shadow};

/// # Errors
/// [`Error`]; live is as it was.
pub async fn roll_back<E: EventSet>(
    projector: Arc<dyn Projector<E>>,
    replay: &Replay<'_, E>,
) -> Result<RolledBack, Error> {
    let (projection, table) = (projector.name(), projector.table());
    let applied = previous::applied_positions(&replay.pool, &replay.schemas, &*projector).await?;
    let mut shadow = Shadow::new(projector, replay, (Origin::Previous, applied));
    let caught_up = shadow.catch_up().await;
    shadow.progress.finish();
    caught_up?;
    crash_point!("replay::kept_caught_up");
    shadow::analyze(&replay.pool, &replay.schemas.previous, table).await?;
    let live_stopped = shadow.swap().await?;
    Ok(RolledBack { projection, events: shadow.events, live_stopped })
}
