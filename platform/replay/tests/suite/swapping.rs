//! The swap while live goes on.

use std::sync::Arc;

use replay::Error;
use tokio_util::sync::CancellationToken;

use crate::world::{World, order_id, shared_world, world};

const INDEXES: &str = "SELECT string_agg(indexname || ' ' || indexdef, E'\\n' ORDER BY indexname)
                       FROM pg_indexes WHERE schemaname = 'readmodel'";
const RIGHTS: &str = "SELECT string_agg(table_name || ' ' || grantee || ' ' || privilege_type, E'\\n'
                             ORDER BY table_name, grantee, privilege_type)
                      FROM information_schema.role_table_grants WHERE table_schema = 'readmodel'";
const DEFAULTS: &str =
    "SELECT string_agg(table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
                               || coalesce(column_default, ''), E'\\n' ORDER BY table_name, ordinal_position)
                        FROM information_schema.columns WHERE table_schema = 'readmodel'";
const STATISTICS: &str =
    "SELECT string_agg(c.relname || ' ' || a.attname || ' ' || a.attstattarget, E'\\n' ORDER BY c.relname, a.attnum)
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'readmodel'::regnamespace AND a.attstattarget >= 0 AND c.relkind = 'r'";

#[tokio::test]
async fn the_new_tables_have_the_indexes_rights_defaults_and_statistics_of_the_old_ones() {
    let world = world().await;
    world.order(1).await;
    world.live_catches_up().await;
    world.execute("GRANT SELECT ON readmodel.orders TO PUBLIC").await;
    for question in [INDEXES, RIGHTS, DEFAULTS, STATISTICS] {
        let before = world.text(question).await;
        world.replay(&[]).await;
        assert_eq!(world.text(question).await, before);
    }
}

/// Orders are placed and applied until it is told to stop; returns how many there are.
pub async fn live_goes_on(world: Arc<World>, stop: CancellationToken) -> u128 {
    let mut number = 100;
    while !stop.is_cancelled() {
        world.order(number).await;
        world.live_catches_up().await;
        number += 1;
    }
    number - 100
}

/// Reads as a request does; the number of orders must never go down. Returns how often it read.
pub async fn reads_go_on(world: Arc<World>, stop: CancellationToken) -> u64 {
    let (mut most, mut reads) = (0_i64, 0);
    while !stop.is_cancelled() {
        let client = world.live.get().await.expect("a connection");
        let statement = client.prepare_cached("SELECT count(*) FROM orders").await.expect("a statement");
        let orders: i64 = client.query_one(&statement, &[]).await.expect("reads go on").get(0);
        assert!(orders >= most, "{orders} orders after {most}");
        most = orders;
        reads += 1;
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn live_goes_on_through_a_swap_and_nothing_is_lost() {
    let world = shared_world().await;
    for number in 0..20 {
        world.order(number).await;
    }
    world.live_catches_up().await;
    let stop = CancellationToken::new();
    let writer = tokio::spawn(live_goes_on(Arc::clone(&world), stop.clone()));
    let reader = tokio::spawn(reads_go_on(Arc::clone(&world), stop.clone()));
    for _ in 0..2 {
        for report in world.replay(&[]).await {
            assert_eq!(report.comparison.rows_different, 0, "{report}");
        }
    }
    stop.cancel();
    let placed = writer.await.expect("live goes on");
    assert!(reader.await.expect("reads go on") > 0 && placed > 0);
    world.live_catches_up().await;
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.orders").await, (20 + placed).to_string());
    for report in world.check(&[]).await {
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
}

#[tokio::test]
async fn two_replays_of_one_projection_do_not_run_at_once() {
    let world = world().await;
    let client = world.admin.get().await.expect("a connection");
    client
        .batch_execute("SELECT pg_advisory_lock(hashtextextended('tradewind replay orders', 0))")
        .await
        .expect("the lock of another replay");
    let refused = world.run(&["orders"], world.options(), CancellationToken::new()).await;
    assert!(matches!(refused, Err(Error::Busy { projection: "orders" })), "{refused:?}");
}

#[tokio::test]
async fn a_table_that_somebody_holds_is_swapped_when_it_is_free() {
    let world = shared_world().await;
    world.order(1).await;
    world.live_catches_up().await;
    let mut client = world.live.get().await.expect("a connection");
    let reading = client.transaction().await.expect("a transaction");
    let seen: i64 = reading.query_one("SELECT count(*) FROM orders", &[]).await.expect("a read").get(0);
    let replaying = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.replay(&["orders"]).await })
    };
    world.somebody_waits_for("readmodel.orders").await;
    assert_eq!(
        reading.query_one("SELECT count(*) FROM orders", &[]).await.expect("a read").get::<_, i64>(0),
        seen
    );
    reading.commit().await.expect("the end of the read");
    assert_eq!(replaying.await.expect("the replay ends")[0].comparison.rows_different, 0);
    assert_eq!(
        world
            .text(&format!("SELECT customer_id FROM readmodel.orders WHERE order_id = '{}'", order_id(1)))
            .await,
        "alice"
    );
}
