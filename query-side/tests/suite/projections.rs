//! What each projection makes of events, on values alone.

use events::inventory::{StockAdjusted, StockReleased, StockReserved, StockShipped};
use events::{Envelope, Event, StockEvent};
use projections::{Projection, fold, key_of};
use proptest::prelude::*;
use query_side::inventory::Stock;
use query_side::order_events::OrderEvents;
use query_side::orders::{CancellationState, OrderStatus, Orders};
use query_side::payments::{PaymentState, Payments};
use query_side::processes::Processes;
use query_side::sales::Sales;

use crate::given::Happening::*;
use crate::given::{self, Happening, Logs, STORIES, order_id, pieces, received, registered, sku};

/// The row of the one key that the events touch.
fn folded<P: Projection<Events = Event>>(events: &[Envelope]) -> Option<P::Row> {
    events.iter().filter(|event| key_of::<P>(event).is_some()).fold(None, fold::<P>)
}

fn story(steps: &[Happening]) -> Vec<Envelope> {
    Logs::default().story(order_id(1), steps)
}

#[test]
fn an_orders_row_shows_what_was_placed() {
    let row = folded::<Orders>(&story(&[Placed])).expect("a row");
    assert_eq!(row.order_id, order_id(1).to_string());
    assert_eq!((row.customer_id.as_str(), row.total_minor), (given::CUSTOMER, given::TOTAL_MINOR));
    assert_eq!((row.lines.len(), row.version, row.position), (1, 1, 1));
}

#[test]
fn an_orders_status_is_that_of_its_own_last_event() {
    let cases: &[(&[Happening], OrderStatus)] = &[
        (&[Placed], OrderStatus::Placed),
        (&[Placed, Reserved, Requested, Authorised], OrderStatus::Placed),
        (&[Placed, Confirmed], OrderStatus::Confirmed),
        (&[Placed, CancellationRequested], OrderStatus::Cancelling),
        (&[Placed, CancellationRequested, Cancelled], OrderStatus::Cancelled),
        (&[Placed, Rejected], OrderStatus::Rejected),
        (&[Placed, Confirmed, Shipped], OrderStatus::Shipped),
        (&[Placed, Confirmed, Shipped, Delivered], OrderStatus::Delivered),
    ];
    for (steps, status) in cases {
        assert_eq!(folded::<Orders>(&story(steps)).expect("a row").status, *status, "{steps:?}");
    }
}

#[test]
fn an_order_tells_why_it_was_rejected_and_what_became_of_a_wish_to_cancel() {
    let rejected = folded::<Orders>(&story(&[Placed, Rejected])).expect("a row");
    assert_eq!(rejected.rejection.expect("a reason").code(), "payment_declined");
    let wished = folded::<Orders>(&story(&[Placed, CancellationRequested])).expect("a row");
    assert_eq!(wished.cancellation.expect("a wish").state, CancellationState::Requested);
    let cancelled = folded::<Orders>(&story(&[Placed, CancellationRequested, Cancelled])).expect("a row");
    assert_eq!(cancelled.cancellation.expect("a wish").state, CancellationState::Done);
}

#[test]
fn an_order_that_nobody_placed_has_no_row() {
    assert_eq!(folded::<Orders>(&story(&[Confirmed, Shipped])), None);
}

#[test]
fn a_payment_shows_what_was_held_taken_and_given_back() {
    let cases: &[(&[Happening], PaymentState, [i64; 3])] = &[
        (&[Requested], PaymentState::Requested, [0, 0, 0]),
        (&[Requested, Unknown], PaymentState::Unknown, [0, 0, 0]),
        (&[Requested, Authorised], PaymentState::Authorised, [2_500, 0, 0]),
        (&[Requested, Authorised, CaptureRequested, Captured], PaymentState::Captured, [2_500, 2_500, 0]),
        (&[Requested, Authorised, VoidRequested, Voided], PaymentState::Voided, [2_500, 0, 0]),
        (&[Requested, Authorised, Captured, RefundRequested], PaymentState::Refunding, [2_500, 2_500, 0]),
        (
            &[Requested, Authorised, Captured, RefundRequested, Refunded],
            PaymentState::Refunded,
            [2_500, 2_500, 2_500],
        ),
        (&[Requested, Declined], PaymentState::Declined, [0, 0, 0]),
        (&[Requested, Expired, VoidRequested], PaymentState::Voiding, [0, 0, 0]),
        (&[Waived], PaymentState::Waived, [0, 0, 0]),
    ];
    for (steps, state, [authorised, captured, refunded]) in cases {
        let row = folded::<Payments>(&story(steps)).expect("a row");
        assert_eq!(row.state, *state, "{steps:?}");
        assert_eq!(
            [row.authorised_minor, row.captured_minor, row.refunded_minor],
            [*authorised, *captured, *refunded],
            "{steps:?}"
        );
    }
}

#[test]
fn a_payment_that_was_cancelled_before_it_was_requested_has_a_row_without_an_amount() {
    let row = folded::<Payments>(&story(&[Voided])).expect("a row");
    assert_eq!((row.state, row.currency, row.customer_id), (PaymentState::Voided, None, None));
}

#[test]
fn an_order_counts_as_sold_from_its_confirmation_until_it_is_cancelled() {
    assert_eq!(folded::<Sales>(&story(&[Placed])), None);
    assert_eq!(folded::<Sales>(&story(&[Placed, CancellationRequested, Cancelled])), None);
    let sold = folded::<Sales>(&story(&[Placed, Confirmed])).expect("a row");
    assert_eq!((sold.counted, sold.units, sold.revenue_minor), (true, 5, given::TOTAL_MINOR));
    assert_eq!(sold.placed_on, given::at(0).date_naive());
    let steps = [Placed, Confirmed, CancellationRequestedAfterConfirmation, Cancelled];
    assert!(!folded::<Sales>(&story(&steps)).expect("a row").counted);
}

#[test]
fn the_timeline_has_a_row_for_each_event_of_an_orders_streams_and_none_for_stock() {
    let mut logs = Logs::default();
    let stock = logs.happens(&events::inventory::stock_stream(&sku(given::SKU)), registered(given::SKU));
    assert_eq!(key_of::<OrderEvents>(&stock), None);
    let events = logs.story(order_id(1), given::HAPPY);
    let keys: std::collections::HashSet<_> = events.iter().filter_map(key_of::<OrderEvents>).collect();
    assert_eq!(keys.len(), given::HAPPY.len());
    let row = fold::<OrderEvents>(None, &events[1]).expect("a row");
    assert_eq!((row.event_type.as_str(), row.version, row.position), ("ReservationMade", 1, 2));
    assert_eq!(row.data["items"][0]["sku"], given::SKU);
}

/// Every event applied twice in a row: the second time it must change nothing.
fn is_idempotent<P: Projection<Events = Event>>(events: &[Envelope]) {
    let mut row = None;
    for event in events.iter().filter(|event| key_of::<P>(event).is_some()) {
        row = fold::<P>(row, event);
        assert_eq!(fold::<P>(row.clone(), event), row, "{} {:?}", P::NAME, event.event);
    }
}

#[test]
fn an_event_that_comes_twice_changes_nothing_the_second_time() {
    for (_, steps) in STORIES {
        let events = story(steps);
        is_idempotent::<Orders>(&events);
        is_idempotent::<Payments>(&events);
        is_idempotent::<Processes>(&events);
        is_idempotent::<Sales>(&events);
        events.iter().for_each(|event| is_idempotent::<OrderEvents>(std::slice::from_ref(event)));
    }
}

/// What may happen to an item that has this much: only what the domain would append.
fn stock_event(choice: u8, number: i64, available: i64, reserved: i64) -> StockEvent {
    let (sku, order_id) = (sku(given::SKU), order_id(1));
    match choice {
        1 if available > 0 => StockReserved { sku, order_id, quantity: pieces(number.min(available)) }.into(),
        2 if reserved > 0 => StockReleased { sku, order_id, quantity: pieces(number.min(reserved)) }.into(),
        3 if reserved > 0 => StockShipped { sku, order_id, quantity: pieces(number.min(reserved)) }.into(),
        4 if available > 0 => {
            StockAdjusted { sku, delta: -number.min(available), reason: "count".to_owned() }.into()
        }
        5 => StockAdjusted { sku, delta: number, reason: "count".to_owned() }.into(),
        _ => received(given::SKU, number),
    }
}

proptest! {
    #[test]
    fn stock_is_conserved_at_every_version(choices in prop::collection::vec((0_u8..6, 1_i64..100), 1..60)) {
        let (mut logs, stream) = (Logs::default(), events::inventory::stock_stream(&sku(given::SKU)));
        let mut row = fold::<Stock>(None, &logs.happens(&stream, registered(given::SKU))).expect("a row");
        let mut adjusted = 0;
        for (choice, number) in choices {
            let event = stock_event(choice, number, row.available, row.reserved);
            if let StockEvent::StockAdjusted(adjustment) = &event {
                adjusted += adjustment.delta;
            }
            let event = logs.happens(&stream, event);
            row = fold::<Stock>(Some(row), &event).expect("a row");
            prop_assert_eq!(row.received, row.available + row.reserved + row.shipped);
            prop_assert_eq!((row.adjusted, row.version), (adjusted, event.version));
            prop_assert_eq!(fold::<Stock>(Some(row.clone()), &event), Some(row.clone()));
        }
    }
}
