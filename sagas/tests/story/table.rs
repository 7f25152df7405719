//! The table says what the reactions do, no more and no less; and each rule that it is held to is seen to fail.
//!
//! Never: a rule of its own. Read next: `sagas/src/order_fulfilment/mod.rs`.

use std::collections::BTreeSet;

use events::Context;
use sagas::order_fulfilment::{
    DOORS, EXPIRE, RESTS, Rest, STORY, Step, StoryError, Takes, Trigger, Wait, check, topics_of,
};

use crate::explore::every_interleaving;
use crate::provider::Behaviour;
use crate::transitions::Faults;
use crate::world::World;
use crate::{EVERY_BEHAVIOUR, EVERY_WISH, NO_FAULTS, one_order, place, sku};

#[test]
fn the_story_keeps_its_own_rules() {
    assert_eq!(check(STORY, RESTS, DOORS), Ok(()));
}

#[test]
fn the_table_tells_what_happens_no_more_and_no_less() {
    let mut happened = BTreeSet::new();
    let mut tell = |world: World| {
        let told = world.told();
        every_interleaving(world);
        happened.extend(told.take());
    };
    for behaviour in EVERY_BEHAVIOUR {
        tell(one_order(behaviour, &EVERY_WISH, Faults { lost: 1, ..NO_FAULTS }));
    }
    for price in [0, 500] {
        let mut scarce = World::new(Behaviour::Approve);
        scarce.receive(&sku(1), i64::from(price == 0) + 1);
        scarce.wishes = EVERY_WISH.to_vec();
        place(&mut scarce, crate::ORDER, &[(1, 2)], price);
        tell(scarce);
    }
    let row = |step: &Step| {
        step.gives.iter().map(|event| (step.trigger, step.context, step.command, *event)).collect::<Vec<_>>()
    };
    let written: BTreeSet<_> = STORY.iter().flat_map(row).collect();
    let untold: Vec<_> = happened.difference(&written).collect();
    assert!(untold.is_empty(), "happens, and is not in the table: {untold:#?}");
    let idle: Vec<_> = written.difference(&happened).collect();
    assert!(idle.is_empty(), "is in the table, and never happens: {idle:#?}");
}

#[test]
fn a_reactor_reads_the_topics_of_its_triggers() {
    use Context::{Inventory, Orders, Payments, Shipping};
    assert_eq!(topics_of(Orders, STORY), [Inventory, Payments, Shipping]);
    assert_eq!(topics_of(Inventory, STORY), [Orders, Payments, Shipping]);
    assert_eq!(topics_of(Payments, STORY), [Orders, Inventory, Shipping]);
    assert_eq!(topics_of(Shipping, STORY), [Orders]);
}

/// The story with the step of this name changed, or left out.
fn with(name: &str, change: impl Fn(Step) -> Option<Step>) -> Vec<Step> {
    let changed = |step: &Step| if step.name == name { change(*step) } else { Some(*step) };
    STORY.iter().filter_map(changed).collect()
}

fn broken(story: &[Step]) -> StoryError {
    check(story, RESTS, DOORS).expect_err("the story breaks a rule")
}

#[test]
fn an_event_that_nobody_hears_is_found() {
    let story = with("refund", |_| None);
    assert_eq!(broken(&story), StoryError::Unheard { event: "PaymentRefundRequested" });
}

#[test]
fn an_event_that_is_heard_and_said_to_rest_is_found() {
    let rests: Vec<(&str, Rest)> = RESTS.iter().copied().chain([("OrderPlaced", Rest::End)]).collect();
    let found = check(STORY, &rests, DOORS);
    assert_eq!(found, Err(StoryError::HeardAndResting { event: "OrderPlaced" }));
}

#[test]
fn a_misspelt_event_is_found() {
    let story = with("deliver", |step| Some(Step { gives: &["OrderArrived"], ..step }));
    assert_eq!(broken(&story), StoryError::UnknownEvent { place: "deliver", event: "OrderArrived" });
}

#[test]
fn a_step_that_writes_in_a_foreign_log_is_found() {
    let story = with("confirm", |step| Some(Step { context: Context::Shipping, ..step }));
    let event = "OrderConfirmed";
    assert_eq!(
        broken(&story),
        StoryError::ForeignEvent { step: "confirm", context: Context::Shipping, event }
    );
}

#[test]
fn a_trigger_that_never_comes_is_found() {
    let doors: Vec<&str> = DOORS.iter().copied().filter(|door| *door != "ShipmentDelivered").collect();
    let found = check(STORY, RESTS, &doors);
    assert_eq!(found, Err(StoryError::Unreachable { step: "deliver", event: "ShipmentDelivered" }));
}

#[test]
fn stock_or_money_that_nobody_gives_back_is_found() {
    let story = with("reserve stock", |step| Some(step.takes(Takes::Stock, &[])));
    assert_eq!(broken(&story), StoryError::NotUndone { step: "reserve stock" });
    let story = with("authorise", |step| Some(step.takes(Takes::Money, &["hope"])));
    let compensation = "hope";
    assert_eq!(broken(&story), StoryError::NoSuchCompensation { step: "authorise", compensation });
}

#[test]
fn a_deadline_that_nobody_acts_on_or_nobody_sets_is_found() {
    let story = with("give up waiting", |_| None);
    assert_eq!(broken(&story), StoryError::Unreachable { step: "release expired", event: "PaymentExpired" });
    let story = with("request payment", |step| Some(step.waits(Wait::Deadline("never"))));
    assert_eq!(broken(&story), StoryError::DeafDeadline { step: "request payment", deadline: "never" });
    let story = with("request payment", |step| Some(step.waits(Wait::Internal)));
    assert_eq!(broken(&story), StoryError::DeadlineNeverSet { step: "give up waiting", deadline: EXPIRE });
}

#[test]
fn a_circle_without_a_way_out_is_found() {
    let story = with("refund", |step| Some(Step { gives: &["PaymentRefundRequested"], ..step }));
    let story: Vec<Step> =
        story.into_iter().filter(|step| step.trigger != Trigger::Event("PaymentRefunded")).collect();
    let rests: Vec<(&str, Rest)> = RESTS.iter().copied().chain([("PaymentRefunded", Rest::End)]).collect();
    let story: Vec<Step> = story
        .into_iter()
        .map(|step| match step.takes {
            Takes::Stock => step.takes(Takes::Stock, &["release voided"]),
            Takes::Money | Takes::Nothing => step,
        })
        .collect();
    let found = check(&story, &rests, DOORS);
    assert_eq!(found, Err(StoryError::NoExit { event: "PaymentRefundRequested" }));
}
