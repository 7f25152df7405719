//! What must hold in every world: after every transition ([`always`]), and when nothing can happen any more ([`at_rest`]).

use domain::orders::OrderStatus;
use domain::payments::PaymentState;
use domain::{Reservation, Shipment};
use events::orders::OrderPlaced;
use events::{Event, OrderEvent, OrderId, PaymentEvent};
use sagas::payments::{ProviderState, may_expire};

use crate::transitions::Reader;
use crate::world::World;

macro_rules! invariant {
    ($world:expr, $holds:expr, $($said:tt)+) => {
        assert!($holds, "{}\n{}", format_args!($($said)+), $world.trail())
    };
}

pub fn always(world: &World) {
    stock_is_conserved(world);
    for &order_id in world.orders.keys() {
        an_order_ends_once(world, order_id);
        an_end_means_that_nothing_is_held(world, order_id);
        what_was_promised_is_held(world, order_id);
        nothing_waits_for_ever(world, order_id);
    }
}

/// The invariant of [`domain::inventory::stock_item`], and that what is reserved belongs to a reservation.
fn stock_is_conserved(world: &World) {
    for (sku, item) in &world.stock {
        let (available, reserved, shipped) = (item.available(), item.reserved(), item.shipped());
        invariant!(world, available >= 0 && reserved >= 0 && shipped >= 0, "{sku}: {item:?} below 0");
        invariant!(
            world,
            item.received() == available + reserved + shipped,
            "{sku}: {item:?} does not sum up"
        );
        let pieces = |counts: fn(&Reservation) -> bool| -> i64 {
            let orders = world.reservations.iter().filter(|(_, reservation)| counts(reservation));
            let lines = orders.flat_map(|(order_id, _)| placed(world, *order_id).lines.iter());
            lines.filter(|line| line.sku == *sku).map(|line| line.quantity.get()).sum()
        };
        let made = pieces(|reservation| matches!(reservation, Reservation::Made { .. }));
        let committed = pieces(|reservation| matches!(reservation, Reservation::Committed));
        invariant!(
            world,
            (reserved, shipped) == (made, committed),
            "{sku}: {item:?}, made {made}, left {committed}"
        );
    }
}

fn an_order_ends_once(world: &World, order_id: OrderId) {
    let is_end = |event: &&Event| {
        matches!(
            event,
            Event::Order(
                OrderEvent::OrderRejected(_) | OrderEvent::OrderCancelled(_) | OrderEvent::OrderDelivered(_)
            )
        )
    };
    let stream = events::orders::stream(order_id);
    let ends = world.history(&stream).filter(is_end).count();
    invariant!(world, ends <= 1, "{order_id} ended {ends} times");
    let after_the_end = world.history(&stream).skip_while(|event| !is_end(event)).count();
    invariant!(world, after_the_end <= 1, "{order_id} went on after its end");
}

/// Except when the payment expired: then the stock is free at once, and the void is repeated until the provider answers.
fn an_end_means_that_nothing_is_held(world: &World, order_id: OrderId) {
    if !matches!(world.status(order_id), OrderStatus::Rejected | OrderStatus::Cancelled) {
        return;
    }
    let reservation = world.reservations.get(&order_id);
    invariant!(
        world,
        matches!(reservation, Some(Reservation::Refused | Reservation::Released)),
        "{order_id} has ended and its reservation is {reservation:?}"
    );
    let expired = |event: &Event| matches!(event, Event::Payment(PaymentEvent::PaymentExpired(_)));
    if !world.history(&events::payments::stream(order_id)).any(expired) {
        let owned = world.provider.owns(order_id);
        invariant!(world, owned == 0, "{order_id} has ended and {owned} of it are with the provider");
    }
}

fn what_was_promised_is_held(world: &World, order_id: OrderId) {
    if !matches!(
        world.status(order_id),
        OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered
    ) {
        return;
    }
    let (owned, total) = (world.provider.owns(order_id), placed(world, order_id).total_minor);
    invariant!(world, owned == total, "{order_id} is confirmed, {owned} of {total} are with the provider");
    let reservation = world.reservations.get(&order_id);
    invariant!(
        world,
        matches!(reservation, Some(Reservation::Made { .. } | Reservation::Committed)),
        "{order_id} is confirmed and its reservation is {reservation:?}"
    );
}

/// A call to the provider that is due has a component that will make it.
fn nothing_waits_for_ever(world: &World, order_id: OrderId) {
    let Some(payment) = world.payments.get(&order_id) else { return };
    invariant!(
        world,
        may_expire(payment) == world.expire.contains(&order_id),
        "{order_id}: the deadline is not set"
    );
    let will_be_made = world.ask_again.contains(&order_id)
        || world.calls.iter().any(|call| call.order_id == order_id)
        || world.next(Reader::Gateway, &events::payments::stream(order_id)).is_some();
    invariant!(
        world,
        payment.next_provider_call().is_none() || will_be_made,
        "{order_id}: nothing will ever make the call {:?}",
        payment.next_provider_call()
    );
}

pub fn at_rest(world: &World) {
    invariant!(
        world,
        world.calls.is_empty() && world.ask_again.is_empty() && world.expire.is_empty(),
        "not at rest"
    );
    for &order_id in world.orders.keys() {
        let (status, total) = (world.status(order_id), placed(world, order_id).total_minor);
        let payment = world.payments.get(&order_id).map(domain::Payment::state).unwrap_or_default();
        let shipment = world.shipments.get(&order_id).copied().unwrap_or_default();
        let owned = world.provider.owns(order_id);
        let (agrees, owed) = match status {
            OrderStatus::Confirmed => (shipment == Shipment::Prepared, total),
            OrderStatus::Shipped => (shipment == Shipment::Dispatched, total),
            OrderStatus::Delivered => (shipment == Shipment::Delivered, total),
            OrderStatus::Rejected => (shipment == Shipment::Absent, 0),
            OrderStatus::Cancelled => (matches!(shipment, Shipment::Absent | Shipment::Cancelled), 0),
            OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Cancelling { .. } => (false, 0),
        };
        invariant!(
            world,
            agrees && owned == owed,
            "{order_id} rests {status:?}, {shipment:?}, {payment:?}, {owned}"
        );
        let taken = matches!(status, OrderStatus::Shipped | OrderStatus::Delivered);
        let reservation = world.reservations.get(&order_id);
        invariant!(
            world,
            taken == matches!(reservation, Some(Reservation::Committed)),
            "{order_id} rests {status:?}, {reservation:?}"
        );
        if taken && total > 0 {
            invariant!(
                world,
                payment == PaymentState::Captured,
                "{order_id} left and is not paid: {payment:?}"
            );
        }
        books_agree(world, order_id, payment);
    }
}

/// Our payment and the provider's ledger say the same.
fn books_agree(world: &World, order_id: OrderId, payment: PaymentState) {
    let entry = world.provider.ledger.get(&order_id).map(|entry| entry.state);
    let agree = match payment {
        PaymentState::Absent | PaymentState::Waived => entry.is_none(),
        PaymentState::Authorised => entry == Some(ProviderState::Authorised),
        PaymentState::Captured => entry == Some(ProviderState::Captured),
        PaymentState::Refunded => entry == Some(ProviderState::Refunded),
        PaymentState::Declined => entry == Some(ProviderState::Declined),
        PaymentState::Voided => {
            matches!(entry, None | Some(ProviderState::Voided | ProviderState::Declined))
        }
        PaymentState::Requested
        | PaymentState::Unknown
        | PaymentState::Capturing
        | PaymentState::Voiding
        | PaymentState::Refunding => false,
    };
    invariant!(world, agree, "{order_id}: our payment is {payment:?}, the provider's {entry:?}");
}

fn placed(world: &World, order_id: OrderId) -> &OrderPlaced {
    let stream = events::orders::stream(order_id);
    let placed = world.history(&stream).find_map(|event| match event {
        Event::Order(OrderEvent::OrderPlaced(placed)) => Some(placed),
        _ => None,
    });
    placed.expect("every order of a world was placed")
}
