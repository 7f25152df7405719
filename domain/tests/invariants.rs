//! The invariants after any sequence of commands, in any order and with any repetition: stock is conserved, an order
//! ends once, money moves in one direction, and nothing panics.

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;

use domain::inventory::stock_item::STOCK_PIECES_MAX;
use domain::payments::ProviderCall;
use domain::{
    Aggregate, Order, OrderCommand, Payment, Reservation, Shipment, ShipmentCommand, State, StockItem,
};
use events::{Event, OrderEvent, PaymentEvent, Sku};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use support::any::*;
use support::pounds;
use support::reservation::{Warehouse, Write};

proptest! {
    #[test]
    fn the_stock_of_a_sku_is_conserved_at_every_version(
        commands in prop::collection::vec(any_stock_command(), 1..60),
    ) {
        let mut item = StockItem::default();
        for command in commands {
            for event in item.decide(&command).unwrap_or_default() {
                item = item.evolve(&event);
                check_conserved(&item)?;
            }
        }
    }

    #[test]
    fn stock_is_conserved_while_many_orders_reserve_release_and_ship_the_same_skus(
        steps in prop::collection::vec(any_warehouse_step(), 1..80),
    ) {
        let mut warehouse = Warehouse::default();
        for step in steps {
            for write in writes_of(&warehouse, &step) {
                for event in &write.events {
                    let one = Write { stream: write.stream.clone(), events: vec![event.clone()] };
                    warehouse.apply(&one);
                    warehouse.stock.values().try_for_each(check_conserved)?;
                }
            }
            check_agrees_with_its_reservations(&warehouse)?;
        }
    }

    #[test]
    fn an_order_ends_at_most_once_and_nothing_follows_its_end(
        commands in prop::collection::vec(any_order_command(), 1..40),
    ) {
        let history = history_of::<Order>(&commands);
        let ends = history.iter().filter(|event| is_end(event)).count();
        prop_assert!(ends <= 1, "{history:?}");
        prop_assert!(ends == 0 || history.last().is_some_and(is_end), "{history:?}");
    }

    #[test]
    fn money_is_taken_once_and_goes_back_only_after_it_was_taken(
        commands in prop::collection::vec(any_payment_command(), 1..40),
    ) {
        let history = history_of::<Payment>(&commands);
        let count = |wanted: &str| history.iter().filter(|event| event.event_type() == wanted).count();
        let place = |wanted: &str| history.iter().position(|event| event.event_type() == wanted);
        prop_assert!(count("PaymentCaptured") <= 1, "{history:?}");
        prop_assert!(count("PaymentRefunded") <= 1, "{history:?}");
        prop_assert!(count("PaymentCaptured") + count("PaymentVoided") <= 1, "{history:?}");
        prop_assert!(count("PaymentDeclined") + count("PaymentAuthorised") <= 1, "{history:?}");
        if let Some(refunded) = place("PaymentRefunded") {
            prop_assert!(place("PaymentCaptured").is_some_and(|captured| captured < refunded), "{history:?}");
        }
        prop_assert!(history.iter().filter_map(amount_of).all(|amount| amount == pounds(1800)));
    }

    #[test]
    fn the_provider_gets_no_authorisation_after_its_first_missing_answer(
        commands in prop::collection::vec(any_payment_command(), 1..40),
    ) {
        let mut state = Payment::default();
        let mut left_requested = false;
        for event in history_of::<Payment>(&commands) {
            state = state.evolve(&event);
            let asks_to_hold = matches!(state.next_provider_call(), Some(ProviderCall::Authorise { .. }));
            prop_assert!(!(asks_to_hold && left_requested));
            left_requested |= !asks_to_hold;
        }
    }

    #[test]
    fn an_accepted_command_on_an_order_changes_nothing_when_repeated(
        commands in prop::collection::vec(any_order_command(), 1..40),
    ) {
        check_told_twice::<Order>(&commands, |command| !matches!(command, OrderCommand::PlaceOrder { .. }))?;
    }

    #[test]
    fn an_accepted_command_on_a_payment_changes_nothing_when_repeated(
        commands in prop::collection::vec(any_payment_command(), 1..40),
    ) {
        check_told_twice::<Payment>(&commands, |_| true)?;
    }

    #[test]
    fn an_accepted_command_of_a_saga_on_a_shipment_changes_nothing_when_repeated(
        commands in prop::collection::vec(any_shipment_command(), 1..20),
    ) {
        let from_a_saga = |command: &ShipmentCommand| {
            matches!(command, ShipmentCommand::PrepareShipment { .. } | ShipmentCommand::CancelShipment { .. })
        };
        check_told_twice::<Shipment>(&commands, from_a_saga)?;
    }

    #[test]
    fn an_accepted_command_on_a_warehouse_changes_nothing_when_repeated(
        steps in prop::collection::vec(any_warehouse_step(), 1..80),
    ) {
        let mut warehouse = Warehouse::default();
        for step in &steps {
            let writes = writes_of(&warehouse, step);
            writes.iter().for_each(|write| warehouse.apply(write));
            if let (false, Step::Reservation(command)) = (writes.is_empty(), step) {
                prop_assert_eq!(warehouse.decide(command), Ok(Vec::new()));
            }
        }
    }
}

// ---- what is checked ----

fn check_conserved(item: &StockItem) -> TestCaseResult {
    let parts = [item.available(), item.reserved(), item.shipped()];
    prop_assert!(parts.iter().all(|part| *part >= 0), "{:?}", item);
    prop_assert_eq!(item.received(), parts.iter().sum::<i64>(), "{:?}", item);
    prop_assert!(item.received() <= STOCK_PIECES_MAX, "{:?}", item);
    Ok(())
}

/// The reserved pieces are those that the reservations hold.
fn check_agrees_with_its_reservations(warehouse: &Warehouse) -> TestCaseResult {
    let mut held = BTreeMap::<&Sku, i64>::new();
    for reservation in warehouse.reservations.values() {
        if let Reservation::Made { items } = reservation {
            for item in items {
                *held.entry(&item.sku).or_default() += item.quantity.get();
            }
        }
    }
    for (sku, item) in &warehouse.stock {
        prop_assert_eq!(item.reserved(), held.get(sku).copied().unwrap_or(0), "{}", sku);
    }
    Ok(())
}

/// The events of the step; none if it is refused.
fn writes_of(warehouse: &Warehouse, step: &Step) -> Vec<Write> {
    match step {
        Step::Reservation(command) => warehouse.decide(command).unwrap_or_default(),
        Step::Stock(sku, command) => {
            let item = warehouse.stock.get(sku).cloned().unwrap_or_default();
            let events = item.decide(command).unwrap_or_default();
            vec![Write {
                stream: events::inventory::stock_stream(sku),
                events: events.into_iter().map(Event::StockItem).collect(),
            }]
        }
    }
}

/// An accepted command changes nothing when it is decided again.
fn check_told_twice<A>(commands: &[A::Command], applies: impl Fn(&A::Command) -> bool) -> TestCaseResult
where
    A: Aggregate<Command: Debug, Event: Debug + PartialEq, Refusal: PartialEq>,
{
    let mut state = A::default();
    for command in commands {
        if let Ok(events) = state.decide(command) {
            state = support::after(state, &events);
            if applies(command) {
                prop_assert_eq!(state.decide(command), Ok(Vec::new()), "{:?}", command);
            }
        }
    }
    Ok(())
}

/// The events of the accepted `commands`.
fn history_of<A: Aggregate>(commands: &[A::Command]) -> Vec<A::Event> {
    let mut state = A::default();
    let mut history = Vec::new();
    for command in commands {
        // A refusal writes nothing.
        let Ok(events) = state.decide(command) else { continue };
        state = support::after(state, &events);
        history.extend(events);
    }
    history
}

fn is_end(event: &OrderEvent) -> bool {
    match event {
        OrderEvent::OrderRejected(_) | OrderEvent::OrderCancelled(_) | OrderEvent::OrderDelivered(_) => true,
        OrderEvent::OrderPlaced(_)
        | OrderEvent::OrderConfirmed(_)
        | OrderEvent::OrderCancellationRequested(_)
        | OrderEvent::OrderCancellationRefused(_)
        | OrderEvent::OrderShipped(_) => false,
    }
}

fn amount_of(event: &PaymentEvent) -> Option<events::Money> {
    match event {
        PaymentEvent::PaymentCaptureRequested(event) => Some(event.amount),
        PaymentEvent::PaymentCaptured(event) => Some(event.amount),
        PaymentEvent::PaymentRefundRequested(event) => Some(event.amount),
        PaymentEvent::PaymentRefunded(event) => Some(event.amount),
        _ => None,
    }
}
