//! The status of an order's process after each event, and the row that shows it.

use events::{Envelope, Event};
use projections::fold;
use proptest::prelude::*;
use query_side::process_status::{Cause, Outcome, ProcessStatus, Stage, Step};
use query_side::processes::{Processes, Row};

use crate::given::Happening::*;
use crate::given::{HAPPY, Happening, Logs, STORIES, order_id};

fn folded<'a>(events: impl IntoIterator<Item = &'a Envelope>) -> Row {
    events.into_iter().fold(None, fold::<Processes>).expect("a row")
}

fn after(steps: &[Happening]) -> Row {
    folded(&Logs::default().story(order_id(1), steps))
}

fn status_after(steps: &[Happening]) -> ProcessStatus {
    after(steps).facts().status()
}

/// The name that the API shows.
fn waiting_for(status: &ProcessStatus) -> Option<&'static str> {
    status.waiting_for.map(Step::name)
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.name()).collect()
}

#[test]
fn the_happy_story_waits_for_each_step_in_turn() {
    use Stage::*;
    let expected = [
        (Running, "reserve_stock"),
        (Running, "request_payment"),
        (Running, "authorise_payment"),
        (Running, "confirm_order"),
        (Running, "prepare_shipment"),
        (Waiting, "dispatch"),
        (Running, "ship_order"),
        (Running, "commit_reservation"),
        (Running, "capture_payment"),
        (Running, "capture_payment"),
        (Waiting, "deliver"),
        (Running, "complete_order"),
    ];
    for (index, (stage, step)) in expected.into_iter().enumerate() {
        let status = status_after(&HAPPY[..=index]);
        assert_eq!((status.stage, waiting_for(&status)), (stage, Some(step)), "{:?}", &HAPPY[..=index]);
    }
}

#[test]
fn every_story_is_done_at_its_end_and_not_before() {
    for (name, steps) in STORIES {
        let last = status_after(steps);
        assert_eq!((last.stage, last.waiting_for, last.to_come), (Stage::Done, None, vec![]), "{name}");
        assert!(last.outcome.is_some(), "{name}");
        let before = status_after(&steps[..steps.len() - 1]);
        assert_ne!(before.stage, Stage::Done, "{name}");
    }
}

#[test]
fn what_is_still_to_come_shrinks_step_by_step() {
    let status = status_after(&[Placed, Reserved, Requested, Authorised, Confirmed]);
    let to_come =
        ["dispatch", "ship_order", "commit_reservation", "capture_payment", "deliver", "complete_order"];
    assert_eq!((waiting_for(&status), names(&status.to_come)), (Some("prepare_shipment"), to_come.to_vec()));
}

#[test]
fn a_cancelled_order_shows_what_is_undone_and_what_is_not_yet() {
    let steps = [Placed, Reserved, Requested, CancellationRequested, VoidRequested];
    let status = status_after(&steps);
    assert_eq!((status.stage, waiting_for(&status)), (Stage::Compensating, Some("undo_payment")));
    let compensation = status.compensation.as_ref().expect("it is being undone");
    assert_eq!(compensation.cause, Cause::OrderCancelled);
    assert_eq!(names(&compensation.still_to_undo), ["undo_payment", "release_reservation", "cancel_order"]);
    let status = status_after(&[&steps[..], &[Voided, Released]].concat());
    let compensation = status.compensation.as_ref().expect("it is being undone");
    assert_eq!(names(&compensation.undone), ["undo_payment", "release_reservation"]);
    assert_eq!(waiting_for(&status), Some("cancel_order"));
}

#[test]
fn a_confirmed_order_that_is_cancelled_asks_the_warehouse_first() {
    let steps = [Placed, Reserved, Waived, Confirmed, Prepared, CancellationRequestedAfterConfirmation];
    assert_eq!(waiting_for(&status_after(&steps)), Some("cancel_shipment"));
}

#[test]
fn a_cancellation_that_comes_after_the_dispatch_lets_the_story_go_on() {
    let steps =
        [Placed, Reserved, Waived, Confirmed, Prepared, Dispatched, CancellationRequestedAfterConfirmation];
    let status = status_after(&steps);
    assert_eq!((status.stage, waiting_for(&status)), (Stage::Running, Some("ship_order")));
}

#[test]
fn a_payment_taken_at_once_is_not_waited_for_after_the_dispatch() {
    let steps = [Placed, Reserved, Requested, Authorised, Captured, Confirmed, Prepared];
    assert_eq!(waiting_for(&status_after(&steps)), Some("dispatch"));
    let steps = [&steps[..], &[Dispatched, Shipped, Committed]].concat();
    assert_eq!(waiting_for(&status_after(&steps)), Some("deliver"));
}

#[test]
fn a_payment_that_waits_for_the_provider_shows_its_deadline() {
    let row = after(&[Placed, Reserved, Requested, Unknown]);
    assert_eq!(row.waiting_for.as_deref(), Some("authorise_payment"));
    assert_eq!(row.payment_deadline, Some(crate::given::at(900)));
}

#[test]
fn an_expired_payment_is_voided_also_after_the_order_was_rejected() {
    let steps = [Placed, Reserved, Requested, Expired, VoidRequested, Released, Rejected];
    let status = status_after(&steps);
    assert_eq!((status.stage, status.outcome), (Stage::Compensating, Some(Outcome::Rejected)));
    assert_eq!(waiting_for(&status), Some("undo_payment"));
}

#[test]
fn every_event_of_an_order_belongs_to_a_step_of_its_own_context() {
    for (context, event_type, _) in Event::catalogue() {
        let is_stock = event_type.starts_with("Stock") || event_type == "SkuRegistered";
        let step = Step::of_event(event_type);
        assert_eq!(step.is_none(), is_stock, "{event_type}");
        if let Some(step) = step {
            assert_eq!(step.context(), context, "{event_type}");
        }
    }
}

/// The events of a story, the contexts interleaved as `choices` say, each stream in its own order.
fn interleaved<'a>(events: &'a [Envelope], choices: &[u8]) -> Vec<&'a Envelope> {
    let mut queues: Vec<std::collections::VecDeque<&Envelope>> = events::Context::ALL
        .iter()
        .map(|context| events.iter().filter(|event| event.context == *context).collect())
        .collect();
    let mut choices = choices.iter().cycle();
    let mut result = Vec::new();
    while result.len() < events.len() {
        let choice = usize::from(*choices.next().expect("a cycle has no end"));
        let filled: Vec<_> = queues.iter_mut().filter(|queue| !queue.is_empty()).collect();
        let index = choice % filled.len();
        result.extend(filled.into_iter().nth(index).and_then(std::collections::VecDeque::pop_front));
    }
    result
}

proptest! {
    #[test]
    fn any_interleaving_of_the_topics_gives_the_same_row(
        story in 0..STORIES.len(),
        shown in 1_usize..14,
        choices in prop::collection::vec(any::<u8>(), 1..14),
    ) {
        let steps = STORIES[story].1;
        let events = Logs::default().story(order_id(1), &steps[..shown.min(steps.len())]);
        prop_assert_eq!(folded(interleaved(&events, &choices)), folded(&events));
    }
}
