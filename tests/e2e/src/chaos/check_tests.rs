//! Each broken promise, made by hand: the checks must name it, and must find nothing in what is sound.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::check::{
    Booked, Pieces, history_is_in_the_logs, logs_are_contiguous, orders_agree_with_stock_and_money,
    stock_is_conserved,
};
use super::history::{Operation, Outcome, What};
use super::logs::{Logged, Logs};

const ORDER: Uuid = Uuid::from_u128(1);
const OPERATION: Uuid = Uuid::from_u128(2);

fn event(stream: &str, version: i32, event_type: &str, payload: Value) -> Logged {
    Logged {
        position: 0,
        stream: stream.replace('*', &ORDER.to_string()),
        version,
        event_type: event_type.to_owned(),
        payload,
        correlation_id: OPERATION,
        actor: "saga".to_owned(),
    }
}

/// Three pieces in, an order of two, placed by the operation and confirmed.
fn sound() -> Logs {
    let order = body();
    let placed = Logged { actor: "http".to_owned(), ..event("order-*", 1, "OrderPlaced", order) };
    let items =
        json!({"order_id": ORDER, "sku": "CUP", "quantity": 2, "items": [{"sku": "CUP", "quantity": 2}]});
    let orders = vec![placed, event("order-*", 2, "OrderConfirmed", json!({}))];
    let inventory = vec![
        event("stock-CUP", 1, "StockReceived", json!({"quantity": 3})),
        event("stock-CUP", 2, "StockReserved", items.clone()),
        event("reservation-*", 1, "ReservationMade", items),
    ];
    let number = |events: Vec<Logged>| {
        (1..).zip(events).map(|(position, event)| Logged { position, ..event }).collect::<Vec<_>>()
    };
    Logs::from([("orders", number(orders)), ("inventory", number(inventory))])
}

fn body() -> Value {
    json!({"customer_id": "kim", "currency": "GBP", "lines": [], "shipping_address": "here", "total_minor": 700})
}

fn operation(outcome: Outcome) -> HashMap<Uuid, Operation> {
    let what = What::Place { order_id: ORDER, body: body() };
    HashMap::from([(OPERATION, Operation { what, outcome })])
}

fn ok() -> Outcome {
    Outcome::Ok(json!({}))
}

fn booked(state: &str) -> HashMap<Uuid, Booked> {
    HashMap::from([(ORDER, Booked { state: state.to_owned(), amount_minor: 700 })])
}

fn read(status: &str) -> HashMap<Uuid, String> {
    HashMap::from([(ORDER, status.to_owned())])
}

fn shelf(available: i64) -> HashMap<String, Pieces> {
    HashMap::from([("CUP".to_owned(), Pieces { available, reserved: 2, shipped: 0 })])
}

#[track_caller]
fn names(violations: &[String], what: &str) {
    assert!(violations.iter().any(|violation| violation.contains(what)), "{what:?} in {violations:#?}");
}

#[test]
fn what_is_sound_is_not_accused() {
    let logs = sound();
    assert_eq!(logs_are_contiguous(&logs), [""; 0]);
    assert_eq!(history_is_in_the_logs(&operation(ok()), &logs), [""; 0]);
    let unknown = history_is_in_the_logs(&operation(Outcome::Unknown("hung up".to_owned())), &logs);
    assert_eq!(unknown, ["no operation was ok: there is nothing to judge by"]);
    assert_eq!(orders_agree_with_stock_and_money(&logs, &booked("authorised"), &read("confirmed")), [""; 0]);
    assert_eq!(stock_is_conserved(&logs, &shelf(1)), [""; 0]);
}

#[test]
fn a_gap_in_a_log_or_a_stream_is_named() {
    let mut logs = sound();
    logs.get_mut("orders").expect("it is there")[1].position = 3;
    names(&logs_are_contiguous(&logs), "orders: position 3 where 2 was due");
    let mut logs = sound();
    logs.get_mut("inventory").expect("it is there")[1].version = 3;
    names(&logs_are_contiguous(&logs), "stock-CUP: version 3 where 2 was due");
}

#[test]
fn an_ok_that_was_lost_or_altered_or_done_twice_is_named() {
    let mut lost = sound();
    lost.get_mut("orders").expect("it is there").remove(0);
    names(&history_is_in_the_logs(&operation(ok()), &lost), "not in the log");
    let mut altered = sound();
    altered.get_mut("orders").expect("it is there")[0].payload["customer_id"] = json!("tim");
    names(&history_is_in_the_logs(&operation(ok()), &altered), "something else");
    let mut twice = sound();
    let again = twice["orders"][0].clone();
    twice.get_mut("orders").expect("it is there").push(again);
    names(&history_is_in_the_logs(&operation(ok()), &twice), "something else");
    let mut elsewhere = sound();
    elsewhere.get_mut("orders").expect("it is there")[0].stream = "order-another".to_owned();
    names(&history_is_in_the_logs(&operation(ok()), &elsewhere), "something else");
}

#[test]
fn a_fail_that_was_done_and_an_event_that_nobody_asked_for_are_named() {
    let failed = operation(Outcome::Fail("503".to_owned()));
    names(&history_is_in_the_logs(&failed, &sound()), "and it is in the log");
    names(&history_is_in_the_logs(&HashMap::new(), &sound()), "nobody asked for");
}

#[test]
fn an_order_that_did_not_settle_or_disagrees_with_its_money_its_stock_or_its_read_model_is_named() {
    let verdict =
        |logs: &Logs, money, status| orders_agree_with_stock_and_money(logs, &booked(money), &read(status));
    let mut unsettled = sound();
    unsettled.get_mut("orders").expect("it is there").pop();
    names(&verdict(&unsettled, "authorised", "placed"), "did not settle: it is placed");
    names(&verdict(&sound(), "voided", "confirmed"), "the provider holds: voided");
    names(&verdict(&sound(), "authorised", "placed"), "the read model says");
    let mut unreserved = sound();
    unreserved.get_mut("inventory").expect("it is there").pop();
    names(&verdict(&unreserved, "authorised", "confirmed"), "its reservation ends in nothing");
    let nobody = orders_agree_with_stock_and_money(&Logs::new(), &booked("captured"), &HashMap::new());
    names(&nobody, "a payment for no order");
}

#[test]
fn stock_that_is_oversold_or_half_reserved_or_misread_is_named() {
    let mut oversold = sound();
    oversold.get_mut("inventory").expect("it is there")[0].payload["quantity"] = json!(1);
    names(&stock_is_conserved(&oversold, &shelf(-1)), "available: -1");
    let mut half = sound();
    half.get_mut("inventory").expect("it is there").remove(1);
    names(&stock_is_conserved(&half, &shelf(3)), "reservations and reserved stock differ");
    names(&stock_is_conserved(&sound(), &shelf(2)), "the read model says");
}
