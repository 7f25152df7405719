//! The rules of a reservation in sentences: all lines of an order or none, in one append over several streams.

mod support;

use domain::inventory::reservation::ReservationRefusal;
use domain::orders::per_sku;
use domain::{Decide, Reservation, StockRefusal};
use event_log::{Decision, Others};
use events::inventory::ReleaseCause::{OrderCancelled, PaymentDeclined, PaymentExpired};
use events::inventory::{ReservationRefused, SkuRegistered, stock_stream};
use events::{Quantity, ReservationEvent, StockEvent, ValueError};
use support::reservation::*;
use support::{ID, item, line, nth_order, pieces, sku};

// ---- reserving ----

#[test]
fn an_order_reserves_every_sku_in_one_append() {
    Warehouse::with(&[("cup", 10), ("teapot", 1)]).writes(
        reserve(ID, vec![item("cup", 6), item("teapot", 1)]),
        [
            made(ID, vec![item("cup", 6), item("teapot", 1)]),
            stock_reserved(ID, "cup", 6),
            stock_reserved(ID, "teapot", 1),
        ],
    );
}

#[test]
fn one_short_sku_refuses_the_whole_order_and_writes_to_no_stock() {
    Warehouse::with(&[("cup", 10), ("teapot", 1)]).writes(
        reserve(ID, vec![item("cup", 6), item("teapot", 2)]),
        [refused(ID, vec![short("teapot", 2, 1)])],
    );
}

#[test]
fn every_sku_that_is_short_is_named() {
    Warehouse::with(&[("cup", 5)]).writes(
        reserve(ID, vec![item("cup", 6), item("unheard of", 1)]),
        [refused(ID, vec![short("cup", 6, 5), short("unheard of", 1, 0)])],
    );
}

#[test]
fn pieces_reserved_by_one_order_are_not_available_to_the_next() {
    let next = nth_order(2);
    Warehouse::with(&[("cup", 10)])
        .after(reserve(ID, vec![item("cup", 6)]))
        .writes(reserve(next, vec![item("cup", 5)]), [refused(next, vec![short("cup", 5, 4)])]);
}

#[test]
fn a_reservation_is_decided_once() {
    let reserve = || reserve(ID, vec![item("cup", 6)]);
    let made = || Warehouse::with(&[("cup", 10)]).after(reserve());
    made().writes_nothing(reserve());
    made().after(commit(ID)).writes_nothing(reserve());
    made().after(release(ID, PaymentExpired)).writes_nothing(reserve());
    let refused = Warehouse::default().after(reserve());
    refused.writes_nothing(reserve());
}

#[test]
fn a_refused_order_stays_refused_when_stock_comes_in() {
    let refused = Warehouse::default().after(reserve(ID, vec![item("cup", 6)]));
    let restocked = Warehouse { stock: Warehouse::with(&[("cup", 10)]).stock, ..refused };
    restocked.writes_nothing(reserve(ID, vec![item("cup", 6)]));
}

#[test]
fn a_release_before_the_reservation_prevents_it() {
    let released_first = Warehouse::with(&[("cup", 10)]).after(release(ID, OrderCancelled));
    released_first.writes_nothing(reserve(ID, vec![item("cup", 6)]));
}

// ---- releasing ----

#[test]
fn a_release_returns_every_piece_with_its_cause() {
    let declined = PaymentDeclined { decline_code: "insufficient_funds".to_owned() };
    Warehouse::with(&[("cup", 10), ("teapot", 1)])
        .after(reserve(ID, vec![item("cup", 6), item("teapot", 1)]))
        .writes(
            release(ID, declined.clone()),
            [
                released(ID, vec![item("cup", 6), item("teapot", 1)], declined),
                stock_released(ID, "cup", 6),
                stock_released(ID, "teapot", 1),
            ],
        );
}

#[test]
fn a_release_without_a_reservation_is_an_event_without_items() {
    Warehouse::default().writes(release(ID, OrderCancelled), [released(ID, vec![], OrderCancelled)]);
}

#[test]
fn a_release_of_a_refused_or_released_reservation_changes_nothing() {
    let refused = Warehouse::default().after(reserve(ID, vec![item("cup", 6)]));
    refused.writes_nothing(release(ID, OrderCancelled));
    let released = Warehouse::default().after(release(ID, PaymentExpired));
    released.writes_nothing(release(ID, OrderCancelled));
}

#[test]
fn a_committed_reservation_cannot_be_released() {
    Warehouse::with(&[("cup", 10)])
        .after(reserve(ID, vec![item("cup", 6)]))
        .after(commit(ID))
        .refuses(release(ID, OrderCancelled), ReservationRefusal::Committed { order_id: ID });
}

// ---- committing ----

#[test]
fn a_commit_ships_every_piece() {
    Warehouse::with(&[("cup", 10), ("teapot", 1)])
        .after(reserve(ID, vec![item("cup", 6), item("teapot", 1)]))
        .writes(
            commit(ID),
            [
                committed(ID, vec![item("cup", 6), item("teapot", 1)]),
                stock_shipped(ID, "cup", 6),
                stock_shipped(ID, "teapot", 1),
            ],
        );
}

#[test]
fn a_repeated_commit_changes_nothing() {
    Warehouse::with(&[("cup", 10)])
        .after(reserve(ID, vec![item("cup", 6)]))
        .after(commit(ID))
        .writes_nothing(commit(ID));
}

#[test]
fn pieces_that_are_not_reserved_cannot_be_committed() {
    let not_made = |state| ReservationRefusal::NotMade { order_id: ID, state };
    Warehouse::default().refuses(commit(ID), not_made("not there"));
    let refused = Warehouse::default().after(reserve(ID, vec![item("cup", 6)]));
    refused.refuses(commit(ID), not_made("refused"));
    let released = Warehouse::default().after(release(ID, OrderCancelled));
    released.refuses(commit(ID), not_made("released"));
}

// ---- what a decision reads ----

#[test]
fn a_decision_reads_the_skus_it_may_write_to_and_no_others() {
    let reserve = reserve(ID, vec![item("cup", 6), item("teapot", 1)]);
    let both = [sku("cup"), sku("teapot")].map(|sku| stock_stream(&sku)).to_vec();
    let none = Reservation::None;
    assert_eq!(none.reads(&reserve), both);
    assert_eq!(none.reads(&release(ID, OrderCancelled)), []);
    assert_eq!(none.reads(&commit(ID)), []);
    let made = Reservation::Made { items: vec![item("cup", 6), item("teapot", 1)] };
    assert_eq!(made.reads(&reserve), []);
    assert_eq!(made.reads(&release(ID, OrderCancelled)), both);
    assert_eq!(made.reads(&commit(ID)), both);
    for ended in [Reservation::Refused, Reservation::Released, Reservation::Committed] {
        for command in [reserve.clone(), release(ID, OrderCancelled), commit(ID)] {
            assert_eq!(ended.reads(&command), []);
        }
    }
}

#[test]
fn a_stock_without_the_reserved_pieces_is_reported_and_not_written() {
    let made = Warehouse::with(&[("cup", 10)]).after(reserve(ID, vec![item("cup", 6)]));
    let contradictory = Warehouse { stock: Warehouse::with(&[("cup", 10)]).stock, ..made };
    let lost = StockRefusal::NotReserved { sku: sku("cup"), wanted: 6, reserved: 0 };
    contradictory.refuses(commit(ID), ReservationRefusal::Stock(lost));
}

#[test]
fn decided_without_any_stock_every_reservation_is_short() {
    let shortages = vec![short("cup", 6, 0)];
    assert_eq!(
        Reservation::None.decide_with(&reserve(ID, vec![item("cup", 6)]), &Others::default()),
        Ok(Decision::own([ReservationRefused { order_id: ID, shortages }.into()]))
    );
}

// ---- lines to pieces ----

#[test]
fn the_lines_of_an_order_are_summed_per_sku_in_the_order_of_the_skus() {
    let lines = [line("teapot", 1, 100), line("cup", 6, 300), line("cup", 1, 250), line("Cup", 2, 1)];
    assert_eq!(per_sku(&lines), Ok(vec![item("Cup", 2), item("cup", 7), item("teapot", 1)]));
}

#[test]
fn more_pieces_of_one_sku_than_the_maximum_are_refused() {
    let range = ValueError::Range { min: 1, max: Quantity::MAX, given: i128::from(Quantity::MAX) + 1 };
    assert_eq!(per_sku(&[line("bead", Quantity::MAX, 0), line("bead", 1, 0)]), Err(range));
    let most = [line("bead", Quantity::MAX, 0)];
    assert_eq!(per_sku(&most).map(|items| items[0].quantity), Ok(pieces(Quantity::MAX)));
}

#[test]
fn a_reservation_knows_its_own_events_from_those_of_others() {
    let event = ReservationEvent::from(ReservationRefused { order_id: ID, shortages: vec![] });
    assert_eq!(ReservationEvent::try_from(events::Event::from(event.clone())).ok(), Some(event));
    let registered = StockEvent::from(SkuRegistered { sku: sku("cup") });
    assert_eq!(ReservationEvent::try_from(events::Event::from(registered)).ok(), None);
}

#[test]
fn a_refusal_names_the_reservations_state() {
    for (refusal, message) in [
        (
            ReservationRefusal::NotMade { order_id: ID, state: "released" },
            format!("the reservation of order {ID} is released: it cannot be committed"),
        ),
        (
            ReservationRefusal::Committed { order_id: ID },
            format!("the reservation of order {ID} is committed: it cannot be released"),
        ),
    ] {
        assert_eq!(refusal.to_string(), message);
    }
}
