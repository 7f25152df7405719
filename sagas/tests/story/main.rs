//! The fulfilment of an order in memory: every reaction, every decision, every rule of `domain`, and a provider as its
//! contract says. Small scenarios are explored in every interleaving; large ones by chance.
//!
//! Never: a clock, a thread, a real engine (`sagas/tests/engines/` has those).
//! Read next: [`world`], [`transitions`], [`effects`], [`invariants`], [`explore`].

mod effects;
mod explore;
mod invariants;
mod provider;
mod table;
mod transitions;
mod world;

use std::collections::BTreeSet;

use domain::OrderCommand;
use events::orders::OrderLine;
use events::{Address, Event, OrderEvent, OrderId, Sku, StreamId};
use explore::{Explored, every_interleaving, settle, wander};
use proptest::prelude::*;
use provider::Behaviour;
use transitions::{Faults, Wish};
use uuid::Uuid;
use world::World;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const EVERY_WISH: [Wish; 3] = [Wish::Cancel(ORDER), Wish::Dispatch(ORDER), Wish::Deliver(ORDER)];
const EVERY_BEHAVIOUR: [Behaviour; 3] = [Behaviour::Approve, Behaviour::Decline, Behaviour::CaptureAtOnce];
const NO_FAULTS: Faults = Faults { lost: 0, unavailable: 0, crashes: 0, rewinds: 0, hints: 0 };

fn sku(number: u32) -> Sku {
    format!("SKU-{number}").parse().expect("a SKU")
}

fn place(world: &mut World, order_id: OrderId, lines: &[(u32, i64)], unit_price_minor: i64) {
    let line = |(number, pieces): &(u32, i64)| OrderLine {
        sku: sku(*number),
        quantity: (*pieces).try_into().expect("1 or more pieces"),
        unit_price_minor,
    };
    let command = OrderCommand::PlaceOrder {
        order_id,
        customer_id: "ada".parse().expect("a customer"),
        currency: "GBP".parse().expect("a currency"),
        lines: lines.iter().map(line).collect(),
        shipping_address: Address::Text("12 Dock Street".into()),
        placed_at: chrono::DateTime::UNIX_EPOCH,
    };
    world.execute(&command.into());
}

/// One order of one piece at 5.00, of which there are two.
fn one_order(behaviour: Behaviour, wishes: &[Wish], faults: Faults) -> World {
    let mut world = World::new(behaviour);
    world.receive(&sku(1), 2);
    world.wishes = wishes.to_vec();
    world.faults = faults;
    place(&mut world, ORDER, &[(1, 1)], 500);
    world
}

fn ends_of(explored: &Explored) -> BTreeSet<&'static str> {
    let ends = explored.ends.iter().map(|world| world.status(ORDER).name());
    ends.collect()
}

fn types(world: &World, stream: &StreamId) -> Vec<&'static str> {
    world.history(stream).map(Event::event_type).collect()
}

#[test]
fn an_order_that_nothing_happens_to_is_delivered() {
    let world = one_order(Behaviour::Approve, &[], NO_FAULTS);
    let mut prepared = settle(world);
    assert_eq!(
        types(&prepared, &events::payments::stream(ORDER)),
        ["PaymentRequested", "PaymentAuthorised"],
        "money is held, not taken, until the goods leave"
    );
    prepared.grant(Wish::Dispatch(ORDER));
    prepared.grant(Wish::Deliver(ORDER));
    let world = settle(prepared);
    let told = ["OrderPlaced", "OrderConfirmed", "OrderShipped", "OrderDelivered"];
    assert_eq!(types(&world, &events::orders::stream(ORDER)), told);
    assert_eq!(
        types(&world, &events::inventory::reservation_stream(ORDER)),
        ["ReservationMade", "ReservationCommitted"]
    );
    let paid = ["PaymentRequested", "PaymentAuthorised", "PaymentCaptureRequested", "PaymentCaptured"];
    assert_eq!(types(&world, &events::payments::stream(ORDER)), paid);
    assert_eq!(world.stock[&sku(1)].shipped(), 1);
}

#[test]
fn an_order_for_more_than_there_is_is_rejected_and_never_charged() {
    let mut world = World::new(Behaviour::Approve);
    world.receive(&sku(1), 5);
    place(&mut world, ORDER, &[(1, 1), (2, 1), (1, 5)], 500);
    let world = settle(world);
    assert_eq!(types(&world, &events::orders::stream(ORDER)), ["OrderPlaced", "OrderRejected"]);
    assert_eq!(world.stock[&sku(1)].available(), 5);
    assert!(world.provider.ledger.is_empty());
    let refused = world.history(&events::inventory::reservation_stream(ORDER)).next().cloned();
    let Some(Event::Reservation(events::ReservationEvent::ReservationRefused(refused))) = refused else {
        panic!("{refused:?}")
    };
    let lacking: Vec<_> = refused.shortages.iter().map(|lack| (lack.sku.as_str(), lack.wanted)).collect();
    assert_eq!(lacking, [("SKU-1", 6), ("SKU-2", 1)], "all of them are named, lines of one SKU summed");
}

#[test]
fn a_declined_order_is_rejected_with_the_providers_reason() {
    let world = settle(one_order(Behaviour::Decline, &[], NO_FAULTS));
    let last = world.history(&events::orders::stream(ORDER)).last().cloned();
    let Some(Event::Order(OrderEvent::OrderRejected(rejected))) = last else { panic!("{last:?}") };
    assert_eq!(rejected.reason.code(), "payment_declined");
    assert_eq!(
        types(&world, &events::inventory::reservation_stream(ORDER)),
        ["ReservationMade", "ReservationReleased"]
    );
}

#[test]
fn without_faults_and_wishes_an_order_is_confirmed_or_times_out_in_every_interleaving() {
    let explored = every_interleaving(one_order(Behaviour::Approve, &[], NO_FAULTS));
    assert_eq!(ends_of(&explored), BTreeSet::from(["confirmed", "rejected"]));
}

#[test]
fn a_cancellation_at_any_moment_leaves_one_end_in_every_interleaving() {
    for behaviour in EVERY_BEHAVIOUR {
        let explored = every_interleaving(one_order(behaviour, &[Wish::Cancel(ORDER)], NO_FAULTS));
        assert_eq!(ends_of(&explored), BTreeSet::from(["cancelled", "rejected"]), "{behaviour:?}");
    }
}

#[test]
fn a_cancellation_against_a_dispatch_leaves_one_end_in_every_interleaving() {
    for behaviour in [Behaviour::Approve, Behaviour::CaptureAtOnce] {
        let explored = every_interleaving(one_order(behaviour, &EVERY_WISH, NO_FAULTS));
        assert_eq!(ends_of(&explored), BTreeSet::from(["cancelled", "delivered", "rejected"]));
        let refused = |world: &&World| {
            types(world, &events::orders::stream(ORDER)).contains(&"OrderCancellationRefused")
        };
        let too_late: Vec<&World> = explored.ends.iter().filter(refused).collect();
        assert!(!too_late.is_empty(), "in some interleaving the goods leave before the cancellation");
        assert!(too_late.iter().all(|world| world.status(ORDER).name() == "delivered"));
    }
}

/// The same again with everything that can go wrong between us and the provider, with a second cancellation, and with
/// webhooks, true or not, at any moment. The invariants hold after every transition; here it is said what the ends are.
#[test]
fn a_cancellation_against_a_dispatch_leaves_one_end_whatever_goes_wrong_meanwhile() {
    let mishaps = [
        Faults { lost: 1, ..NO_FAULTS },
        Faults { unavailable: 1, ..NO_FAULTS },
        Faults { crashes: 1, ..NO_FAULTS },
        Faults { rewinds: 1, ..NO_FAULTS },
        Faults { hints: 2, ..NO_FAULTS },
        Faults { lost: 1, hints: 1, ..NO_FAULTS },
    ];
    for behaviour in EVERY_BEHAVIOUR {
        for faults in mishaps {
            let explored = every_interleaving(one_order(behaviour, &EVERY_WISH, faults));
            let expected = match behaviour {
                Behaviour::Decline => BTreeSet::from(["cancelled", "rejected"]),
                Behaviour::Approve | Behaviour::CaptureAtOnce => {
                    BTreeSet::from(["cancelled", "delivered", "rejected"])
                }
            };
            assert_eq!(ends_of(&explored), expected, "{behaviour:?} {faults:?}");
            for end in &explored.ends {
                money_and_stock_agree(end);
            }
        }
        let twice = [Wish::Cancel(ORDER), Wish::Cancel(ORDER), Wish::Dispatch(ORDER), Wish::Deliver(ORDER)];
        for end in every_interleaving(one_order(behaviour, &twice, NO_FAULTS)).ends {
            money_and_stock_agree(&end);
        }
    }
}

#[track_caller]
fn money_and_stock_agree(end: &World) {
    let item = &end.stock[&sku(1)];
    let (available, reserved, shipped, owed) = match end.status(ORDER).name() {
        "delivered" => (1, 0, 1, 500),
        "cancelled" | "rejected" => (2, 0, 0, 0),
        other => panic!("{other} is no end\n{}", end.trail()),
    };
    assert_eq!(
        (item.available(), item.reserved(), item.shipped()),
        (available, reserved, shipped),
        "{}",
        end.trail()
    );
    assert_eq!(end.provider.owns(ORDER), owed, "{}", end.trail());
}

#[test]
fn money_that_was_taken_at_once_goes_back_when_the_order_is_cancelled() {
    let explored = every_interleaving(one_order(Behaviour::CaptureAtOnce, &[Wish::Cancel(ORDER)], NO_FAULTS));
    let refunded =
        |world: &&World| types(world, &events::payments::stream(ORDER)).contains(&"PaymentRefunded");
    assert!(explored.ends.iter().filter(refunded).count() > 0);
}

#[test]
fn a_gift_is_never_charged_in_any_interleaving() {
    let mut gift = World::new(Behaviour::Approve);
    gift.receive(&sku(1), 1);
    gift.wishes = EVERY_WISH.to_vec();
    place(&mut gift, ORDER, &[(1, 1)], 0);
    let explored = every_interleaving(gift);
    assert_eq!(ends_of(&explored), BTreeSet::from(["cancelled", "delivered"]));
    assert!(explored.ends.iter().all(|world| world.provider.ledger.is_empty()));
}

#[test]
fn an_answer_that_is_lost_is_asked_for_and_never_charged_again_in_any_interleaving() {
    for behaviour in EVERY_BEHAVIOUR {
        let explored = every_interleaving(one_order(behaviour, &EVERY_WISH, Faults { lost: 1, ..NO_FAULTS }));
        let resolved = |world: &&World| {
            let types = types(world, &events::payments::stream(ORDER));
            let resolved = ["PaymentAuthorised", "PaymentDeclined"];
            types.starts_with(&["PaymentRequested", "PaymentUnknown"]) && resolved.contains(&types[2])
        };
        assert!(explored.ends.iter().filter(resolved).count() > 0, "{behaviour:?}");
    }
}

#[test]
fn lost_answers_refused_calls_and_crashes_together_leave_one_end_in_every_interleaving() {
    let faults = Faults { lost: 1, unavailable: 1, crashes: 1, rewinds: 0, hints: 0 };
    for behaviour in EVERY_BEHAVIOUR {
        let explored = every_interleaving(one_order(behaviour, &[Wish::Cancel(ORDER)], faults));
        assert!(explored.states > 1_000, "{behaviour:?}: {} states", explored.states);
    }
}

#[test]
fn every_event_twice_and_every_stream_again_from_its_start_change_nothing_in_any_interleaving() {
    for behaviour in EVERY_BEHAVIOUR {
        let mut world = one_order(behaviour, &EVERY_WISH, Faults { rewinds: 1, ..NO_FAULTS });
        let once = every_interleaving(world.clone());
        world.twice = true;
        let twice = every_interleaving(world);
        assert_eq!(once.states, twice.states, "{behaviour:?}");
        assert_eq!(ends_of(&once), ends_of(&twice));
    }
}

#[test]
fn the_last_piece_goes_to_one_of_two_orders_in_every_interleaving() {
    let other = OrderId(Uuid::from_u128(2));
    let mut world = World::new(Behaviour::CaptureAtOnce);
    world.receive(&sku(1), 1);
    place(&mut world, ORDER, &[(1, 1)], 500);
    place(&mut world, other, &[(1, 1)], 500);
    for end in every_interleaving(world).ends {
        let mut both = [end.status(ORDER).name(), end.status(other).name()];
        both.sort_unstable();
        let confirmed = both.iter().filter(|name| **name == "confirmed").count();
        assert!(confirmed <= 1, "both are confirmed");
    }
}

fn some_behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![Just(Behaviour::Approve), Just(Behaviour::Decline), Just(Behaviour::CaptureAtOnce)]
}

prop_compose! {
    fn some_faults()(
        lost in 0..4_u8, unavailable in 0..4_u8, crashes in 0..3_u8, rewinds in 0..6_u8, hints in 0..6_u8,
    ) -> Faults {
        Faults { lost, unavailable, crashes, rewinds, hints }
    }
}

/// For each order: how many pieces of two SKUs, at what price.
type Basket = (i64, i64, i64);

fn several_orders(behaviour: Behaviour, faults: Faults, twice: bool, baskets: &[Basket]) -> World {
    let mut world = World::new(behaviour);
    world.receive(&sku(1), 6);
    world.receive(&sku(2), 6);
    world.faults = faults;
    world.twice = twice;
    for (number, (first, second, price)) in (1..).zip(baskets) {
        let order_id = OrderId(Uuid::from_u128(number));
        place(&mut world, order_id, &[(1, *first), (2, *second), (1, 1)], *price);
        world.wishes.extend([Wish::Cancel(order_id), Wish::Dispatch(order_id), Wish::Deliver(order_id)]);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The invariants are checked after every transition, and at rest in the end.
    #[test]
    fn several_orders_shuffled_doubled_and_disturbed_each_have_one_end(
        behaviour in some_behaviour(),
        faults in some_faults(),
        twice in any::<bool>(),
        baskets in prop::collection::vec((1..3_i64, 1..3_i64, 0..3_i64), 1..5),
        choices in prop::collection::vec(any::<u16>(), 0..400),
    ) {
        let world = wander(several_orders(behaviour, faults, twice, &baskets), &choices);
        prop_assert_eq!(world.orders.len(), baskets.len());
    }
}
