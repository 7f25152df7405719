//! The story of an order, as a table: which fact makes which context do what, what may come of it, what undoes it,
//! and who is waited for. There is no coordinator: each context reads its rows, and that is all there is.
//!
//! Never: a rule on an aggregate (those are in `domain`), I/O, a clock. The table is checked when the process starts
//! and in a test ([`check`]); `react` below it is held to the table by a test, event by event.
//! Read next: [`inventory`] (one context's reactions; the others have the same form), `sagas/tests/story/main.rs`.

mod check;
pub mod inventory;
pub mod orders;
pub mod payments;
pub mod shipping;
mod step;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{OrderCommand, PaymentCommand, ReservationCommand, ShipmentCommand};
use events::{Context, Envelope, StreamId, ValueError};

pub use check::{StoryError, check, topics_of};
use step::Context::{Inventory, Orders, Payments, Shipping};
use step::Rest::{Book, End, Person, Together};
use step::Takes::{Money, Stock};
use step::Trigger::{Deadline, Event};
use step::step;
pub use step::{Rest, Step, Takes, Trigger, Wait};

/// The deadline that is set when a payment is requested.
pub const EXPIRE: &str = "expire";

/// The table: step, trigger, who decides on what, what may come of it; what undoes it, who is waited for.
#[rustfmt::skip]
pub static STORY: &[Step] = &[
    // the way forward
    step("reserve stock",      Event("OrderPlaced"),                Inventory, "Reserve",          RESERVED).takes(Stock, RELEASES),
    step("request payment",    Event("ReservationMade"),            Payments,  "RequestPayment",   &["PaymentRequested", "PaymentWaived"]).waits(Wait::Deadline(EXPIRE)),
    step("authorise",          Event("PaymentRequested"),           Payments,  "RecordAnswer",     AUTHORISED).takes(Money, &["void", "refund"]).waits(Wait::Provider),
    step("ask the outcome",    Event("PaymentUnknown"),             Payments,  "RecordAnswer",     RESOLVED).takes(Money, &["void", "refund"]).waits(Wait::Provider),
    step("confirm",            Event("PaymentAuthorised"),          Orders,    "ConfirmOrder",     &["OrderConfirmed"]),
    step("confirm a gift",     Event("PaymentWaived"),              Orders,    "ConfirmOrder",     &["OrderConfirmed"]),
    step("prepare shipment",   Event("OrderConfirmed"),             Shipping,  "PrepareShipment",  &["ShipmentPrepared"]).waits(Wait::Person),
    step("ship",               Event("ShipmentDispatched"),         Orders,    "ShipOrder",        SHIPPED).waits(Wait::Person),
    step("commit stock",       Event("ShipmentDispatched"),         Inventory, "Commit",           &["ReservationCommitted", "StockShipped"]),
    step("request capture",    Event("ShipmentDispatched"),         Payments,  "CapturePayment",   &["PaymentCaptureRequested"]),
    step("capture",            Event("PaymentCaptureRequested"),    Payments,  "RecordAnswer",     &["PaymentCaptured"]).waits(Wait::Provider),
    step("deliver",            Event("ShipmentDelivered"),          Orders,    "DeliverOrder",     &["OrderDelivered"]),
    // the ways back
    step("reject a shortage",  Event("ReservationRefused"),         Orders,    "RejectOrder",      CLOSED),
    step("give up waiting",    Deadline(EXPIRE),                    Payments,  "ExpirePayment",    &["PaymentExpired", "PaymentVoidRequested"]),
    step("cancel unconfirmed", Event("OrderCancellationRequested"), Payments,  "CancelPayment",    UNPAID),
    step("cancel confirmed",   Event("OrderCancellationRequested"), Shipping,  "CancelShipment",   &["ShipmentCancelled"]),
    step("cancel unshipped",   Event("ShipmentCancelled"),          Payments,  "CancelPayment",    UNPAID),
    step("void",               Event("PaymentVoidRequested"),       Payments,  "RecordAnswer",     VOIDED).waits(Wait::Provider),
    step("refund",             Event("PaymentRefundRequested"),     Payments,  "RecordAnswer",     &["PaymentRefunded"]).waits(Wait::Provider),
    step("release declined",   Event("PaymentDeclined"),            Inventory, "Release",          RELEASED),
    step("release expired",    Event("PaymentExpired"),             Inventory, "Release",          RELEASED),
    step("release voided",     Event("PaymentVoided"),              Inventory, "Release",          RELEASED),
    step("release refunded",   Event("PaymentRefunded"),            Inventory, "Release",          RELEASED),
    step("close",              Event("ReservationReleased"),        Orders,    "CompensationDone", CLOSED),
];

const RESERVED: &[&str] = &["ReservationMade", "StockReserved", "ReservationRefused"];
const AUTHORISED: &[&str] = &["PaymentAuthorised", "PaymentCaptured", "PaymentDeclined", "PaymentUnknown"];
const RESOLVED: &[&str] = &["PaymentAuthorised", "PaymentCaptured", "PaymentDeclined"];
const SHIPPED: &[&str] = &["OrderShipped", "OrderCancellationRefused"];
const CLOSED: &[&str] = &["OrderRejected", "OrderCancelled"];
const UNPAID: &[&str] = &["PaymentVoided", "PaymentVoidRequested", "PaymentRefundRequested"];
const VOIDED: &[&str] = &["PaymentVoided", "PaymentCaptured", "PaymentRefundRequested"];
const RELEASED: &[&str] = &["ReservationReleased", "StockReleased"];
const RELEASES: &[&str] = &["release declined", "release expired", "release voided", "release refunded"];

/// The events that no step reacts to, and why not.
#[rustfmt::skip]
pub static RESTS: &[(&str, Rest)] = &[
    ("OrderRejected",            End),
    ("OrderCancelled",           End),
    ("OrderDelivered",           End),
    ("ReservationCommitted",     End),
    ("PaymentCaptured",          End),
    ("ShipmentPrepared",         Person("the warehouse dispatches, or the customer cancels")),
    ("OrderShipped",             Person("the carrier delivers")),
    ("OrderCancellationRefused", Together("OrderShipped")),
    ("StockReserved",            Together("ReservationMade")),
    ("StockReleased",            Together("ReservationReleased")),
    ("StockShipped",             Together("ReservationCommitted")),
    ("SkuRegistered",            Book),
    ("StockReceived",            Book),
    ("StockAdjusted",            Book),
];

/// The events that a person causes, over HTTP: where the story is entered.
pub static DOORS: &[&str] =
    &["OrderPlaced", "OrderCancellationRequested", "ShipmentDispatched", "ShipmentDelivered"];

/// A command on an aggregate of the context that reacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    Order(OrderCommand),
    Reservation(ReservationCommand),
    Payment(PaymentCommand),
    Shipment(ShipmentCommand),
}

/// What a reaction may know besides the event.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Looked at only where a deadline is set ([`sets_deadlines`]).
    pub now: DateTime<Utc>,
    /// How long a payment may stay without an outcome.
    pub payment_deadline: TimeDelta,
}

/// What `context` does about `trigger`.
///
/// # Errors
/// [`ValueError`] when the event carries what no aggregate of ours would have written: park it.
pub fn react(context: Context, trigger: &Envelope, terms: &Terms) -> Result<Vec<Reaction>, ValueError> {
    match context {
        Context::Orders => orders::react(trigger, terms),
        Context::Inventory => inventory::react(trigger, terms),
        Context::Payments => payments::react(trigger, terms),
        Context::Shipping => shipping::react(trigger, terms),
    }
}

/// Whether [`react`] gives anything, be it an error; that does not depend on the terms.
pub fn reacts(context: Context, trigger: &Envelope) -> bool {
    let any = Terms { now: DateTime::UNIX_EPOCH, payment_deadline: TimeDelta::zero() };
    react(context, trigger, &any).map_or(true, |reactions| !reactions.is_empty())
}

/// Whether a step of the context waits for a deadline.
pub fn sets_deadlines(context: Context) -> bool {
    STORY.iter().any(|step| step.context == context && matches!(step.wait, Wait::Deadline(_)))
}

impl Reaction {
    /// The command's name, as the table has it.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Order(command) => orders::name(command),
            Self::Reservation(command) => inventory::name(command),
            Self::Payment(command) => payments::name(command),
            Self::Shipment(command) => shipping::name(command),
        }
    }

    /// The stream that decides.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Order(command) => orders::stream(command),
            Self::Reservation(command) => inventory::stream(command),
            Self::Payment(command) => payments::stream(command),
            Self::Shipment(command) => shipping::stream(command),
        }
    }
}
