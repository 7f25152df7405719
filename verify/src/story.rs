//! Where an order stands, told from the names of the events that happened to it: over, or waiting for which step.
//!
//! Written from the story's table, not from the code that it is held against. Never: an order between the events of
//! different contexts; there is none. Read next: `fold/processes.rs`, `process.rs`.

/// A step of the way of an order, and the events any of which end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    ends: &'static [&'static str],
    /// Whether a person takes it: the warehouse, the carrier.
    pub is_a_persons: bool,
}

const fn step(name: &'static str, ends: &'static [&'static str]) -> Step {
    Step { name, ends, is_a_persons: false }
}

const fn persons(name: &'static str, ends: &'static [&'static str]) -> Step {
    Step { name, ends, is_a_persons: true }
}

/// Each follows from the one before.
const TO_THE_DOOR: [Step; 7] = [
    step("place_order", &["OrderPlaced"]),
    step("reserve_stock", &["ReservationMade", "ReservationRefused"]),
    step("request_payment", &["PaymentRequested", "PaymentWaived"]),
    step("authorise_payment", &["PaymentAuthorised", "PaymentWaived", "PaymentDeclined", "PaymentExpired"]),
    step("confirm_order", &["OrderConfirmed"]),
    step("prepare_shipment", &["ShipmentPrepared"]),
    persons("dispatch", &["ShipmentDispatched"]),
];

/// These go on side by side. The first and the fourth are proven by the delivered order.
const FROM_THE_DOOR: [Step; 5] = [
    step("ship_order", &["OrderShipped", "OrderDelivered"]),
    step("commit_reservation", &["ReservationCommitted"]),
    step("capture_payment", &["PaymentCaptured", "PaymentWaived"]),
    persons("deliver", &["ShipmentDelivered", "OrderDelivered"]),
    step("complete_order", &["OrderDelivered"]),
];

const CANCEL_SHIPMENT: Step = step("cancel_shipment", &["ShipmentCancelled"]);
const UNDO_PAYMENT: Step = step("undo_payment", &["PaymentVoided", "PaymentRefunded", "PaymentDeclined"]);
const RELEASE: Step = step("release_reservation", &["ReservationReleased", "ReservationRefused"]);
const REJECT: Step = step("reject_order", &["OrderRejected"]);
const CANCEL: Step = step("cancel_order", &["OrderCancelled"]);

/// Any of these means that the goods have left.
const LEFT: [&str; 6] = [
    "ShipmentDispatched",
    "ShipmentDelivered",
    "OrderCancellationRefused",
    "OrderShipped",
    "OrderDelivered",
    "ReservationCommitted",
];

/// The events that happened to an order.
#[derive(Debug, Clone, Default)]
pub struct Story<'a> {
    /// Each once. They are few: a list is searched sooner than a set is built.
    heard: Vec<&'a str>,
}

/// Where that leaves it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stand {
    /// `running`, `waiting` (for a person), `compensating`, `done`.
    pub state: &'static str,
    pub waiting_for: Option<Step>,
    /// `delivered`, `rejected`, `cancelled`.
    pub outcome: Option<&'static str>,
}

impl<'a> Story<'a> {
    pub fn hear(&mut self, event_type: &'a str) {
        if !self.has(event_type) {
            self.heard.push(event_type);
        }
    }

    pub fn has(&self, event_type: &str) -> bool {
        self.heard.contains(&event_type)
    }

    pub fn has_any(&self, event_types: &[&str]) -> bool {
        event_types.iter().any(|event_type| self.has(event_type))
    }

    pub fn stand(&self) -> Stand {
        let outcome =
            [("OrderDelivered", "delivered"), ("OrderRejected", "rejected"), ("OrderCancelled", "cancelled")];
        let outcome = outcome.into_iter().find(|(event, _)| self.has(event)).map(|(_, outcome)| outcome);
        let way_back = self.way_back();
        let waiting_for = match (outcome, &way_back) {
            (Some("rejected" | "cancelled"), _) => self.money_in_the_air(),
            (_, Some(steps)) => self.first_open(steps),
            (_, None) if self.has("ReservationRefused") => Some(REJECT),
            (_, None) => self.way_forward(),
        };
        let state = match waiting_for {
            None => "done",
            Some(_) if way_back.is_some() => "compensating",
            Some(step) if step.is_a_persons => "waiting",
            Some(_) => "running",
        };
        Stand { state, waiting_for, outcome }
    }

    fn first_open(&self, steps: &[Step]) -> Option<Step> {
        steps.iter().find(|step| !self.has_any(step.ends)).copied()
    }

    /// What has to be undone, in order; none where nothing went wrong.
    fn way_back(&self) -> Option<Vec<Step>> {
        let is_cancelled = self.has_any(&["OrderCancellationRequested", "OrderCancelled"]);
        if is_cancelled && !self.has_any(&LEFT) {
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

    /// An order that is over may still have money on its way back.
    fn money_in_the_air(&self) -> Option<Step> {
        let asked = ["PaymentVoidRequested", "PaymentRefundRequested", "PaymentExpired"];
        (self.has_any(&asked) && !self.has_any(UNDO_PAYMENT.ends)).then_some(UNDO_PAYMENT)
    }

    fn way_forward(&self) -> Option<Step> {
        let proven = if self.has_any(&LEFT) {
            TO_THE_DOOR.len()
        } else {
            TO_THE_DOOR.iter().rposition(|step| self.has_any(step.ends)).map_or(0, |last| last + 1)
        };
        let next = TO_THE_DOOR.get(proven).copied();
        next.or_else(|| self.first_open(&FROM_THE_DOOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stands(events: &[&str], state: &str, waiting_for: Option<&str>, outcome: Option<&str>) {
        let mut story = Story::default();
        events.iter().for_each(|event| story.hear(event));
        let stand = story.stand();
        assert_eq!(
            (stand.state, stand.waiting_for.map(|step| step.name), stand.outcome),
            (state, waiting_for, outcome)
        );
    }

    #[test]
    fn an_order_goes_forward_step_by_step() {
        stands(&["OrderPlaced"], "running", Some("reserve_stock"), None);
        stands(&["OrderPlaced", "ShipmentPrepared"], "waiting", Some("dispatch"), None);
        stands(&["OrderPlaced", "ShipmentDispatched"], "running", Some("ship_order"), None);
        let all = ["OrderDelivered", "ReservationCommitted", "PaymentCaptured"];
        stands(&all, "done", None, Some("delivered"));
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
            stands(&events, "compensating", Some(step), None);
            events.push(end);
        }
        stands(&events, "done", None, Some("cancelled"));
    }

    #[test]
    fn a_rejected_order_may_still_wait_for_a_void() {
        let events = ["OrderPlaced", "PaymentExpired", "ReservationReleased", "OrderRejected"];
        stands(&events, "compensating", Some("undo_payment"), Some("rejected"));
    }
}
