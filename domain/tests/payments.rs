//! The rules of a payment in sentences, and the provider call of each state.

mod support;

use domain::Payment;
use domain::payments::{PaymentState::*, ProviderAnswer, ProviderCall};
use events::payments::{PaymentUnknown, PaymentWaived};
use events::{PaymentEvent, ShipmentEvent, shipping::ShipmentDelivered};
use support::payments::*;
use support::{Given, ID, ada, after, pounds};

fn given(history: impl IntoIterator<Item = PaymentEvent>) -> Given<Payment> {
    support::given(history)
}

// ---- requesting ----

#[test]
fn a_payment_is_requested_with_its_amount_and_its_deadline() {
    given([]).when(request(pounds(1800))).then([requested()]);
}

#[test]
fn an_amount_of_zero_is_waived_and_the_provider_is_never_called() {
    given([]).when(request(pounds(0))).then([PaymentWaived { order_id: ID }.into()]);
    assert_eq!(after(Payment::default(), &history(Waived)).next_provider_call(), None);
}

#[test]
fn a_payment_is_requested_once() {
    for state in every_state_but(&[Absent, Voided]) {
        given(history(state)).when(request(pounds(1800))).then_nothing();
    }
}

#[test]
fn a_payment_that_was_cancelled_before_it_was_requested_is_never_requested() {
    given([voided()]).when(request(pounds(1800))).then_nothing();
    assert_eq!(after(Payment::default(), &[voided()]).next_provider_call(), None);
}

// ---- the provider's answer to the request ----

#[test]
fn the_provider_may_hold_the_money() {
    for state in [Requested, Unknown] {
        given(history(state))
            .when(provider_says(ProviderAnswer::Authorised { reference: "ref-1".to_owned() }))
            .then([authorised()]);
    }
}

#[test]
fn the_provider_may_capture_the_money_at_once() {
    for state in [Requested, Unknown] {
        given(history(state))
            .when(provider_says(ProviderAnswer::AuthorisedAndCaptured { reference: "ref-1".to_owned() }))
            .then([authorised(), captured()]);
    }
}

#[test]
fn the_provider_may_decline() {
    for state in [Requested, Unknown] {
        given(history(state))
            .when(provider_says(ProviderAnswer::Declined { decline_code: "insufficient_funds".to_owned() }))
            .then([declined()]);
    }
}

#[test]
fn a_provider_that_does_not_answer_leaves_the_payment_unknown() {
    given(history(Requested))
        .when(provider_says(ProviderAnswer::NoAnswer))
        .then([PaymentUnknown { order_id: ID }.into()]);
}

#[test]
fn a_provider_that_still_does_not_answer_changes_nothing() {
    given(history(Unknown)).when(provider_says(ProviderAnswer::NoAnswer)).then_nothing();
}

// ---- the deadline ----

#[test]
fn a_payment_without_an_answer_expires_and_any_hold_is_voided() {
    for state in [Requested, Unknown] {
        given(history(state)).when(expire()).then([expired(), void_requested()]);
    }
}

#[test]
fn a_deadline_that_comes_after_the_answer_changes_nothing() {
    for state in every_state_but(&[Requested, Unknown]) {
        given(history(state)).when(expire()).then_nothing();
    }
}

#[test]
fn an_authorisation_after_the_deadline_changes_nothing_because_the_void_undoes_it() {
    let history = [requested(), expired(), void_requested()];
    given(history.clone())
        .when(provider_says(ProviderAnswer::Authorised { reference: "ref-1".to_owned() }))
        .then_nothing();
    let payment = after(Payment::default(), &history);
    assert_eq!(payment.next_provider_call(), Some(ProviderCall::Void { order_id: ID }));
}

// ---- capturing ----

#[test]
fn held_money_is_captured_when_the_goods_are_dispatched() {
    given(history(Authorised)).when(capture()).then([capture_requested()]);
    given(history(Capturing)).when(provider_says(ProviderAnswer::Captured)).then([captured()]);
}

#[test]
fn a_capture_of_captured_or_waived_money_changes_nothing() {
    for state in [Waived, Capturing, Captured] {
        given(history(state)).when(capture()).then_nothing();
    }
}

#[test]
fn money_that_is_not_held_cannot_be_captured() {
    for state in [Absent, Requested, Unknown, Declined, Voiding, Voided, Refunding, Refunded] {
        given(history(state)).when(capture()).then_refused(out_of_story(state, "a capture"));
    }
}

// ---- cancelling ----

#[test]
fn cancelling_before_anything_was_due_needs_no_provider() {
    for state in [Absent, Waived] {
        given(history(state)).when(cancel()).then([voided()]);
    }
}

#[test]
fn cancelling_money_that_is_or_may_be_held_voids_it() {
    for state in [Requested, Unknown, Authorised] {
        given(history(state)).when(cancel()).then([void_requested()]);
    }
    given(history(Voiding)).when(provider_says(ProviderAnswer::Voided)).then([voided()]);
}

#[test]
fn cancelling_captured_money_refunds_it() {
    given(history(Captured)).when(cancel()).then([refund_requested()]);
    given(history(Refunding)).when(provider_says(ProviderAnswer::Refunded)).then([refunded()]);
}

#[test]
fn money_to_void_that_was_captured_is_refunded() {
    given(history(Voiding))
        .when(provider_says(ProviderAnswer::Captured))
        .then([captured(), refund_requested()]);
}

#[test]
fn cancelling_a_payment_that_is_undone_or_being_undone_changes_nothing() {
    for state in [Declined, Voiding, Voided, Refunding, Refunded] {
        given(history(state)).when(cancel()).then_nothing();
    }
}

#[test]
fn a_payment_that_is_being_captured_cannot_be_cancelled_because_the_goods_were_dispatched() {
    given(history(Capturing)).when(cancel()).then_refused(out_of_story(Capturing, "a cancellation"));
}

// ---- what the provider is asked ----

#[test]
fn each_state_has_its_provider_call() {
    for state in EVERY_STATE {
        let call = match state {
            Requested => {
                Some(ProviderCall::Authorise { order_id: ID, customer_id: ada(), amount: pounds(1800) })
            }
            Unknown => Some(ProviderCall::Status { order_id: ID, customer_id: ada(), amount: pounds(1800) }),
            Capturing => Some(ProviderCall::Capture { order_id: ID }),
            Voiding => Some(ProviderCall::Void { order_id: ID }),
            Refunding => Some(ProviderCall::Refund { order_id: ID }),
            Absent | Waived | Declined | Authorised | Captured | Voided | Refunded => None,
        };
        let payment = after(Payment::default(), &history(state));
        assert_eq!(payment.next_provider_call(), call, "{state:?}");
    }
}

#[test]
fn an_answer_to_a_call_that_is_not_open_changes_nothing() {
    for state in every_state_but(&[Requested, Unknown]) {
        for answer in every_answer() {
            let open = match &answer {
                ProviderAnswer::Captured => state == Capturing || state == Voiding,
                ProviderAnswer::Voided => state == Voiding,
                ProviderAnswer::Refunded => state == Refunding,
                _ => false,
            };
            if !open {
                given(history(state)).when(provider_says(answer)).then_nothing();
            }
        }
    }
    for state in [Requested, Unknown] {
        for answer in [ProviderAnswer::Captured, ProviderAnswer::Voided, ProviderAnswer::Refunded] {
            given(history(state)).when(provider_says(answer)).then_nothing();
        }
    }
}

#[test]
fn every_history_here_produces_the_state_it_is_named_for() {
    for state in EVERY_STATE {
        assert_eq!(after(Payment::default(), &history(state)).state(), state);
    }
}

#[test]
fn a_payment_remembers_what_was_requested() {
    let payment = after(Payment::default(), &history(Refunded));
    assert_eq!(payment.request().map(|request| request.amount), Some(pounds(1800)));
}

#[test]
fn a_payment_knows_its_own_events_from_those_of_others() {
    assert_eq!(PaymentEvent::try_from(events::Event::from(voided())).ok(), Some(voided()));
    let delivered = ShipmentEvent::from(ShipmentDelivered { order_id: ID });
    assert_eq!(PaymentEvent::try_from(events::Event::from(delivered)).ok(), None);
}

#[test]
fn a_refusal_names_the_payments_state() {
    let message = format!("payment {ID} is Capturing: a cancellation cannot follow");
    assert_eq!(out_of_story(Capturing, "a cancellation").to_string(), message);
}
