//! The order's process, written a second time on purpose: an error in a table shared with `sagas` or `query-side` would go
//! unnoticed.
//!
//! It has two tables: [`EFFECTS`] says what must follow from an event, in steps with the names of
//! `sagas/src/order_fulfilment/mod.rs`; the steps below say what an order waits for, with the names of the column `waiting_for`.

use events::Context::{self, Inventory, Orders, Payments, Shipping};

/// A step of the process: once `context` has handled `trigger`, any one of `effects` must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    pub step: &'static str,
    pub trigger: &'static str,
    pub context: Context,
    pub effects: &'static [&'static str],
}

const fn effect(
    step: &'static str,
    trigger: &'static str,
    context: Context,
    effects: &'static [&'static str],
) -> Effect {
    Effect { step, trigger, context, effects }
}

#[rustfmt::skip]
pub static EFFECTS: &[Effect] = &[
    effect("reserve stock",     "OrderPlaced",         Inventory, RESERVATION),
    effect("request payment",   "ReservationMade",     Payments,  PAYMENT),
    effect("confirm",           "PaymentAuthorised",   Orders,    CONFIRMED),
    effect("confirm a gift",    "PaymentWaived",       Orders,    CONFIRMED),
    effect("prepare shipment",  "OrderConfirmed",      Shipping,  &["ShipmentPrepared"]),
    effect("ship",              "ShipmentDispatched",  Orders,    &["OrderShipped"]),
    effect("commit stock",      "ShipmentDispatched",  Inventory, &["ReservationCommitted"]),
    effect("request capture",   "ShipmentDispatched",  Payments,  CAPTURED),
    effect("deliver",           "ShipmentDelivered",   Orders,    &["OrderDelivered"]),
    effect("reject a shortage", "ReservationRefused",  Orders,    CLOSED),
    effect("cancel unshipped",  "ShipmentCancelled",   Payments,  PAYMENT_UNDONE),
    effect("release declined",  "PaymentDeclined",     Inventory, RELEASED),
    effect("release expired",   "PaymentExpired",      Inventory, RELEASED),
    effect("release voided",    "PaymentVoided",       Inventory, RELEASED),
    effect("release refunded",  "PaymentRefunded",     Inventory, RELEASED),
    effect("close",             "ReservationReleased", Orders,    CLOSED),
];

/// What must follow from the request to cancel an order that was not confirmed, and one that was.
pub static CANCEL_UNCONFIRMED: Effect =
    effect("cancel unconfirmed", "OrderCancellationRequested", Payments, PAYMENT_UNDONE);
pub static CANCEL_CONFIRMED: Effect = effect(
    "cancel confirmed",
    "OrderCancellationRequested",
    Shipping,
    &["ShipmentCancelled", "ShipmentDispatched"],
);

const RESERVATION: &[&str] =
    &["ReservationMade", "ReservationRefused", "ReservationReleased", "ReservationCommitted"];
const PAYMENT: &[&str] = &["PaymentRequested", "PaymentWaived", "PaymentVoided"];
const CONFIRMED: &[&str] =
    &["OrderConfirmed", "OrderCancellationRequested", "OrderCancelled", "OrderRejected"];
const CAPTURED: &[&str] = &["PaymentCaptureRequested", "PaymentCaptured", "PaymentWaived"];
const PAYMENT_UNDONE: &[&str] = &[
    "PaymentVoidRequested",
    "PaymentVoided",
    "PaymentRefundRequested",
    "PaymentRefunded",
    "PaymentDeclined",
];
const RELEASED: &[&str] = &["ReservationReleased", "ReservationRefused"];
const CLOSED: &[&str] = &["OrderRejected", "OrderCancelled"];

/// The events that end an order, and the outcome of each.
pub const OUTCOMES: [(&str, &str); 3] =
    [("OrderDelivered", "delivered"), ("OrderRejected", "rejected"), ("OrderCancelled", "cancelled")];

/// The events of a payment after which the provider must be asked.
pub const PROVIDER_REQUESTS: [&str; 5] = [
    "PaymentRequested",
    "PaymentUnknown",
    "PaymentCaptureRequested",
    "PaymentVoidRequested",
    "PaymentRefundRequested",
];

/// A step that an order may wait for, and the events any of which ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    ends: &'static [&'static str],
    /// Whether a person takes it: at the warehouse, or the carrier.
    pub is_manual: bool,
}

const fn step(name: &'static str, ends: &'static [&'static str]) -> Step {
    Step { name, ends, is_manual: false }
}

const fn manual(name: &'static str, ends: &'static [&'static str]) -> Step {
    Step { name, ends, is_manual: true }
}

/// Each follows from the one before.
const UNTIL_DISPATCH: [Step; 7] = [
    step("place_order", &["OrderPlaced"]),
    step("reserve_stock", &["ReservationMade", "ReservationRefused"]),
    step("request_payment", &["PaymentRequested", "PaymentWaived"]),
    step("authorise_payment", &["PaymentAuthorised", "PaymentWaived", "PaymentDeclined", "PaymentExpired"]),
    step("confirm_order", &["OrderConfirmed"]),
    step("prepare_shipment", &["ShipmentPrepared"]),
    manual("dispatch", &["ShipmentDispatched"]),
];

/// The first three follow from the dispatch in any order. The first and the fourth are proven by the delivered order.
const AFTER_DISPATCH: [Step; 5] = [
    step("ship_order", &["OrderShipped", "OrderDelivered"]),
    step("commit_reservation", &["ReservationCommitted"]),
    step("capture_payment", &["PaymentCaptured", "PaymentWaived"]),
    manual("deliver", &["ShipmentDelivered", "OrderDelivered"]),
    step("complete_order", &["OrderDelivered"]),
];

const CANCEL_SHIPMENT: Step = step("cancel_shipment", &["ShipmentCancelled"]);
const UNDO_PAYMENT: Step = step("undo_payment", &["PaymentVoided", "PaymentRefunded", "PaymentDeclined"]);
const RELEASE: Step = step("release_reservation", RELEASED);
const REJECT: Step = step("reject_order", &["OrderRejected"]);
const CANCEL: Step = step("cancel_order", &["OrderCancelled"]);

/// Any of these proves that the shipment was dispatched.
const DISPATCHED: [&str; 6] = [
    "ShipmentDispatched",
    "ShipmentDelivered",
    "OrderCancellationRefused",
    "OrderShipped",
    "OrderDelivered",
    "ReservationCommitted",
];

/// The types of the events that happened to an order. No order holds between those of different contexts.
#[derive(Debug, Clone, Default)]
pub struct Happened<'a> {
    /// Each once. They are few, so a list is faster than a set.
    event_types: Vec<&'a str>,
}

/// The status of an order's process.
#[derive(Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    /// `running`, `waiting` (for a person), `compensating`, `done`.
    pub state: &'static str,
    pub waiting_for: Option<Step>,
    /// `delivered`, `rejected`, `cancelled`.
    pub outcome: Option<&'static str>,
}

impl<'a> Happened<'a> {
    pub fn add(&mut self, event_type: &'a str) {
        if !self.has(event_type) {
            self.event_types.push(event_type);
        }
    }

    pub fn has(&self, event_type: &str) -> bool {
        self.event_types.contains(&event_type)
    }

    pub fn has_any(&self, event_types: &[&str]) -> bool {
        event_types.iter().any(|event_type| self.has(event_type))
    }

    pub fn status(&self) -> ProcessStatus {
        let outcome = OUTCOMES.into_iter().find(|(event, _)| self.has(event)).map(|(_, outcome)| outcome);
        let compensation = self.compensation();
        let waiting_for = match (outcome, &compensation) {
            (Some("rejected" | "cancelled"), _) => self.open_refund(),
            (_, Some(steps)) => self.first_open(steps),
            (_, None) if self.has("ReservationRefused") => Some(REJECT),
            (_, None) => self.next_step(),
        };
        let state = match waiting_for {
            None => "done",
            Some(_) if compensation.is_some() => "compensating",
            Some(step) if step.is_manual => "waiting",
            Some(_) => "running",
        };
        ProcessStatus { state, waiting_for, outcome }
    }

    fn first_open(&self, steps: &[Step]) -> Option<Step> {
        steps.iter().find(|step| !self.has_any(step.ends)).copied()
    }

    /// The steps that undo what was done, in order; none when nothing has to be undone.
    fn compensation(&self) -> Option<Vec<Step>> {
        let is_cancelled = self.has_any(&["OrderCancellationRequested", "OrderCancelled"]);
        if is_cancelled && !self.has_any(&DISPATCHED) {
            let had_shipment = self.has_any(&["OrderConfirmed", "ShipmentPrepared", "ShipmentCancelled"]);
            let mut steps = if had_shipment { vec![CANCEL_SHIPMENT] } else { Vec::new() };
            if !self.has("ReservationRefused") {
                steps.extend([UNDO_PAYMENT, RELEASE]);
            }
            steps.push(CANCEL);
            Some(steps)
        } else if self.has("PaymentDeclined") {
            Some(vec![RELEASE, REJECT])
        } else if self.has("PaymentExpired") {
            Some(vec![RELEASE, REJECT, UNDO_PAYMENT])
        } else {
            None
        }
    }

    /// An order that has ended may still wait for its money to be returned.
    fn open_refund(&self) -> Option<Step> {
        let requested = ["PaymentVoidRequested", "PaymentRefundRequested", "PaymentExpired"];
        (self.has_any(&requested) && !self.has_any(UNDO_PAYMENT.ends)).then_some(UNDO_PAYMENT)
    }

    /// The next step of an order that nothing goes wrong with. A later event proves all steps before it.
    fn next_step(&self) -> Option<Step> {
        let proven = if self.has_any(&DISPATCHED) {
            UNTIL_DISPATCH.len()
        } else {
            UNTIL_DISPATCH.iter().rposition(|step| self.has_any(step.ends)).map_or(0, |last| last + 1)
        };
        let next = UNTIL_DISPATCH.get(proven).copied();
        next.or_else(|| self.first_open(&AFTER_DISPATCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has_status(events: &[&str], state: &str, waiting_for: Option<&str>, outcome: Option<&str>) {
        let mut happened = Happened::default();
        events.iter().for_each(|event| happened.add(event));
        let status = happened.status();
        assert_eq!(
            (status.state, status.waiting_for.map(|step| step.name), status.outcome),
            (state, waiting_for, outcome)
        );
    }

    #[test]
    fn an_order_goes_forward_step_by_step() {
        has_status(&["OrderPlaced"], "running", Some("reserve_stock"), None);
        has_status(&["OrderPlaced", "ShipmentPrepared"], "waiting", Some("dispatch"), None);
        has_status(&["OrderPlaced", "ShipmentDispatched"], "running", Some("ship_order"), None);
        let all = ["OrderDelivered", "ReservationCommitted", "PaymentCaptured"];
        has_status(&all, "done", None, Some("delivered"));
    }

    #[test]
    fn a_cancelled_order_goes_back_step_by_step() {
        let mut events = vec!["OrderPlaced", "OrderConfirmed", "OrderCancellationRequested"];
        for (step, end) in [
            ("cancel_shipment", "ShipmentCancelled"),
            ("undo_payment", "PaymentVoided"),
            ("release_reservation", "ReservationReleased"),
            ("cancel_order", "OrderCancelled"),
        ] {
            has_status(&events, "compensating", Some(step), None);
            events.push(end);
        }
        has_status(&events, "done", None, Some("cancelled"));
    }

    #[test]
    fn a_rejected_order_may_still_wait_for_a_void() {
        let events = ["OrderPlaced", "PaymentExpired", "ReservationReleased", "OrderRejected"];
        has_status(&events, "compensating", Some("undo_payment"), Some("rejected"));
    }
}
