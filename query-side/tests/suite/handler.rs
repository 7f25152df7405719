//! The consumer's handler on a real Postgres: effect, checkpoint and parked records together or not at all.

use event_bus::{BatchHandler, HandlerError, Record};
use events::orders::OrderCancellationRequested;
use events::{Context, Envelope, OrderEvent, StreamId};
use projections::{ChangeNotifier, ProjectionHandler};

use crate::given::Happening::*;
use crate::given::{Logs, order_id};
use crate::service::{ReadModel, Topics, read_model, record, record_of};

fn poison(stream: &StreamId, payload: &[u8]) -> Record {
    record_of(Context::of_stream(stream).expect("a stream of ours"), stream.as_str(), payload.to_vec())
}

fn placed_and_confirmed(logs: &mut Logs, number: u128) -> Vec<Envelope> {
    logs.story(order_id(number), &[Placed, Confirmed])
}

async fn status(read_model: &ReadModel, number: u128) -> String {
    let id = order_id(number);
    read_model
        .text(&format!("SELECT coalesce((SELECT status FROM orders WHERE order_id = '{id}'), 'no row')"))
        .await
}

async fn parked(read_model: &ReadModel) -> i64 {
    read_model.number("SELECT count(*) FROM parked_events WHERE consumer = 'query-side.orders'").await
}

#[tokio::test]
async fn a_batch_that_comes_twice_is_applied_once() {
    let read_model = read_model().await;
    let handler = read_model.handler("order-events", ChangeNotifier::new(1));
    let batch = Topics::default().batch(&placed_and_confirmed(&mut Logs::default(), 1));
    assert_eq!(handler.handle(&batch).await, Ok(()));
    let again = handler.handle(&batch).await;
    assert!(matches!(again, Err(HandlerError::CheckpointLost { .. })), "{again:?}");
    assert_eq!(read_model.number("SELECT count(*) FROM order_events").await, 2);
}

#[tokio::test]
async fn a_zombie_that_lost_its_partition_changes_nothing() {
    let read_model = read_model().await;
    let (zombie, owner) = (
        read_model.handler("orders", ChangeNotifier::new(1)),
        read_model.handler("orders", ChangeNotifier::new(1)),
    );
    let mut logs = Logs::default();
    let events = placed_and_confirmed(&mut logs, 1);
    let (mut topics, mut topics_of_zombie) = (Topics::default(), Topics::default());
    assert_eq!(owner.handle(&topics.batch(&events)).await, Ok(()));
    let other = logs.story(order_id(1), &[CancellationRequested]);
    let late = topics_of_zombie.batch(&other);
    let refused = zombie.handle(&late).await;
    assert!(matches!(refused, Err(HandlerError::CheckpointLost { .. })), "{refused:?}");
    assert_eq!(status(&read_model, 1).await, "confirmed");
}

#[tokio::test]
async fn the_checkpoints_that_were_committed_are_found_again() {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let events = placed_and_confirmed(&mut Logs::default(), 1);
    let batch = Topics::default().batch(&events);
    assert_eq!(handler.handle(&batch).await, Ok(()));
    let checkpoints = handler.checkpoints().await.expect("the database answers");
    assert_eq!(checkpoints.len(), 1);
    assert_eq!((checkpoints[0].next_offset, checkpoints[0].last_position), (2, 2));
    assert_eq!(checkpoints[0].topic, Context::Orders.topic());
}

#[tokio::test]
async fn a_poison_event_parks_its_stream_and_every_other_stream_flows() {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    let (broken, whole) = (placed_and_confirmed(&mut logs, 1), placed_and_confirmed(&mut logs, 2));
    let records = vec![
        record(&broken[0]),
        record(&whole[0]),
        poison(&events::orders::stream(order_id(1)), b"not json"),
        record(&broken[1]),
        record(&whole[1]),
    ];
    assert_eq!(handler.handle(&topics.batch_of(records)).await, Ok(()));
    assert_eq!(
        (status(&read_model, 1).await.as_str(), status(&read_model, 2).await.as_str()),
        ("placed", "confirmed")
    );
    assert_eq!(parked(&read_model).await, 2);

    let later = [logs.story(order_id(1), &[Shipped]), logs.story(order_id(2), &[Shipped])].concat();
    assert_eq!(handler.handle(&topics.batch(&later)).await, Ok(()));
    assert_eq!(
        (status(&read_model, 1).await.as_str(), status(&read_model, 2).await.as_str()),
        ("placed", "shipped")
    );
    let stream = events::orders::stream(order_id(1));
    let in_order = "SELECT string_agg(coalesce(position::text, 'unknown'), ' ' ORDER BY record_offset) FROM parked_events";
    assert_eq!(read_model.text(&format!("{in_order} WHERE stream = '{stream}'")).await, "unknown 2 5");
}

#[tokio::test]
async fn an_event_that_postgres_cannot_hold_is_parked_alone() {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    let mut events = [placed_and_confirmed(&mut logs, 1), placed_and_confirmed(&mut logs, 2)].concat();
    let reason = "a NUL \0 that JSON may carry and jsonb may not".to_owned();
    let id = order_id(1);
    let cancellation = OrderCancellationRequested { order_id: id, reason, was_confirmed: true };
    events.push(logs.happens(&events::orders::stream(id), OrderEvent::from(cancellation)));
    events.extend(logs.story(id, &[Shipped]));
    events.extend(logs.story(order_id(2), &[Shipped]));
    assert_eq!(handler.handle(&topics.batch(&events)).await, Ok(()));
    assert_eq!(
        (status(&read_model, 1).await.as_str(), status(&read_model, 2).await.as_str()),
        ("confirmed", "shipped")
    );
    assert_eq!(parked(&read_model).await, 2);
    let reason = read_model.text("SELECT reason FROM parked_events ORDER BY position LIMIT 1").await;
    assert!(reason.contains("22P05"), "{reason}");
}

#[tokio::test]
async fn an_event_that_one_projection_cannot_apply_is_parked_for_it_alone_and_the_others_go_on() {
    let read_model = read_model().await;
    let handler =
        ProjectionHandler::new(query_side::projections(), read_model.pool.clone(), ChangeNotifier::new(1));
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    let mut events = [placed_and_confirmed(&mut logs, 1), placed_and_confirmed(&mut logs, 2)].concat();
    let id = order_id(1);
    let reason = "a NUL \0 that JSON may carry and jsonb may not".to_owned();
    let cancellation = OrderCancellationRequested { order_id: id, reason, was_confirmed: true };
    events.push(logs.happens(&events::orders::stream(id), OrderEvent::from(cancellation)));
    events.extend(logs.story(id, &[Shipped]));
    events.extend(logs.story(order_id(2), &[Shipped]));
    assert_eq!(handler.handle(&topics.batch(&events)).await, Ok(()));
    // The sales take no notice of a reason.
    let parked =
        "SELECT string_agg(consumer || ' ' || position, ', ' ORDER BY consumer, position) FROM parked_events";
    assert_eq!(
        read_model.text(parked).await,
        "query-side.order-events 5, query-side.order-events 6, query-side.orders 5, query-side.orders 6, \
         query-side.processes 5, query-side.processes 6"
    );
    let statuses = (status(&read_model, 1).await, status(&read_model, 2).await);
    assert_eq!((statuses.0.as_str(), statuses.1.as_str()), ("confirmed", "shipped"));
    assert_eq!(read_model.number("SELECT count(*) FROM order_events").await, 5);
    let applied = "SELECT applied::text FROM progress WHERE context = 'orders'";
    assert_eq!(read_model.text(applied).await, "{[1,8)}", "what is parked is not waited for");

    assert_eq!(handler.handle(&topics.batch(&logs.story(id, &[Delivered]))).await, Ok(()));
    let behind = "SELECT count(*) FROM parked_events WHERE position = 8";
    assert_eq!(read_model.number(behind).await, 3, "behind what is parked");
}

#[tokio::test]
async fn a_statement_that_fails_for_another_reason_undoes_the_batch_in_every_table() {
    let read_model = read_model().await;
    let handler =
        ProjectionHandler::new(query_side::projections(), read_model.pool.clone(), ChangeNotifier::new(1));
    let batch = Topics::default().batch(&placed_and_confirmed(&mut Logs::default(), 1));
    read_model.as_owner("REVOKE INSERT ON readmodel.sales FROM tradewind_readmodel").await;
    let refused = handler.handle(&batch).await;
    assert!(matches!(&refused, Err(HandlerError::Retry(reason)) if reason.contains("sales")), "{refused:?}");
    let rows = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_events)
                     + (SELECT count(*) FROM progress) + (SELECT count(*) FROM checkpoints)
                     + (SELECT count(*) FROM parked_events)";
    assert_eq!(read_model.number(rows).await, 0);
    read_model.as_owner("GRANT INSERT ON readmodel.sales TO tradewind_readmodel").await;
    assert_eq!(handler.handle(&batch).await, Ok(()));
    assert_eq!(status(&read_model, 1).await, "confirmed");
}

#[tokio::test]
async fn a_poison_record_whose_key_is_no_text_is_parked_too() {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let mut record = poison(&events::orders::stream(order_id(1)), b"\xff\0\xfe");
    record.key = b"\0\xff".to_vec();
    assert_eq!(handler.handle(&Topics::default().batch_of(vec![record])).await, Ok(()));
    assert_eq!(parked(&read_model).await, 1);
}
