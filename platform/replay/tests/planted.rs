//! Guards of the replay taken away, one at a time: each is missed by a scenario that finds nothing while it stands.
//!
//! Read next: `tests/fault/src/trial.rs`, `docs/reliability.md`.
#![cfg(debug_assertions)] // a release build has no switches

#[path = "suite/world.rs"]
#[allow(dead_code)] // the suite uses the rest
mod world;

use std::sync::Arc;

use fault::trial::{Verdict, check, finds};
use world::shared_world;

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_does_not_catch_up_is_found() {
    finds("replay::swapped_without_catching_up", live_commits_while_the_swap_waits).await;
}

/// The shadow is filled and compared; then live commits one more batch, which the swap has to wait for.
async fn live_commits_while_the_swap_waits() -> Verdict {
    let world = shared_world().await;
    world.order(1).await;
    world.live_catches_up().await;
    let mut client = world.live.get().await.expect("a connection");
    let batch = client.transaction().await.expect("a transaction");
    batch.execute("UPDATE checkpoints SET next_offset = next_offset WHERE false", &[]).await.expect("a lock");
    let replaying = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.replay(&["orders"]).await })
    };
    world.somebody_waits_for("readmodel.checkpoints").await;
    world.order(2).await;
    world.project_within(&batch, &|_| true).await;
    batch.commit().await.expect("the commit");
    replaying.await.expect("the replay ends");
    let different = world.check(&["orders"]).await[0].comparison.rows_different;
    check("replay --check: the read model is the fold of the log", different == 0, || {
        format!("{different} of 2 orders differ")
    })
}
