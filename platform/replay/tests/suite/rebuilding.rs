//! What a rebuild gives, and what the comparison finds.

use events::{TOPIC_PARTITIONS, partition_of};
use replay::{Error, Options};
use tokio_util::sync::CancellationToken;

use crate::world::{World, order_id, world};

async fn world_with_orders(orders: u128) -> World {
    let world = world().await;
    for number in 0..orders {
        world.order(number).await;
    }
    world.live_catches_up().await;
    world
}

#[tokio::test]
async fn every_projection_rebuilt_from_the_logs_equals_live() {
    let world = world_with_orders(10).await;
    let reports = world.replay(&[]).await;
    let rows: Vec<_> =
        reports.iter().map(|report| (report.projection, report.comparison.rows_rebuilt)).collect();
    let expected = [
        ("orders", 10),
        ("order-events", 60),
        ("processes", 10),
        ("stock", 0),
        ("payments", 10),
        ("sales", 10),
    ];
    assert_eq!(rows, expected);
    for report in &reports {
        assert_eq!(report.comparison.rows_different, 0, "{report}");
        assert!(report.live_stopped.is_some(), "{report}");
    }
}

#[tokio::test]
async fn a_rebuild_of_a_log_longer_than_a_page_loses_nothing() {
    let world = world().await;
    // Three pages of one context's log, written as the superuser, for speed.
    world
        .execute(
            "INSERT INTO shipping.events
                 (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
             SELECT n, 'shipment-' || id, 1, gen_random_uuid(), 'ShipmentDelivered', 1,
                 json_build_object('order_id', id), json_build_object('correlation_id', id, 'actor', 'test'), now()
             FROM generate_series(1, 5000) n, LATERAL (SELECT gen_random_uuid() AS id, n AS of) one",
        )
        .await;
    world.live_catches_up().await;
    for report in world.replay(&["order-events", "processes"]).await {
        assert_eq!((report.events, report.comparison.rows_rebuilt), (5000, 5000), "{report}");
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
}

#[tokio::test]
async fn a_rebuild_that_cannot_keep_all_rows_until_their_last_event_loses_nothing() {
    let world = world().await;
    // 30 MB of orders that are placed, then confirmed in the same order: the first are written and forgotten by then.
    world
        .execute(
            r#"INSERT INTO orders.events
                 (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
             SELECT (step - 1) * 300 + n, 'order-' || id, step, gen_random_uuid(),
                 (ARRAY['OrderPlaced', 'OrderConfirmed'])[step], 1,
                 replace(replace((ARRAY[
                     '{"order_id":"ID","customer_id":"alice","currency":"GBP","total_minor":7,"placed_at":"2026-01-02T03:04:05Z",
                       "lines":[{"sku":"CUP","quantity":1,"unit_price_minor":7}],"shipping_address":"LONG"}',
                     '{"order_id":"ID","customer_id":"alice","total":{"amount_minor":7,"currency":"GBP"},"placed_at":"2026-01-02T03:04:05Z",
                       "items":[{"sku":"CUP","quantity":1}],"shipping_address":"short"}'])[step],
                     'ID', id), 'LONG', repeat('x', 100000))::json,
                 json_build_object('correlation_id', id, 'actor', 'test'), now()
             FROM generate_series(1, 2) step, generate_series(1, 300) n,
                 LATERAL (SELECT '01900000-0000-7000-8000-' || lpad(n::text, 12, '0') AS id) one"#,
        )
        .await;
    world.live_catches_up().await;
    for report in world.replay(&["orders"]).await {
        assert_eq!((report.events, report.comparison.rows_rebuilt), (600, 300), "{report}");
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
}

#[tokio::test]
async fn a_row_that_live_has_wrong_is_found_shown_and_put_right() {
    let world = world_with_orders(3).await;
    let id = order_id(1);
    world.execute(&format!("UPDATE readmodel.orders SET total_minor = 1 WHERE order_id = '{id}'")).await;
    let total = format!("SELECT total_minor::text FROM readmodel.orders WHERE order_id = '{id}'");

    let checked = world.check(&["orders"]).await.remove(0);
    assert_eq!(checked.comparison.rows_different, 1);
    let first = checked.comparison.first_difference.as_ref().expect("a difference");
    assert_eq!(first.key, id.to_string());
    assert_eq!(first.live.as_ref().expect("a live row")["total_minor"], 1);
    assert_eq!(first.rebuilt.as_ref().expect("a rebuilt row")["total_minor"], 700);
    assert!(checked.to_string().contains("1 rows differ"), "{checked}");
    assert_eq!(
        (checked.live_stopped, world.text(&total).await.as_str()),
        (None, "1"),
        "a check changes nothing"
    );

    let replayed = world.replay(&["orders"]).await.remove(0);
    assert_eq!((replayed.comparison.rows_different, world.text(&total).await.as_str()), (1, "700"));
    assert_eq!(world.check(&["orders"]).await.remove(0).comparison.rows_different, 0);
}

#[tokio::test]
async fn a_row_too_few_and_a_row_too_many_are_found() {
    let world = world_with_orders(3).await;
    world.execute(&format!("DELETE FROM readmodel.payments WHERE payment_id = '{}'", order_id(0))).await;
    world.execute("INSERT INTO readmodel.stock VALUES ('GHOST', 0, 0, 0, 0, 0, 1, 1)").await;
    let payments = world.check(&["payments"]).await.remove(0).comparison;
    let missing = payments.first_difference.expect("a difference");
    assert_eq!((payments.rows_different, missing.live), (1, None));
    let stock = world.check(&["stock"]).await.remove(0).comparison;
    let ghost = stock.first_difference.expect("a difference");
    assert_eq!((stock.rows_different, ghost.key.as_str(), ghost.rebuilt), (1, "GHOST", None));
}

#[tokio::test]
async fn live_is_compared_where_it_stands_partition_by_partition() {
    let world = world_with_orders(12).await;
    for number in 12..24 {
        world.order(number).await;
    }
    // Half of the partitions come to the head; the others stay.
    world.live_catches_up_in(|partition| partition % 2 == 0).await;
    for report in world.replay(&[]).await {
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
    // And what was left behind is applied to the new tables.
    world.live_catches_up().await;
    for report in world.check(&[]).await {
        assert_eq!(report.comparison.rows_different, 0, "{report}");
    }
}

#[tokio::test]
async fn a_stream_that_live_has_parked_is_left_where_live_left_it() {
    let world = world_with_orders(2).await;
    let stream = events::orders::stream(order_id(1));
    world.wish_to_cancel(1).await;
    world.park(&stream, 5).await;
    let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
    world
        .execute(&format!(
            "UPDATE readmodel.checkpoints SET last_position = 5
             WHERE consumer = 'query-side' AND topic = 'orders.events' AND partition = {partition}"
        ))
        .await;
    let report = world.replay(&["orders"]).await.remove(0);
    assert_eq!((report.comparison.rows_different, report.events), (0, 4), "{report}");
}

#[tokio::test]
async fn what_a_person_discarded_is_left_out_of_the_rebuilt_table_too() {
    let world = world_with_orders(2).await;
    let stream = events::orders::stream(order_id(1));
    world.park(&stream, 5).await;
    world.wish_to_cancel(1).await;
    let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
    world
        .execute(&format!(
            "UPDATE readmodel.checkpoints SET last_position = 5
             WHERE consumer = 'query-side' AND topic = 'orders.events' AND partition = {partition}"
        ))
        .await;
    world.discard(&stream, 5).await;
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.parked_events").await, "0");
    let report = world.replay(&["orders"]).await.remove(0);
    assert_eq!((report.comparison.rows_different, report.events), (0, 4), "{report}");
}

#[tokio::test]
async fn an_event_that_this_build_does_not_know_stops_the_rebuild_by_name_unless_live_parked_it() {
    let world = world_with_orders(2).await;
    let stream = events::orders::stream(order_id(1));
    world.wish_to_cancel(1).await;
    world.live_catches_up().await;
    world
        .execute("ALTER TABLE orders.events DISABLE TRIGGER ALL; UPDATE orders.events SET type = 'OrderTeleported' WHERE position = 5")
        .await;
    let stopped = world.run(&["orders"], world.options(), CancellationToken::new()).await;
    match stopped {
        Err(Error::Unreadable { position, stream: of, .. }) => {
            assert_eq!((position, of), (5, stream.clone()))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.orders").await, "2", "live is as it was");
    world.park(&stream, 5).await;
    assert_eq!(world.check(&["orders"]).await.remove(0).events, 4);
}

#[tokio::test]
async fn a_replay_that_is_told_to_stop_leaves_live_as_it_was() {
    let world = world_with_orders(2).await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let stopped = world.run(&[], world.options(), shutdown).await;
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.orders").await, "2");
    assert_eq!(
        world.text("SELECT coalesce(to_regclass('readmodel_shadow.orders')::text, 'gone')").await,
        "gone"
    );
}

#[tokio::test]
async fn a_replay_whose_topic_prefix_is_not_that_of_live_is_refused() {
    let world = world_with_orders(2).await;
    let options = Options { topic_prefix: "other-".to_owned(), ..world.options() };
    let refused = world.run(&["orders"], options, CancellationToken::new()).await;
    assert!(matches!(&refused, Err(Error::OtherTopics { prefix, .. }) if prefix == "other-"), "{refused:?}");
    assert_eq!(world.text("SELECT count(*)::text FROM readmodel.orders").await, "2", "live is as it was");
}

#[tokio::test]
async fn a_projection_that_does_not_exist_is_refused_with_those_that_do() {
    let world = world().await;
    let refused = world.run(&["orders", "tea"], world.options(), CancellationToken::new()).await;
    let message = refused.expect_err("there is no such projection").to_string();
    assert_eq!(
        message,
        "there is no projection \"tea\"; allowed are orders, order-events, processes, stock, payments, sales"
    );
}
