//! The status of one order's process, computed from what has happened: done, waiting for what, still to come.
//!
//! This describes; it decides nothing and starts nothing (that is `sagas/src/order_fulfilment/`, which this crate cannot name).
//! Facts may be missing at the start of any context's list, because no order holds between topics: what a later fact proves
//! is taken as done.

use chrono::{DateTime, Utc};
use events::Context;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One step of the story. Its name is what the HTTP interface shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    PlaceOrder,
    ReserveStock,
    RequestPayment,
    AuthorisePayment,
    ConfirmOrder,
    PrepareShipment,
    /// A person does it.
    Dispatch,
    ShipOrder,
    CommitReservation,
    CapturePayment,
    /// A person does it.
    Deliver,
    CompleteOrder,
    RequestCancellation,
    RefuseCancellation,
    CancelShipment,
    UndoPayment,
    ReleaseReservation,
    RejectOrder,
    CancelOrder,
}

/// The way of an order that nothing happens to, while each step follows from the one before.
const UNTIL_DISPATCH: [Step; 7] = [
    Step::PlaceOrder,
    Step::ReserveStock,
    Step::RequestPayment,
    Step::AuthorisePayment,
    Step::ConfirmOrder,
    Step::PrepareShipment,
    Step::Dispatch,
];

/// The rest of it. The first three follow from the dispatch side by side.
const AFTER_DISPATCH: [Step; 5] =
    [Step::ShipOrder, Step::CommitReservation, Step::CapturePayment, Step::Deliver, Step::CompleteOrder];

/// The facts any one of which proves that the shipment was dispatched.
const GOODS_LEFT: [&str; 6] = [
    "ShipmentDispatched",
    "ShipmentDelivered",
    "OrderCancellationRefused",
    "OrderShipped",
    "OrderDelivered",
    "ReservationCommitted",
];

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::PlaceOrder => "place_order",
            Self::ReserveStock => "reserve_stock",
            Self::RequestPayment => "request_payment",
            Self::AuthorisePayment => "authorise_payment",
            Self::ConfirmOrder => "confirm_order",
            Self::PrepareShipment => "prepare_shipment",
            Self::Dispatch => "dispatch",
            Self::ShipOrder => "ship_order",
            Self::CommitReservation => "commit_reservation",
            Self::CapturePayment => "capture_payment",
            Self::Deliver => "deliver",
            Self::CompleteOrder => "complete_order",
            Self::RequestCancellation => "request_cancellation",
            Self::RefuseCancellation => "refuse_cancellation",
            Self::CancelShipment => "cancel_shipment",
            Self::UndoPayment => "undo_payment",
            Self::ReleaseReservation => "release_reservation",
            Self::RejectOrder => "reject_order",
            Self::CancelOrder => "cancel_order",
        }
    }

    /// The step that an event belongs to; none for an event of no order's process.
    pub fn of_event(event_type: &str) -> Option<Self> {
        Some(match event_type {
            "OrderPlaced" => Self::PlaceOrder,
            "ReservationMade" | "ReservationRefused" => Self::ReserveStock,
            "PaymentRequested" | "PaymentWaived" => Self::RequestPayment,
            "PaymentAuthorised" | "PaymentDeclined" | "PaymentUnknown" | "PaymentExpired" => {
                Self::AuthorisePayment
            }
            "OrderConfirmed" => Self::ConfirmOrder,
            "ShipmentPrepared" => Self::PrepareShipment,
            "ShipmentDispatched" => Self::Dispatch,
            "OrderShipped" => Self::ShipOrder,
            "ReservationCommitted" => Self::CommitReservation,
            "PaymentCaptureRequested" | "PaymentCaptured" => Self::CapturePayment,
            "ShipmentDelivered" => Self::Deliver,
            "OrderDelivered" => Self::CompleteOrder,
            "OrderCancellationRequested" => Self::RequestCancellation,
            "OrderCancellationRefused" => Self::RefuseCancellation,
            "ShipmentCancelled" => Self::CancelShipment,
            "PaymentVoidRequested" | "PaymentVoided" | "PaymentRefundRequested" | "PaymentRefunded" => {
                Self::UndoPayment
            }
            "ReservationReleased" => Self::ReleaseReservation,
            "OrderRejected" => Self::RejectOrder,
            "OrderCancelled" => Self::CancelOrder,
            _ => return None,
        })
    }

    /// The facts any one of which ends the step.
    pub fn ended_by(self) -> &'static [&'static str] {
        match self {
            Self::PlaceOrder => &["OrderPlaced"],
            Self::ReserveStock => &["ReservationMade", "ReservationRefused"],
            Self::RequestPayment => &["PaymentRequested", "PaymentWaived"],
            Self::AuthorisePayment => {
                &["PaymentAuthorised", "PaymentWaived", "PaymentDeclined", "PaymentExpired"]
            }
            Self::ConfirmOrder => &["OrderConfirmed"],
            Self::PrepareShipment => &["ShipmentPrepared"],
            Self::Dispatch => &["ShipmentDispatched"],
            Self::ShipOrder => &["OrderShipped"],
            Self::CommitReservation => &["ReservationCommitted"],
            Self::CapturePayment => &["PaymentCaptured", "PaymentWaived"],
            Self::Deliver => &["ShipmentDelivered"],
            Self::CompleteOrder => &["OrderDelivered"],
            Self::RequestCancellation => &["OrderCancellationRequested"],
            Self::RefuseCancellation => &["OrderCancellationRefused"],
            Self::CancelShipment => &["ShipmentCancelled"],
            Self::UndoPayment => &["PaymentVoided", "PaymentRefunded", "PaymentDeclined"],
            Self::ReleaseReservation => &["ReservationReleased", "ReservationRefused"],
            Self::RejectOrder => &["OrderRejected"],
            Self::CancelOrder => &["OrderCancelled"],
        }
    }

    /// Whose event ends the step.
    pub fn context(self) -> Context {
        match self {
            Self::PlaceOrder
            | Self::ConfirmOrder
            | Self::ShipOrder
            | Self::CompleteOrder
            | Self::RequestCancellation
            | Self::RefuseCancellation
            | Self::RejectOrder
            | Self::CancelOrder => Context::Orders,
            Self::ReserveStock | Self::CommitReservation | Self::ReleaseReservation => Context::Inventory,
            Self::RequestPayment | Self::AuthorisePayment | Self::CapturePayment | Self::UndoPayment => {
                Context::Payments
            }
            Self::PrepareShipment | Self::Dispatch | Self::Deliver | Self::CancelShipment => {
                Context::Shipping
            }
        }
    }

    /// Whether a person, not a machine, takes the step: waiting for it is nobody's fault.
    pub fn is_a_persons(self) -> bool {
        matches!(self, Self::Dispatch | Self::Deliver)
    }
}

/// The stage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A machine is at work on the next step.
    Running,
    /// The next step is a person's: to dispatch, or to deliver.
    Waiting,
    /// What was done is being undone.
    Compensating,
    /// Nothing is to come.
    Done,
}

impl Stage {
    /// Whether no machine is at work: a person is waited for, or nothing is to come.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Waiting | Self::Done => true,
            Self::Running | Self::Compensating => false,
        }
    }
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Delivered,
    Rejected,
    Cancelled,
}

/// Why what was done is being undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    OrderCancelled,
    PaymentDeclined,
    PaymentExpired,
}

/// How far a process has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStatus {
    pub stage: Stage,
    pub outcome: Option<Outcome>,
    pub waiting_for: Option<Step>,
    /// What follows the step that is waited for.
    pub to_come: Vec<Step>,
    pub compensation: Option<Compensation>,
}

/// What is or was undone, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compensation {
    pub cause: Cause,
    pub undone: Vec<Step>,
    pub still_to_undo: Vec<Step>,
}

/// One event of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    pub event: String,
    pub at: DateTime<Utc>,
}

/// Everything that happened to an order: the facts of each context in order, the contexts in no order.
pub struct Facts<'a> {
    contexts: Vec<&'a [Fact]>,
}

impl<'a> Facts<'a> {
    pub fn new(contexts: impl IntoIterator<Item = &'a [Fact]>) -> Self {
        Self { contexts: contexts.into_iter().collect() }
    }

    fn has(&self, event: &str) -> bool {
        self.contexts.iter().any(|facts| facts.iter().any(|fact| fact.event == event))
    }

    fn has_any(&self, events: &[&str]) -> bool {
        events.iter().any(|event| self.has(event))
    }

    pub fn status(&self) -> ProcessStatus {
        let compensation = self.compensation();
        let outcome = self.outcome();
        let remaining = match (&compensation, outcome) {
            (_, Some(Outcome::Rejected | Outcome::Cancelled)) => self.money_still_to_undo(),
            (Some(compensation), _) => compensation.still_to_undo.clone(),
            (None, _) if self.has("ReservationRefused") => vec![Step::RejectOrder],
            (None, _) => self.happy_steps_to_come(),
        };
        let waiting_for = remaining.first().copied();
        let stage = match waiting_for {
            None => Stage::Done,
            Some(_) if compensation.is_some() => Stage::Compensating,
            Some(step) if step.is_a_persons() => Stage::Waiting,
            Some(_) => Stage::Running,
        };
        let to_come = remaining.into_iter().skip(1).collect();
        ProcessStatus { stage, outcome, waiting_for, to_come, compensation }
    }

    fn outcome(&self) -> Option<Outcome> {
        if self.has("OrderDelivered") {
            Some(Outcome::Delivered)
        } else if self.has("OrderRejected") {
            Some(Outcome::Rejected)
        } else if self.has("OrderCancelled") {
            Some(Outcome::Cancelled)
        } else {
            None
        }
    }

    /// Why the order is not going on, when anything has to be undone because of it.
    fn cause(&self) -> Option<Cause> {
        if self.has_any(&["OrderCancellationRequested", "OrderCancelled"]) && !self.has_any(&GOODS_LEFT) {
            Some(Cause::OrderCancelled)
        } else if self.has("PaymentDeclined") {
            Some(Cause::PaymentDeclined)
        } else if self.has("PaymentExpired") {
            Some(Cause::PaymentExpired)
        } else {
            None
        }
    }

    fn compensation(&self) -> Option<Compensation> {
        let cause = self.cause()?;
        let mut steps = Vec::new();
        match cause {
            Cause::OrderCancelled => {
                if self.has_any(&["OrderConfirmed", "ShipmentPrepared", "ShipmentCancelled"]) {
                    steps.push(Step::CancelShipment);
                }
                if !self.has("ReservationRefused") {
                    steps.extend([Step::UndoPayment, Step::ReleaseReservation]);
                }
                steps.push(Step::CancelOrder);
            }
            Cause::PaymentDeclined => steps.extend([Step::ReleaseReservation, Step::RejectOrder]),
            // The void at the provider goes on beside the rejection, and may end after it.
            Cause::PaymentExpired => {
                steps.extend([Step::ReleaseReservation, Step::RejectOrder, Step::UndoPayment]);
            }
        }
        let (undone, still_to_undo) = steps.into_iter().partition(|step| self.has_any(step.ended_by()));
        Some(Compensation { cause, undone, still_to_undo })
    }

    /// Once an order is rejected or cancelled, all that can be open is a call to the payment provider.
    fn money_still_to_undo(&self) -> Vec<Step> {
        let asked = self.has_any(&["PaymentVoidRequested", "PaymentRefundRequested", "PaymentExpired"]);
        if asked && !self.has_any(Step::UndoPayment.ended_by()) {
            vec![Step::UndoPayment]
        } else {
            Vec::new()
        }
    }

    /// Up to the dispatch each step follows from the one before, so a later fact proves the earlier steps. From there
    /// the order, the stock and the money go their own ways.
    fn happy_steps_to_come(&self) -> Vec<Step> {
        let steps_proven = if self.has_any(&GOODS_LEFT) {
            UNTIL_DISPATCH.len()
        } else {
            UNTIL_DISPATCH.iter().rposition(|step| self.has_any(step.ended_by())).map_or(0, |last| last + 1)
        };
        let delivered = self.has("OrderDelivered");
        let after = AFTER_DISPATCH.into_iter().filter(|step| {
            let proven = delivered && matches!(step, Step::ShipOrder | Step::Deliver);
            !proven && !self.has_any(step.ended_by())
        });
        UNTIL_DISPATCH.into_iter().skip(steps_proven).chain(after).collect()
    }
}
