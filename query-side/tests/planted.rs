//! Guards of the projections taken away, one at a time: each is missed by a scenario that finds nothing while it stands.
//!
//! Read next: `tests/fault/src/trial.rs`, `docs/reliability.md`.
#![cfg(debug_assertions)] // a release build has no switches

#[path = "suite/given.rs"]
#[allow(dead_code)] // the suite uses the rest
mod given;
#[path = "suite/service.rs"]
mod service;

use event_bus::{BatchHandler, HandlerError};
use events::inventory::{StockReceived, StockReleased, StockReserved};
use events::{Context, Envelope, Event, StockEvent};
use fault::trial::{Verdict, check, finds};
use projections::{ChangeNotifier, Projector};
use query_side::projections;

use given::Happening::{
    Authorised, CancellationRequestedAfterConfirmation, Cancelled, Captured, Confirmed, Placed,
    RefundRequested, Refunded, Released, Requested, Reserved, Shipped,
};
use given::{Logs, SKU, order_id, pieces, sku};
use service::{ReadModel, Topics, read_model, record, record_of};

const STOCK: &str = "SELECT concat_ws(' ', received, available, reserved, shipped) FROM stock";

async fn status(read_model: &ReadModel, number: u128) -> String {
    let id = order_id(number);
    read_model
        .text(&format!("SELECT coalesce((SELECT status FROM orders WHERE order_id = '{id}'), 'no row')"))
        .await
}

/// Ten pieces come in, three of them are reserved and released again.
fn reserved_and_released(logs: &mut Logs) -> Vec<Envelope> {
    let (sku, order_id) = (sku(SKU), order_id(1));
    let received = StockReceived { sku: sku.clone(), quantity: pieces(10), reference: None };
    let reserved = StockReserved { sku: sku.clone(), order_id, quantity: pieces(3) };
    let released = StockReleased { sku: sku.clone(), order_id, quantity: pieces(3) };
    let story: [StockEvent; 3] = [received.into(), reserved.into(), released.into()];
    story.map(|event| logs.happens(&events::inventory::stock_stream(&sku), event)).to_vec()
}

#[tokio::test]
async fn a_checkpoint_that_is_committed_before_its_effect_is_found() {
    finds("projector::checkpoint_before_effect", the_effect_fails).await;
}

/// The table is away for a moment, and the process is started again: it reads on from its checkpoint.
async fn the_effect_fails() -> Verdict {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let events = Logs::default().story(order_id(1), &[Placed, Confirmed]);
    let batch = Topics::default().batch(&events);
    read_model.as_owner("ALTER TABLE readmodel.orders RENAME TO orders_away").await;
    let failed = handler.handle(&batch).await;
    assert!(matches!(failed, Err(HandlerError::Retry(_))), "{failed:?}");
    read_model.as_owner("ALTER TABLE readmodel.orders_away RENAME TO orders").await;
    let checkpoints = handler.checkpoints().await.expect("the database answers");
    let reads_on_at = checkpoints.first().map_or(0, |checkpoint| checkpoint.next_offset);
    if reads_on_at == 0 {
        assert_eq!(handler.handle(&batch).await, Ok(()));
    }
    let status = status(&read_model, 1).await;
    check("the read model is the fold of the log", status == "confirmed", || {
        format!("the order is confirmed; the read model, at offset {reads_on_at}, has {status}")
    })
}

/// Each projection has a guard of its own: the bug must show in each.
#[tokio::test]
async fn a_projection_that_does_not_look_at_versions_is_found() {
    for projector in projections().projectors {
        finds("projector::version_not_checked", || the_checkpoints_are_lost(&*projector)).await;
    }
}

/// Somebody sets a projection back to the beginning of its topics: it comes by everything again, and has not come to the
/// last event yet. One who could write to the topics has meanwhile repeated the first under another name.
async fn the_checkpoints_are_lost(projector: &dyn Projector<Event>) -> Verdict {
    let read_model = read_model().await;
    let handler = read_model.handler(projector.name(), ChangeNotifier::new(1));
    let mut events = everything_that_a_row_hears(projector);
    assert_eq!(handler.handle(&Topics::default().batch(&events)).await, Ok(()));
    let rows = format!("SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM {} t", projector.table());
    let before = read_model.text(&rows).await;

    read_model.as_owner("DELETE FROM readmodel.checkpoints").await;
    events.pop();
    "somebody else".clone_into(&mut events[0].metadata.actor);
    assert_eq!(handler.handle(&Topics::default().batch(&events)).await, Ok(()));
    let after = read_model.text(&rows).await;
    check("the read model is the fold of the log", before == after, || {
        format!("{} was\n{before}\nand is\n{after}", projector.name())
    })
}

/// A story that ends otherwise than it was before its last event, as far as the projection hears of it.
fn everything_that_a_row_hears(projector: &dyn Projector<Event>) -> Vec<Envelope> {
    let mut logs = Logs::default();
    let mut events = reserved_and_released(&mut logs);
    let story = [Placed, Reserved, Requested, Authorised, Captured, Confirmed].into_iter().chain([
        CancellationRequestedAfterConfirmation,
        RefundRequested,
        Refunded,
        Released,
        Cancelled,
    ]);
    events.extend(logs.story(order_id(1), &story.collect::<Vec<_>>()));
    let own = match projector.name() {
        // Of the inventory's two kinds of streams it hears one.
        "stock" => |event: &Envelope| matches!(event.event, Event::StockItem(_)),
        _ => |event: &Envelope| !matches!(event.event, Event::StockItem(_)),
    };
    events.retain(|event| own(event) && projector.contexts().contains(&event.context));
    events
}

#[tokio::test]
async fn a_release_that_is_counted_in_the_wrong_column_is_found() {
    finds("projector::release_in_the_wrong_column", pieces_are_released).await;
}

/// The law of stock holds in the row all the same; only the log can tell.
async fn pieces_are_released() -> Verdict {
    let read_model = read_model().await;
    let handler = read_model.handler("stock", ChangeNotifier::new(1));
    let events = reserved_and_released(&mut Logs::default());
    assert_eq!(handler.handle(&Topics::default().batch(&events)).await, Ok(()));
    let stock = read_model.text(STOCK).await;
    check("the read model is the fold of the log", stock == "10 10 0 0", || {
        format!("received, available, reserved, shipped are 10 10 0 0; the read model has {stock}")
    })
}

#[tokio::test]
async fn a_projection_that_skips_a_poison_event_is_found() {
    finds("projector::poison_skipped", a_record_cannot_be_read).await;
}

async fn a_record_cannot_be_read() -> Verdict {
    let read_model = read_model().await;
    let handler = read_model.handler("orders", ChangeNotifier::new(1));
    let events = Logs::default().story(order_id(1), &[Placed, Confirmed, Shipped]);
    let mut records: Vec<_> = events.iter().map(record).collect();
    let of_a_later_build = records[1].payload.clone();
    let of_a_later_build =
        String::from_utf8(of_a_later_build).expect("JSON").replace("OrderConfirmed", "OrderTeleported");
    records[1] = record_of(Context::Orders, events[1].stream.as_str(), of_a_later_build.into_bytes());
    assert_eq!(handler.handle(&Topics::default().batch_of(records)).await, Ok(()));
    let version = read_model.number("SELECT coalesce(max(version), 0)::bigint FROM orders").await;
    let parked = read_model.number("SELECT count(*) FROM parked_events").await;
    let parked_and_applied = (parked, version);
    check("every record is applied in order, or parked", parked_and_applied == (2, 1), || {
        format!(
            "of 3 events the second cannot be read; {parked} are parked and the row is at version {version}"
        )
    })
}

#[tokio::test]
async fn a_consumer_that_does_not_compare_its_checkpoint_is_found() {
    finds("consumer::checkpoint_not_compared", a_zombie_commits).await;
}

/// A process that was taken for dead commits the batch that it had in hand.
async fn a_zombie_commits() -> Verdict {
    let read_model = read_model().await;
    let owner = read_model.handler("orders", ChangeNotifier::new(1));
    let zombie = read_model.handler("orders", ChangeNotifier::new(1));
    let events = Logs::default().story(order_id(1), &[Placed, Confirmed, Shipped]);
    let in_hand = Topics::default().batch(&events[..1]);
    let mut topics = Topics::default();
    assert_eq!(owner.handle(&topics.batch(&events[..1])).await, Ok(()));
    assert_eq!(owner.handle(&topics.batch(&events[1..])).await, Ok(()));
    let outcome = zombie.handle(&in_hand).await;
    assert!(matches!(outcome, Ok(()) | Err(HandlerError::CheckpointLost { .. })), "{outcome:?}");
    let at = owner.checkpoints().await.expect("the database answers")[0].next_offset;
    check("a checkpoint never goes back", at == 3, || format!("it went from 3 to {at}"))
}
