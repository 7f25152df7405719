//! The rules of an order in sentences.

mod support;

use domain::orders::OrderStatus::*;
use domain::{Order, OrderCommand, OrderRefusal};
use events::inventory::ReleaseCause;
use events::orders::{
    OrderCancellationRefused, OrderConfirmed, OrderDelivered, OrderPlaced, RejectionReason,
};
use events::{Address, OrderEvent, ValueError};
use support::orders::*;
use support::{Given, ID, ada, address, gbp, item, line, noon, pounds};

fn given(history: impl IntoIterator<Item = OrderEvent>) -> Given<Order> {
    support::given(history)
}

// ---- placing ----

#[test]
fn a_basket_becomes_an_order_with_its_total() {
    given([]).when(place(vec![line("teapot", 2, 1250), line("cup", 6, 300)])).then([OrderPlaced {
        order_id: ID,
        customer_id: ada(),
        currency: gbp(),
        lines: vec![line("teapot", 2, 1250), line("cup", 6, 300)],
        total_minor: 4300,
        shipping_address: address(),
        placed_at: noon(),
    }
    .into()]);
}

#[test]
fn a_sku_may_be_on_several_lines_at_several_prices() {
    given([])
        .when(place(vec![line("cup", 6, 300), line("cup", 1, 250)]))
        .then([placed_with(vec![line("cup", 6, 300), line("cup", 1, 250)], 2050)]);
}

#[test]
fn a_price_of_zero_is_a_gift() {
    given([]).when(place(vec![line("card", 1, 0)])).then([placed_with(vec![line("card", 1, 0)], 0)]);
}

#[test]
fn a_price_below_zero_is_refused_and_its_line_is_named() {
    for given_price in [-1, i64::MIN] {
        given([])
            .when(place(vec![line("cup", 1, 300), line("debt", 1, given_price)]))
            .then_refused(OrderRefusal::NegativePrice { line: 1, given: given_price });
    }
}

#[test]
fn an_order_has_at_least_one_line() {
    given([]).when(place(vec![])).then_refused(OrderRefusal::LineCount { given: 0, max: 2000 });
}

#[test]
fn an_order_has_at_most_two_thousand_lines() {
    let lines = |count| vec![line("cup", 1, 1); count];
    given([]).when(place(lines(2000))).then([placed_with(lines(2000), 2000)]);
    given([]).when(place(lines(2001))).then_refused(OrderRefusal::LineCount { given: 2001, max: 2000 });
}

#[test]
fn a_piece_of_the_highest_price_can_be_ordered_once_but_not_twice() {
    given([])
        .when(place(vec![line("diamond", 1, i64::MAX)]))
        .then([placed_with(vec![line("diamond", 1, i64::MAX)], i64::MAX)]);
    given([])
        .when(place(vec![line("cup", 1, 0), line("diamond", 2, i64::MAX)]))
        .then_refused(OrderRefusal::LineTotalTooLarge { line: 1 });
}

#[test]
fn a_total_beyond_sixty_three_bits_is_refused() {
    given([])
        .when(place(vec![line("diamond", 1, i64::MAX), line("cup", 1, 1)]))
        .then_refused(OrderRefusal::TotalTooLarge);
}

#[test]
fn the_pieces_of_one_sku_over_all_lines_have_a_limit() {
    let most = 1_000_000_000;
    let cause = ValueError::Range { min: 1, max: most, given: i128::from(most) + 1 };
    given([])
        .when(place(vec![line("bead", most, 0), line("bead", 1, 0)]))
        .then_refused(OrderRefusal::TooManyPieces { cause });
    let two_kinds = vec![line("bead", most, 0), line("pearl", most, 0)];
    given([]).when(place(two_kinds.clone())).then([placed_with(two_kinds, 0)]);
}

#[test]
fn an_order_without_an_address_is_refused() {
    let cause = ValueError::Length { min: 1, max: 500, given: 0 };
    given([])
        .when(place_to(Address::Text(String::new())))
        .then_refused(OrderRefusal::ShippingAddress { cause });
}

#[test]
fn an_order_is_placed_once() {
    for status in EVERY_STATUS.into_iter().filter(|status| *status != Absent) {
        given(history(status))
            .when(place(vec![line("cup", 1, 1)]))
            .then_refused(OrderRefusal::AlreadyPlaced { order_id: ID });
    }
}

// ---- confirming ----

#[test]
fn a_placed_order_is_confirmed_with_the_data_that_shipping_needs() {
    let lines = vec![line("teapot", 1, 100), line("cup", 6, 300), line("cup", 1, 250)];
    given([placed_with(lines, 2150)]).when(OrderCommand::ConfirmOrder { order_id: ID }).then([
        OrderConfirmed {
            order_id: ID,
            customer_id: ada(),
            total: pounds(2150),
            items: vec![item("cup", 7), item("teapot", 1)],
            shipping_address: address(),
            placed_at: noon(),
        }
        .into(),
    ]);
}

#[test]
fn a_repeated_or_late_confirmation_changes_nothing() {
    for status in
        [Confirmed, CANCELLING_PLACED, CANCELLING_CONFIRMED, Rejected, Cancelled, Shipped, Delivered]
    {
        given(history(status)).when(OrderCommand::ConfirmOrder { order_id: ID }).then_nothing();
    }
}

// ---- rejecting ----

#[test]
fn a_placed_order_is_rejected_with_its_shortages() {
    given(history(Placed))
        .when(reject())
        .then([rejected(RejectionReason::OutOfStock { shortages: vec![shortage()] })]);
}

#[test]
fn an_order_that_is_being_cancelled_when_the_stock_is_refused_is_cancelled() {
    for status in [CANCELLING_PLACED, CANCELLING_CONFIRMED] {
        given(history(status)).when(reject()).then([cancelled()]);
    }
}

#[test]
fn a_repeated_rejection_changes_nothing() {
    for status in [Rejected, Cancelled] {
        given(history(status)).when(reject()).then_nothing();
    }
}

#[test]
fn an_order_whose_stock_was_reserved_cannot_be_rejected_for_shortage() {
    for status in [Confirmed, Shipped, Delivered] {
        given(history(status)).when(reject()).then_refused(out_of_story(status, "a refused reservation"));
    }
}

// ---- compensation ----

#[test]
fn a_declined_order_is_rejected_once_its_stock_is_released() {
    let decline_code = "insufficient_funds".to_owned();
    given(history(Placed))
        .when(released(ReleaseCause::PaymentDeclined { decline_code: decline_code.clone() }))
        .then([rejected(RejectionReason::PaymentDeclined { decline_code })]);
}

#[test]
fn an_order_whose_payment_expired_is_rejected_once_its_stock_is_released() {
    given(history(Placed))
        .when(released(ReleaseCause::PaymentExpired))
        .then([rejected(RejectionReason::PaymentExpired)]);
}

#[test]
fn an_order_is_cancelled_once_its_stock_is_released_for_any_cause() {
    for status in [CANCELLING_PLACED, CANCELLING_CONFIRMED] {
        for cause in every_cause() {
            given(history(status)).when(released(cause)).then([cancelled()]);
        }
    }
}

#[test]
fn a_repeated_compensation_changes_nothing() {
    for status in [Rejected, Cancelled] {
        for cause in every_cause() {
            given(history(status)).when(released(cause)).then_nothing();
        }
    }
}

#[test]
fn the_stock_of_an_order_without_a_cancellation_cannot_be_released_as_cancelled() {
    given(history(Placed))
        .when(released(ReleaseCause::OrderCancelled))
        .then_refused(out_of_story(Placed, "a released reservation"));
}

#[test]
fn the_stock_of_a_confirmed_order_cannot_be_released_without_its_cancellation() {
    for status in [Confirmed, Shipped, Delivered] {
        for cause in every_cause() {
            given(history(status))
                .when(released(cause))
                .then_refused(out_of_story(status, "a released reservation"));
        }
    }
}

// ---- cancelling ----

#[test]
fn a_placed_order_can_be_cancelled_and_payment_is_next() {
    given(history(Placed)).when(cancel()).then([cancellation_requested(false)]);
}

#[test]
fn a_confirmed_order_can_be_cancelled_and_shipping_is_next() {
    given(history(Confirmed)).when(cancel()).then([cancellation_requested(true)]);
}

#[test]
fn cancelling_twice_changes_nothing_more() {
    for status in [CANCELLING_PLACED, CANCELLING_CONFIRMED] {
        given(history(status)).when(cancel()).then_nothing();
    }
}

#[test]
fn an_order_that_has_ended_or_left_cannot_be_cancelled() {
    for status in [Rejected, Cancelled, Shipped, Delivered] {
        given(history(status))
            .when(cancel())
            .then_refused(OrderRefusal::CannotBeCancelled { order_id: ID, status });
    }
}

#[test]
fn an_order_whose_cancellation_came_too_late_cannot_be_cancelled_again() {
    let too_late = history(CANCELLING_CONFIRMED)
        .into_iter()
        .chain([OrderCancellationRefused { order_id: ID }.into(), shipped()]);
    given(too_late)
        .when(cancel())
        .then_refused(OrderRefusal::CannotBeCancelled { order_id: ID, status: Shipped });
}

// ---- shipping and delivering ----

#[test]
fn a_confirmed_order_ships() {
    given(history(Confirmed)).when(ship()).then([shipped()]);
}

#[test]
fn a_dispatch_before_the_cancellation_refuses_the_cancellation() {
    given(history(CANCELLING_CONFIRMED))
        .when(ship())
        .then([OrderCancellationRefused { order_id: ID }.into(), shipped()]);
}

#[test]
fn a_shipment_that_is_reported_again_changes_nothing() {
    for status in [Shipped, Delivered] {
        given(history(status)).when(ship()).then_nothing();
    }
}

#[test]
fn an_order_that_was_never_confirmed_or_has_ended_cannot_ship() {
    for status in [Placed, CANCELLING_PLACED, Rejected, Cancelled] {
        given(history(status)).when(ship()).then_refused(out_of_story(status, "a dispatched shipment"));
    }
}

#[test]
fn a_shipped_order_is_delivered() {
    given(history(Shipped))
        .when(OrderCommand::DeliverOrder { order_id: ID })
        .then([OrderDelivered { order_id: ID }.into()]);
}

#[test]
fn a_delivery_that_is_reported_again_changes_nothing() {
    given(history(Delivered)).when(OrderCommand::DeliverOrder { order_id: ID }).then_nothing();
}

#[test]
fn an_order_that_has_not_shipped_cannot_be_delivered() {
    for status in [Placed, Confirmed, CANCELLING_PLACED, CANCELLING_CONFIRMED, Rejected, Cancelled] {
        given(history(status))
            .when(OrderCommand::DeliverOrder { order_id: ID })
            .then_refused(out_of_story(status, "a delivered shipment"));
    }
}

// ---- every command ----

#[test]
fn nothing_but_placing_can_happen_to_an_order_that_does_not_exist() {
    let confirm = OrderCommand::ConfirmOrder { order_id: ID };
    let deliver = OrderCommand::DeliverOrder { order_id: ID };
    for command in [cancel(), confirm, reject(), released(ReleaseCause::PaymentExpired), ship(), deliver] {
        given([]).when(command).then_refused(OrderRefusal::NotFound { order_id: ID });
    }
}

#[test]
fn every_history_here_leads_to_the_status_it_is_named_for() {
    for status in EVERY_STATUS {
        assert_eq!(support::after(Order::default(), &history(status)).status(), status);
    }
}

#[test]
fn an_order_knows_its_own_events_from_those_of_others() {
    let delivered = OrderEvent::from(OrderDelivered { order_id: ID });
    assert_eq!(OrderEvent::try_from(events::Event::from(delivered.clone())).ok(), Some(delivered));
    let voided = events::PaymentEvent::from(events::payments::PaymentVoided { order_id: ID });
    assert_eq!(OrderEvent::try_from(events::Event::from(voided)).ok(), None);
}

#[test]
fn a_refusal_says_what_was_given_and_what_is_allowed() {
    let id = ID;
    for (refusal, message) in [
        (OrderRefusal::NotFound { order_id: id }, format!("order {id} does not exist")),
        (
            OrderRefusal::LineCount { given: 2001, max: 2000 },
            "an order has 1 to 2000 lines, this one has 2001".to_owned(),
        ),
        (
            OrderRefusal::NegativePrice { line: 3, given: -1 },
            "line 3: unit_price_minor must be 0 or more, is -1".to_owned(),
        ),
        (
            OrderRefusal::ShippingAddress { cause: ValueError::Fields { max: 20, given: 0 } },
            "shipping_address must have 1 to 20 fields, has 0".to_owned(),
        ),
        (
            OrderRefusal::CannotBeCancelled { order_id: id, status: Shipped },
            format!("order {id} is shipped; allowed in placed, confirmed"),
        ),
        (
            out_of_story(CANCELLING_PLACED, "a dispatched shipment"),
            format!("order {id} is cancelling: a dispatched shipment cannot follow"),
        ),
    ] {
        assert_eq!(refusal.to_string(), message);
    }
}
