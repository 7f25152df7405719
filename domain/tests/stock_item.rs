//! The rules of a SKU's stock in sentences.

mod support;

use domain::inventory::stock_item::STOCK_PIECES_MAX;
use domain::{StockCommand, StockItem, StockRefusal};
use events::inventory::ReservationRefused;
use events::{ReservationEvent, StockEvent};
use support::stock_item::*;
use support::{Given, ID, after, sku};

fn given(history: impl IntoIterator<Item = StockEvent>) -> Given<StockItem> {
    support::given(history)
}

// ---- receiving ----

#[test]
fn registering_a_sku_makes_it_known() {
    given([]).when(StockCommand::RegisterSku { sku: sku("cup") }).then([registered()]);
}

#[test]
fn registering_a_known_sku_changes_nothing() {
    given([registered()]).when(StockCommand::RegisterSku { sku: sku("cup") }).then_nothing();
}

#[test]
fn receiving_a_new_sku_registers_it_too() {
    given([]).when(receive(10)).then([registered(), received(10)]);
}

#[test]
fn receiving_more_of_a_known_sku_adds_to_it() {
    given([registered(), received(10)]).when(receive(1)).then([received(1)]);
}

#[test]
fn a_sku_can_receive_up_to_its_limit_and_no_more() {
    let almost_full = [registered(), adjusted(STOCK_PIECES_MAX - 1)];
    given(almost_full.clone()).when(receive(1)).then([received(1)]);
    given(almost_full).when(receive(2)).then_refused(too_much(STOCK_PIECES_MAX + 1));
}

// ---- adjusting ----

#[test]
fn a_count_is_corrected_in_both_directions() {
    given([registered(), received(10)]).when(adjust(5)).then([adjusted(5)]);
    given([registered(), received(10)]).when(adjust(-10)).then([adjusted(-10)]);
}

#[test]
fn an_adjustment_of_zero_is_refused() {
    given([registered()]).when(adjust(0)).then_refused(StockRefusal::NothingToAdjust);
}

#[test]
fn an_unknown_sku_cannot_be_adjusted() {
    given([]).when(adjust(1)).then_refused(StockRefusal::UnknownSku { sku: sku("cup") });
}

#[test]
fn an_adjustment_cannot_take_more_than_is_available() {
    given([registered(), received(10), reserved(4)]).when(adjust(-7)).then_refused(not_enough(7, 6));
}

#[test]
fn the_most_extreme_adjustments_are_refused_without_an_overflow() {
    given([registered(), received(10)]).when(adjust(i64::MAX)).then_refused(too_much(i64::MAX));
    given([registered(), received(10)]).when(adjust(i64::MIN)).then_refused(not_enough(i64::MAX, 10));
}

// ---- reserving, releasing, shipping ----

#[test]
fn all_that_is_available_can_be_reserved() {
    given([registered(), received(10)]).when(reserve(10)).then([reserved(10)]);
}

#[test]
fn more_than_is_available_cannot_be_reserved() {
    given([registered(), received(10), reserved(4)]).when(reserve(7)).then_refused(not_enough(7, 6));
}

#[test]
fn nothing_of_an_unknown_sku_can_be_reserved() {
    given([]).when(reserve(1)).then_refused(not_enough(1, 0));
}

#[test]
fn reserved_pieces_can_be_released_and_are_available_again() {
    let history = [registered(), received(10), reserved(10)];
    given(history.clone()).when(release(10)).then([released(10)]);
    given(history.into_iter().chain([released(10)])).when(reserve(10)).then([reserved(10)]);
}

#[test]
fn more_than_is_reserved_cannot_be_released() {
    given([registered(), received(10), reserved(4)]).when(release(5)).then_refused(not_reserved(5, 4));
}

#[test]
fn reserved_pieces_can_be_shipped_and_are_gone() {
    let history = [registered(), received(10), reserved(10)];
    given(history.clone()).when(ship(10)).then([shipped(10)]);
    given(history.into_iter().chain([shipped(10)])).when(reserve(1)).then_refused(not_enough(1, 0));
}

#[test]
fn more_than_is_reserved_cannot_be_shipped() {
    given([registered(), received(10), reserved(4)]).when(ship(5)).then_refused(not_reserved(5, 4));
}

#[test]
fn every_piece_is_counted_where_it_is() {
    let history = [registered(), received(10), adjusted(-1), reserved(5), released(1), shipped(2)];
    let item = after(StockItem::default(), &history);
    assert_eq!((item.received(), item.available(), item.reserved(), item.shipped()), (9, 5, 2, 2));
}

#[test]
fn a_stock_item_knows_its_own_events_from_those_of_others() {
    assert_eq!(StockEvent::try_from(events::Event::from(registered())).ok(), Some(registered()));
    let refused = ReservationRefused { order_id: ID, shortages: Vec::new() };
    assert_eq!(StockEvent::try_from(events::Event::from(ReservationEvent::from(refused))).ok(), None);
}

#[test]
fn a_refusal_says_what_was_given_and_what_is_allowed() {
    for (refusal, message) in [
        (StockRefusal::UnknownSku { sku: sku("cup") }, "cup is not known: receive or register it first"),
        (not_enough(7, 6), "cup: wanted 7, available 6"),
        (not_reserved(5, 4), "cup: wanted 5 out of the reserved, reserved 4"),
        (
            too_much(STOCK_PIECES_MAX + 1),
            "cup: would make 1000000000000001 pieces received, the maximum is 1000000000000000",
        ),
        (StockRefusal::NothingToAdjust, "an adjustment must not be 0"),
    ] {
        assert_eq!(refusal.to_string(), message);
    }
}
