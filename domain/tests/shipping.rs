//! The rules of a shipment in sentences. Cancellation and dispatch meet here: the first one wins.

mod support;

use domain::{Shipment, ShipmentCommand, ShipmentRefusal};
use events::orders::OrderDelivered;
use events::shipping::{ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPrepared};
use events::{OrderEvent, ShipmentEvent};
use support::{Given, ID, address, after, item};

fn given(history: impl IntoIterator<Item = ShipmentEvent>) -> Given<Shipment> {
    support::given(history)
}

#[test]
fn a_shipment_is_prepared_with_what_goes_where() {
    given([]).when(prepare()).then([prepared()]);
}

#[test]
fn a_shipment_is_prepared_once() {
    for history in [vec![prepared()], to_dispatched(), to_delivered(), to_cancelled()] {
        given(history).when(prepare()).then_nothing();
    }
}

#[test]
fn a_prepared_shipment_can_leave() {
    given([prepared()]).when(dispatch()).then([dispatched()]);
}

#[test]
fn a_shipment_leaves_once_and_not_after_it_was_cancelled() {
    for (history, state) in
        [(to_dispatched(), "dispatched"), (to_delivered(), "delivered"), (to_cancelled(), "cancelled")]
    {
        given(history).when(dispatch()).then_refused(wrong_state(state, "prepared"));
    }
}

#[test]
fn a_shipment_that_left_can_arrive() {
    given(to_dispatched()).when(deliver()).then([delivered()]);
}

#[test]
fn a_shipment_that_was_not_dispatched_cannot_arrive() {
    for (history, state) in
        [(vec![prepared()], "prepared"), (to_delivered(), "delivered"), (to_cancelled(), "cancelled")]
    {
        given(history).when(deliver()).then_refused(wrong_state(state, "dispatched"));
    }
}

#[test]
fn a_prepared_shipment_can_be_cancelled() {
    given([prepared()]).when(cancel()).then([cancelled()]);
}

#[test]
fn a_cancellation_after_the_dispatch_changes_nothing() {
    for history in [to_dispatched(), to_delivered()] {
        given(history).when(cancel()).then_nothing();
    }
}

#[test]
fn a_shipment_that_is_cancelled_again_changes_nothing() {
    given(to_cancelled()).when(cancel()).then_nothing();
}

#[test]
fn a_shipment_that_was_never_prepared_cannot_leave_arrive_or_be_cancelled() {
    for command in [dispatch(), deliver(), cancel()] {
        given([]).when(command).then_refused(ShipmentRefusal::NotFound { shipment_id: ID });
    }
}

#[test]
fn a_shipment_names_its_state() {
    for (history, name) in [
        (vec![], "absent"),
        (vec![prepared()], "prepared"),
        (to_dispatched(), "dispatched"),
        (to_delivered(), "delivered"),
        (to_cancelled(), "cancelled"),
    ] {
        assert_eq!(after(Shipment::default(), &history).state(), name);
    }
}

#[test]
fn a_shipment_knows_its_own_events_from_those_of_others() {
    assert_eq!(ShipmentEvent::try_from(events::Event::from(delivered())).ok(), Some(delivered()));
    let delivered_order = OrderEvent::from(OrderDelivered { order_id: ID });
    assert_eq!(ShipmentEvent::try_from(events::Event::from(delivered_order)).ok(), None);
}

#[test]
fn a_refusal_names_the_shipments_state_and_the_allowed_ones() {
    assert_eq!(
        wrong_state("cancelled", "prepared").to_string(),
        format!("shipment {ID} is cancelled; allowed in prepared")
    );
    assert_eq!(
        ShipmentRefusal::NotFound { shipment_id: ID }.to_string(),
        format!("shipment {ID} does not exist (an order is prepared for shipping once it is confirmed)")
    );
}

// ---- the words of the sentences ----

fn prepare() -> ShipmentCommand {
    ShipmentCommand::PrepareShipment {
        shipment_id: ID,
        items: vec![item("cup", 6)],
        shipping_address: address(),
    }
}

fn dispatch() -> ShipmentCommand {
    ShipmentCommand::DispatchShipment {
        shipment_id: ID,
        carrier: "owl".to_owned(),
        tracking: "T-1".to_owned(),
    }
}

fn deliver() -> ShipmentCommand {
    ShipmentCommand::DeliverShipment { shipment_id: ID }
}

fn cancel() -> ShipmentCommand {
    ShipmentCommand::CancelShipment { shipment_id: ID }
}

fn prepared() -> ShipmentEvent {
    ShipmentPrepared { order_id: ID, items: vec![item("cup", 6)], shipping_address: address() }.into()
}

fn dispatched() -> ShipmentEvent {
    ShipmentDispatched { order_id: ID, carrier: "owl".to_owned(), tracking: "T-1".to_owned() }.into()
}

fn delivered() -> ShipmentEvent {
    ShipmentDelivered { order_id: ID }.into()
}

fn cancelled() -> ShipmentEvent {
    ShipmentCancelled { order_id: ID }.into()
}

fn to_dispatched() -> Vec<ShipmentEvent> {
    vec![prepared(), dispatched()]
}

fn to_delivered() -> Vec<ShipmentEvent> {
    vec![prepared(), dispatched(), delivered()]
}

fn to_cancelled() -> Vec<ShipmentEvent> {
    vec![prepared(), cancelled()]
}

fn wrong_state(state: &'static str, allowed: &'static str) -> ShipmentRefusal {
    ShipmentRefusal::WrongState { shipment_id: ID, state, allowed }
}
