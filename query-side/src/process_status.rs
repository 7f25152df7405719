//! The status of one order's process, computed from what has happened: done, waiting for what, still to come.
//!
//! The steps are those of the table `events/src/processes/order_fulfilment.rs`. This describes; it decides nothing and starts
//! nothing (that is `sagas/src/order_fulfilment/`, which this crate cannot name). Facts may be missing at the start of any
//! context's list, because no order holds between topics: a step that a later fact proves counts as done.

use chrono::{DateTime, Utc};
use events::Context;
use events::inventory::ReservationRefused;
use events::orders::{
    OrderCancellationRequested, OrderCancelled, OrderConfirmed, OrderDelivered, OrderRejected,
};
use events::payments::{PaymentDeclined, PaymentExpired, PaymentRefundRequested, PaymentVoidRequested};
use events::processes::order_fulfilment::{
    CANCEL_ORDER, CANCEL_SHIPMENT, DELIVER, GOODS_LEFT, REJECT_ORDER, RELEASE_RESERVATION, SHIP_ORDER, STEPS,
    TABLE, UNDO_PAYMENT,
};
use events::processes::{StepOrder, TakenBy};
use events::shipping::{ShipmentCancelled, ShipmentPrepared};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// One step of the process. The API shows its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(&'static events::processes::Step);

impl Step {
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The step that an event belongs to; none for an event of no order's process.
    pub fn of_event(event_type: &str) -> Option<Self> {
        TABLE.step_of(event_type).map(Self)
    }

    /// Each of these events ends the step.
    pub fn ended_by(self) -> &'static [&'static str] {
        self.0.ended_by
    }

    /// The context whose event ends the step.
    pub fn context(self) -> Context {
        self.0.context
    }

    /// Whether the warehouse or the carrier takes the step: the process waits for as long as they need.
    pub fn is_a_persons(self) -> bool {
        self.0.taken_by == TakenBy::Staff
    }

    /// Whether the order is rejected when the step takes too long.
    pub fn has_deadline(self) -> bool {
        self.0.deadline.is_some()
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl PartialSchema for Step {
    fn schema() -> RefOr<Schema> {
        let names = STEPS.iter().map(|step| step.name);
        let by = |taken_by| {
            let steps = STEPS.iter().filter(|step| step.taken_by == taken_by);
            steps.map(|step| format!("`{}`", step.name)).collect::<Vec<_>>().join(", ")
        };
        let description = format!(
            "One step of the process. A customer takes {}; the warehouse or the carrier takes {}; the system takes the others.",
            by(TakenBy::Customer),
            by(TakenBy::Staff)
        );
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        schema.description(Some(description)).into()
    }
}

impl ToSchema for Step {}

/// The stage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The system is working on the next step.
    Running,
    /// The next step is a person's: to dispatch, or to deliver.
    Waiting,
    /// What was done is being undone.
    Compensating,
    /// Nothing is to come.
    Done,
}

impl Stage {
    /// Whether the system has nothing to do: the process waits for a person, or nothing is to come.
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
            (None, _) if self.has(ReservationRefused::TYPE) => vec![Step(&REJECT_ORDER)],
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
        if self.has(OrderDelivered::TYPE) {
            Some(Outcome::Delivered)
        } else if self.has(OrderRejected::TYPE) {
            Some(Outcome::Rejected)
        } else if self.has(OrderCancelled::TYPE) {
            Some(Outcome::Cancelled)
        } else {
            None
        }
    }

    /// Why the order is not going on, when anything has to be undone because of it.
    fn cause(&self) -> Option<Cause> {
        if self.has_any(&[OrderCancellationRequested::TYPE, OrderCancelled::TYPE])
            && !self.has_any(GOODS_LEFT)
        {
            Some(Cause::OrderCancelled)
        } else if self.has(PaymentDeclined::TYPE) {
            Some(Cause::PaymentDeclined)
        } else if self.has(PaymentExpired::TYPE) {
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
                if self.has_any(&[OrderConfirmed::TYPE, ShipmentPrepared::TYPE, ShipmentCancelled::TYPE]) {
                    steps.push(Step(&CANCEL_SHIPMENT));
                }
                if !self.has(ReservationRefused::TYPE) {
                    steps.extend([Step(&UNDO_PAYMENT), Step(&RELEASE_RESERVATION)]);
                }
                steps.push(Step(&CANCEL_ORDER));
            }
            Cause::PaymentDeclined => steps.extend([Step(&RELEASE_RESERVATION), Step(&REJECT_ORDER)]),
            // The void at the provider goes on beside the rejection, and may end after it.
            Cause::PaymentExpired => {
                steps.extend([Step(&RELEASE_RESERVATION), Step(&REJECT_ORDER), Step(&UNDO_PAYMENT)]);
            }
        }
        let (undone, still_to_undo) = steps.into_iter().partition(|step| self.has_any(step.ended_by()));
        Some(Compensation { cause, undone, still_to_undo })
    }

    /// Once an order is rejected or cancelled, all that can be open is a call to the payment provider.
    fn money_still_to_undo(&self) -> Vec<Step> {
        let asked =
            self.has_any(&[PaymentVoidRequested::TYPE, PaymentRefundRequested::TYPE, PaymentExpired::TYPE]);
        if asked && !self.has_any(UNDO_PAYMENT.ended_by) { vec![Step(&UNDO_PAYMENT)] } else { Vec::new() }
    }

    /// Each step in sequence follows from the one before, so a later fact proves the earlier steps. The parallel steps follow
    /// from the dispatch, side by side.
    fn happy_steps_to_come(&self) -> Vec<Step> {
        let of = |order| STEPS.iter().filter(move |step| step.order == order);
        let in_sequence: Vec<_> = of(StepOrder::InSequence).collect();
        let proven = if self.has_any(GOODS_LEFT) {
            in_sequence.len()
        } else {
            in_sequence.iter().rposition(|step| self.has_any(step.ended_by)).map_or(0, |last| last + 1)
        };
        let delivered = self.has(OrderDelivered::TYPE);
        let parallel = of(StepOrder::Parallel).filter(|step| {
            let proven = delivered && [SHIP_ORDER.name, DELIVER.name].contains(&step.name);
            !proven && !self.has_any(step.ended_by)
        });
        in_sequence.into_iter().skip(proven).chain(parallel).map(Step).collect()
    }
}
