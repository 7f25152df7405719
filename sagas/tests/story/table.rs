//! The table says what the reactions do, no more and no less; and each rule that a table is checked for is seen to fail.

use std::collections::BTreeSet;

use events::Context;
use events::processes::order_fulfilment::{EXPIRE, TABLE};
use events::processes::{Holds, ProcessTable, Reaction, Step, Trigger, WhyFinal, on, step};
use sagas::{TableError, check, sources_of};

use crate::explore::every_interleaving;
use crate::provider::Behaviour;
use crate::transitions::Faults;
use crate::world::World;
use crate::{EVERY_BEHAVIOUR, EVERY_WISH, NO_FAULTS, one_order, place, sku};

#[test]
fn every_table_keeps_the_rules() {
    for process in sagas::PROCESSES {
        assert_eq!(check(process.table), Ok(()), "{}", process.table.name);
    }
}

#[test]
fn the_table_says_what_happens_no_more_and_no_less() {
    let mut happened = BTreeSet::new();
    let mut explore = |world: World| {
        let seen = world.seen();
        every_interleaving(world);
        happened.extend(seen.take());
    };
    for behaviour in EVERY_BEHAVIOUR {
        explore(one_order(behaviour, &EVERY_WISH, Faults { lost: 1, ..NO_FAULTS }));
    }
    for price in [0, 500] {
        let mut scarce = World::new(Behaviour::Approve);
        scarce.receive(&sku(1), i64::from(price == 0) + 1);
        scarce.wishes = EVERY_WISH.to_vec();
        place(&mut scarce, crate::ORDER, &[(1, 2)], price);
        explore(scarce);
    }
    let row = |reaction: &Reaction| {
        let Reaction { trigger, context, command, gives, .. } = *reaction;
        gives.iter().map(move |event| (trigger, context, command, *event))
    };
    let written: BTreeSet<_> = TABLE.reactions.iter().flat_map(row).collect();
    let unwritten: Vec<_> = happened.difference(&written).collect();
    assert!(unwritten.is_empty(), "happens, and is not in the table: {unwritten:#?}");
    let idle: Vec<_> = written.difference(&happened).collect();
    assert!(idle.is_empty(), "is in the table, and never happens: {idle:#?}");
}

#[test]
fn a_reactor_reads_the_topics_of_its_triggers() {
    use Context::{Inventory, Orders, Payments, Shipping};
    let sources = |context| sources_of(context).into_iter().collect::<Vec<_>>();
    assert_eq!(sources(Orders), [Inventory, Payments, Shipping]);
    assert_eq!(sources(Inventory), [Orders, Payments, Shipping]);
    assert_eq!(sources(Payments), [Orders, Inventory, Shipping]);
    assert_eq!(sources(Shipping), [Orders]);
}

#[test]
fn a_context_without_reactions_reads_nothing() {
    static ALONE: &[Reaction] = &[on(Trigger::Event("OrderPlaced"), Context::Orders, "RejectOrder", &[])];
    let table = ProcessTable { steps: &[], reactions: ALONE, ..TABLE };
    assert_eq!(table.contexts(), BTreeSet::from([Context::Orders]));
    assert_eq!(table.sources_of(Context::Shipping), BTreeSet::new());
}

/// The table with the steps of this name changed.
fn with_step(name: &str, change: impl Fn(Step) -> Step) -> ProcessTable {
    let changed = TABLE.steps.iter().map(|step| if step.name == name { change(*step) } else { *step });
    ProcessTable { steps: changed.collect::<Vec<_>>().leak(), ..TABLE }
}

/// The table with the reactions to this trigger changed, or left out.
fn with(trigger: Trigger, change: impl Fn(Reaction) -> Option<Reaction>) -> ProcessTable {
    let changed = |reaction: &Reaction| {
        if reaction.trigger == trigger { change(*reaction) } else { Some(*reaction) }
    };
    let reactions = TABLE.reactions.iter().filter_map(changed).collect::<Vec<_>>();
    ProcessTable { reactions: reactions.leak(), ..TABLE }
}

fn with_final(event: &'static str, why: WhyFinal) -> ProcessTable {
    let final_events = TABLE.final_events.iter().copied().chain([(event, why)]).collect::<Vec<_>>();
    ProcessTable { final_events: final_events.leak(), ..TABLE }
}

fn broken(table: &ProcessTable) -> TableError {
    check(table).expect_err("the table breaks a rule")
}

#[test]
fn an_event_that_no_reaction_consumes_is_found() {
    let table = with(Trigger::Event("PaymentRefundRequested"), |_| None);
    let (context, event) = (Context::Payments, "PaymentRefundRequested");
    assert_eq!(broken(&table), TableError::NotConsumed { context, event });
}

#[test]
fn an_event_that_is_consumed_and_said_to_be_final_is_found() {
    let table = with_final("OrderPlaced", WhyFinal::End);
    assert_eq!(broken(&table), TableError::ConsumedAndFinal { event: "OrderPlaced" });
}

#[test]
fn an_event_that_no_context_writes_is_found() {
    let table =
        with(Trigger::Event("ShipmentDelivered"), |row| Some(Reaction { gives: &["OrderArrived"], ..row }));
    assert_eq!(broken(&table), TableError::UnknownEvent { place: "DeliverOrder", event: "OrderArrived" });
}

#[test]
fn a_reaction_or_a_step_with_an_event_of_another_context_is_found() {
    let (context, event) = (Context::Shipping, "OrderConfirmed");
    let table = with(Trigger::Event("PaymentAuthorised"), |row| Some(Reaction { context, ..row }));
    let place = "ConfirmOrder";
    assert_eq!(broken(&table), TableError::ForeignEvent { place, context, event });
    let table = with_step("confirm_order", |step| Step { context, ..step });
    let place = "confirm_order";
    assert_eq!(broken(&table), TableError::ForeignEvent { place, context, event });
}

#[test]
fn a_process_need_not_name_the_events_of_contexts_that_take_no_part() {
    let gives = &["OrderRejected"];
    let table = ProcessTable {
        name: "rejection",
        steps: vec![step("reject_order", Context::Orders, events::processes::StepOrder::IfNeeded, gives)]
            .leak(),
        reactions: vec![on(Trigger::Event("ReservationRefused"), Context::Orders, "RejectOrder", gives)]
            .leak(),
        final_events: &[
            ("OrderPlaced", WhyFinal::Unrelated),
            ("OrderConfirmed", WhyFinal::Unrelated),
            ("OrderRejected", WhyFinal::End),
            ("OrderCancellationRequested", WhyFinal::Unrelated),
            ("OrderCancellationRefused", WhyFinal::Unrelated),
            ("OrderCancelled", WhyFinal::Unrelated),
            ("OrderShipped", WhyFinal::Unrelated),
            ("OrderDelivered", WhyFinal::Unrelated),
        ],
        entry_events: &[],
    };
    assert_eq!(check(&table), Ok(()));
    let foreign: Vec<_> =
        table.final_events.iter().copied().chain([("PaymentVoided", WhyFinal::End)]).collect();
    let table = ProcessTable { final_events: foreign.leak(), ..table };
    let (context, event) = (Context::Payments, "PaymentVoided");
    assert_eq!(broken(&table), TableError::ForeignFinalEvent { context, event });
}

#[test]
fn a_trigger_that_never_comes_is_found() {
    let entries = TABLE.entry_events.iter().copied().filter(|event| *event != "ShipmentDelivered");
    let table = ProcessTable { entry_events: entries.collect::<Vec<_>>().leak(), ..TABLE };
    let (context, event) = (Context::Orders, "ShipmentDelivered");
    assert_eq!(broken(&table), TableError::Unreachable { context, event });
}

#[test]
fn a_step_that_nothing_takes_is_found() {
    let table = with(Trigger::Event("OrderConfirmed"), |row| Some(Reaction { gives: &[], ..row }));
    assert_eq!(broken(&table), TableError::NeverTaken { step: "prepare_shipment" });
}

#[test]
fn a_step_of_a_person_without_an_entry_is_found() {
    let table = with_step("ship_order", |step| step.taken_by(events::processes::TakenBy::Staff));
    assert_eq!(broken(&table), TableError::NoEntry { step: "ship_order" });
}

#[test]
fn two_steps_of_one_name_and_two_reactions_to_one_event_are_found() {
    let table = with_step("deliver", |step| Step { name: "dispatch", ..step });
    assert_eq!(broken(&table), TableError::SameName { step: "dispatch" });
    let twice = TABLE.reactions.iter().chain(&TABLE.reactions[..1]).copied().collect::<Vec<_>>();
    let table = ProcessTable { reactions: twice.leak(), ..TABLE };
    let (context, trigger) = (Context::Inventory, Trigger::Event("OrderPlaced"));
    assert_eq!(broken(&table), TableError::SameReaction { context, trigger });
}

#[test]
fn stock_or_money_that_no_step_gives_back_is_found() {
    let table = with_step("reserve_stock", |step| step.holds(Holds::Stock, &[]));
    assert_eq!(broken(&table), TableError::NotUndone { step: "reserve_stock" });
    for compensation in ["hope", "release_reservation", "capture_payment"] {
        let undone_by = vec![compensation].leak();
        let table = with_step("authorise_payment", |step| step.holds(Holds::Money, undone_by));
        let step = "authorise_payment";
        assert_eq!(broken(&table), TableError::NoSuchCompensation { step, compensation });
    }
}

#[test]
fn a_deadline_that_no_reaction_acts_on_or_sets_is_found() {
    let table = with(Trigger::Deadline(EXPIRE), |_| None);
    let (context, event) = (Context::Inventory, "PaymentExpired");
    assert_eq!(broken(&table), TableError::Unreachable { context, event });
    let made = Trigger::Event("ReservationMade");
    let table = with(made, |row| Some(row.sets_deadline("never")));
    let (place, deadline) = ("RequestPayment", "never");
    assert_eq!(broken(&table), TableError::UnheardDeadline { place, deadline });
    let table = with_step("authorise_payment", |step| step.given_up_at("never"));
    let place = "authorise_payment";
    assert_eq!(broken(&table), TableError::UnheardDeadline { place, deadline });
    let table = with(made, |row| Some(Reaction { sets_deadline: None, ..row }));
    assert_eq!(broken(&table), TableError::DeadlineNeverSet { deadline: EXPIRE });
}

#[test]
fn an_event_that_is_not_appended_with_its_carrier_is_found() {
    let (event, carrier) = ("StockAdjusted", "ReservationMade");
    let others = TABLE.final_events.iter().copied().filter(|(name, _)| *name != event);
    let final_events: Vec<_> = others.chain([(event, WhyFinal::AppendedWith(carrier))]).collect();
    let table = ProcessTable { final_events: final_events.leak(), ..TABLE };
    assert_eq!(broken(&table), TableError::NotAppendedWith { event, carrier });
}

#[test]
fn a_circle_without_a_way_out_is_found() {
    let event = "PaymentRefundRequested";
    let table =
        with(Trigger::Event(event), |row| Some(Reaction { gives: &["PaymentRefundRequested"], ..row }));
    let reactions = table.reactions.iter().copied();
    let reactions = reactions.filter(|row| row.trigger != Trigger::Event("PaymentRefunded"));
    let table = ProcessTable {
        reactions: reactions.collect::<Vec<_>>().leak(),
        ..with_final("PaymentRefunded", WhyFinal::End)
    };
    assert_eq!(broken(&table), TableError::NoExit { event });
}
