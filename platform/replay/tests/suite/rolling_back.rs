//! The way back: the table that was replaced, brought to where live stands.

use std::sync::Arc;

use replay::Error;
use tokio_util::sync::CancellationToken;

use crate::swapping::{live_goes_on, reads_go_on};
use crate::world::{PATIENCE, World, order_id, shared_world, world};

const CUSTOMERS: &str = "SELECT string_agg(customer_id, ' ' ORDER BY order_id) FROM readmodel.orders";
const CHECKPOINTS: &str =
    "SELECT string_agg(c::text, ' ' ORDER BY consumer, topic, partition) FROM readmodel.checkpoints c";

async fn is_the_fold_of_the_log(world: &World, projections: &[&str]) {
    for report in world.check(projections).await {
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
}

#[tokio::test]
async fn a_rollback_brings_the_old_table_to_where_live_stands_and_can_itself_be_rolled_back() {
    let world = world().await;
    world.order(1).await;
    world.live_catches_up().await;
    world.execute("UPDATE readmodel.orders SET customer_id = 'as it was'").await;
    world.replay(&["orders"]).await;
    world.order(2).await;
    world.live_catches_up().await;
    assert_eq!(world.text(CUSTOMERS).await, "alice alice");
    let checkpoints = world.text(CHECKPOINTS).await;

    let rolled_back = world.roll_back(&["orders"]).await.expect("there is a table to go back to").remove(0);
    assert_eq!((rolled_back.projection, rolled_back.events), ("orders", 2), "{rolled_back}");
    assert_eq!(world.text(CUSTOMERS).await, "as it was alice");
    assert_eq!(world.text(CHECKPOINTS).await, checkpoints, "all projections share them");
    world.order(3).await;
    world.live_catches_up().await;
    assert_eq!(world.text(CUSTOMERS).await, "as it was alice alice");

    let rolled_back = world.roll_back(&["orders"]).await.expect("a rollback can be rolled back").remove(0);
    assert_eq!(rolled_back.events, 2, "{rolled_back}");
    assert_eq!(world.text(CUSTOMERS).await, "alice alice alice");
    is_the_fold_of_the_log(&world, &["orders"]).await;
}

#[tokio::test]
async fn the_partitions_that_live_is_behind_in_are_behind_after_a_rollback_too() {
    let world = world().await;
    for number in 0..12 {
        world.order(number).await;
    }
    world.live_catches_up_in(|partition| partition % 3 == 0).await;
    world.replay(&[]).await;
    for number in 12..24 {
        world.order(number).await;
    }
    world.live_catches_up_in(|partition| partition % 2 == 0).await;
    world.roll_back(&[]).await.expect("there are tables to go back to");
    is_the_fold_of_the_log(&world, &[]).await;
    world.live_catches_up().await;
    is_the_fold_of_the_log(&world, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_goes_on_through_a_rollback_and_nothing_is_lost() {
    let world = shared_world().await;
    for number in 0..20 {
        world.order(number).await;
    }
    world.live_catches_up().await;
    world.replay(&[]).await;
    let stop = CancellationToken::new();
    let writer = tokio::spawn(live_goes_on(Arc::clone(&world), stop.clone()));
    let reader = tokio::spawn(reads_go_on(Arc::clone(&world), stop.clone()));
    for _ in 0..2 {
        world.roll_back(&[]).await.expect("there are tables to go back to");
        is_the_fold_of_the_log(&world, &[]).await;
    }
    stop.cancel();
    let placed = writer.await.expect("live goes on");
    assert!(reader.await.expect("reads go on") > 0 && placed > 0);
    world.live_catches_up().await;
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.orders").await, (20 + placed).to_string());
    is_the_fold_of_the_log(&world, &[]).await;
}

#[tokio::test]
async fn what_was_parked_at_the_swap_is_applied_discarded_or_waits_as_it_is_now() {
    let world = world().await;
    let streams = [0, 1, 2].map(|number| events::orders::stream(order_id(number)));
    for number in 0..3 {
        world.order(number).await;
    }
    world.live_catches_up().await;
    for (number, position) in [(0, 7), (1, 8), (2, 9)] {
        world.wish_to_cancel(number).await;
        world.park(&streams[usize::try_from(number).expect("a few")], position).await;
    }
    world.live_catches_up().await;
    world.replay(&["orders"]).await;
    world.retry(&streams[0], 7).await;
    world.discard(&streams[1], 8).await;
    world.order(3).await;
    world.live_catches_up().await;

    let rolled_back = world.roll_back(&["orders"]).await.expect("there is a table to go back to").remove(0);
    assert_eq!(rolled_back.events, 3, "the one that was retried, and two that came since: {rolled_back}");
    let versions = "SELECT string_agg(version::text, ' ' ORDER BY order_id) FROM readmodel.orders";
    assert_eq!(world.text(versions).await, "3 2 2 2");
    is_the_fold_of_the_log(&world, &["orders"]).await;
}

/// As when it is killed there: the previous table has applied more than is recorded with it.
#[tokio::test]
async fn a_rollback_that_ended_between_catching_up_and_the_swap_is_done_again() {
    let world = shared_world().await;
    world.order(1).await;
    world.live_catches_up().await;
    world.replay(&[]).await;
    world.order(2).await;
    world.live_catches_up().await;
    for table in ["orders", "order_events", "processes"] {
        let name = table.replace('_', "-");
        let mut client = world.live.get().await.expect("a connection");
        let reading = client.transaction().await.expect("a transaction");
        reading.query(&format!("SELECT FROM {table}"), &[]).await.expect("a read");
        let rolling_back = {
            let (world, name) = (Arc::clone(&world), name.clone());
            tokio::spawn(async move { world.roll_back(&[&name]).await })
        };
        world.somebody_waits_for(&format!("readmodel.{table}")).await;
        rolling_back.abort();
        assert!(rolling_back.await.expect_err("it was broken off").is_cancelled());
        reading.commit().await.expect("the end of the read");
        let rows = |schema: &str| format!("SELECT count(*)::text FROM {schema}.{table}");
        assert_eq!(world.text(&rows("readmodel_previous")).await, world.text(&rows("readmodel")).await);

        let again = async {
            loop {
                match world.roll_back(&[&name]).await {
                    // The server has not heard yet that the other one is gone.
                    Err(Error::Busy { .. }) => tokio::task::yield_now().await,
                    rolled_back => break rolled_back,
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("a limit").expect("it is done again");
    }
    is_the_fold_of_the_log(&world, &[]).await;
}

#[tokio::test]
async fn there_is_no_way_back_from_what_was_never_replaced() {
    let world = world().await;
    let refused = world.roll_back(&["orders"]).await;
    assert!(matches!(refused, Err(Error::NoPreviousTable { projection: "orders" })), "{refused:?}");
    world.replay(&["sales"]).await;
    let refused = world.roll_back(&["orders"]).await;
    assert!(matches!(refused, Err(Error::NoPreviousTable { projection: "orders" })), "{refused:?}");
}

#[tokio::test]
async fn a_rollback_that_is_told_to_stop_leaves_live_as_it_was() {
    let world = world().await;
    world.order(1).await;
    world.live_catches_up().await;
    world.execute("UPDATE readmodel.orders SET customer_id = 'as it was'").await;
    world.replay(&["orders"]).await;
    world.order(2).await;
    world.live_catches_up().await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let options = replay::Options { rollback: true, ..world.options() };
    let stopped = world.run(&["orders"], options, shutdown).await;
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert_eq!(world.text(CUSTOMERS).await, "alice alice");
}
