//! Order by order: in one terminal state, or waiting for something that will come.
//!
//! What a consumer has handled must have had its effect: effect and checkpoint are one transaction, and the checkpoints
//! were read before the logs. So a step that is missing although its trigger lies behind the checkpoint will never come.
//! Never: a wait taken for an error because it is long, other than past a deadline that is written down.
//! Read next: `story.rs`, `answers.rs`.

use chrono::{DateTime, TimeDelta, Utc};
use events::{Context, Event, OrderEvent, PaymentEvent};

use crate::Error;
use crate::database::{Keyed, Snapshot};
use crate::orders::Case;
use crate::reach::{Consumer, Reach};
use crate::report::{Offence, Property, Report};
use crate::story::Story;
use crate::streams::Told;

const TERMINAL: [&str; 3] = ["OrderRejected", "OrderCancelled", "OrderDelivered"];
const RESERVATION: &[&str] =
    &["ReservationMade", "ReservationRefused", "ReservationReleased", "ReservationCommitted"];
const PAYMENT: &[&str] = &["PaymentRequested", "PaymentWaived", "PaymentVoided"];
const SHIPMENT: &[&str] = &["ShipmentPrepared"];
const CONFIRMED: &[&str] =
    &["OrderConfirmed", "OrderCancellationRequested", "OrderCancelled", "OrderRejected"];
const UNDONE: &[&str] = &[
    "PaymentVoidRequested",
    "PaymentVoided",
    "PaymentRefundRequested",
    "PaymentRefunded",
    "PaymentDeclined",
];
const RELEASED: &[&str] = &["ReservationReleased", "ReservationRefused"];
const CLOSED: &[&str] = &["OrderRejected", "OrderCancelled"];
const STOPPED: &[&str] = &["ShipmentCancelled", "ShipmentDispatched"];
const CAPTURED: &[&str] = &["PaymentCaptureRequested", "PaymentCaptured", "PaymentWaived"];

/// What must be there once `context` has handled the event: any of these.
#[rustfmt::skip]
const EFFECTS: &[(&str, Context, &[&str])] = &[
    ("OrderPlaced",        Context::Inventory, RESERVATION),
    ("ReservationMade",    Context::Payments,  PAYMENT),
    ("PaymentAuthorised",  Context::Orders,    CONFIRMED),
    ("PaymentWaived",      Context::Orders,    CONFIRMED),
    ("OrderConfirmed",     Context::Shipping,  SHIPMENT),
    ("ShipmentDispatched", Context::Orders,    &["OrderShipped"]),
    ("ShipmentDispatched", Context::Inventory, &["ReservationCommitted"]),
    ("ShipmentDispatched", Context::Payments,  CAPTURED),
    ("ShipmentDelivered",  Context::Orders,    &["OrderDelivered"]),
    ("ReservationRefused", Context::Orders,    CLOSED),
    ("ShipmentCancelled",  Context::Payments,  UNDONE),
    ("PaymentDeclined",    Context::Inventory, RELEASED),
    ("PaymentExpired",     Context::Inventory, RELEASED),
    ("PaymentVoided",      Context::Inventory, RELEASED),
    ("PaymentRefunded",    Context::Inventory, RELEASED),
    ("ReservationReleased", Context::Orders,   CLOSED),
];

/// The payment's events that ask the provider something, and those that end the question.
const ASKS: [&str; 5] = [
    "PaymentRequested",
    "PaymentUnknown",
    "PaymentCaptureRequested",
    "PaymentVoidRequested",
    "PaymentRefundRequested",
];

/// Looks at the processes of all orders, one after another.
pub struct Processes {
    /// The reactors, in the order of [`Context::ALL`].
    reactors: [Consumer; 4],
    gateway: Consumer,
    /// When the next deadline of each payment is due, by the order's id.
    deadlines: Keyed<DateTime<Utc>>,
    now: DateTime<Utc>,
    grace: TimeDelta,
}

impl Processes {
    /// `reactors`: what each context's consumers had handled before the logs were read, in the order of
    /// [`Context::ALL`]; `payments`: a connection to the snapshot of the payments' log.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(reactors: &[Reach], payments: &Snapshot, grace: TimeDelta) -> Result<Self, Error> {
        let of = |context: Context, consumer: &str| {
            reactors.get(crate::engines::index(context)).map(|reach| reach.of(consumer)).unwrap_or_default()
        };
        let now = payments.query("SELECT clock_timestamp()", &[]).await?;
        let stream = payments.as_bytes("stream");
        let sql = format!(
            "SELECT substr(stream, 9), min(due_at) FROM payments.deadlines WHERE {stream} >= 'payment-' AND {stream} < 'payment.'
              GROUP BY stream ORDER BY {stream}"
        );
        Ok(Self {
            reactors: Context::ALL.map(|context| of(context, &format!("sagas.{context}"))),
            gateway: of(Context::Payments, "sagas.payment-gateway"),
            deadlines: Keyed::open(payments, &sql, |row| (row.get(0), row.get(1))).await?,
            now: now.first().map_or(DateTime::UNIX_EPOCH, |row| row.get(0)),
            grace,
        })
    }

    pub fn peek(&self) -> Option<&str> {
        self.deadlines.peek()
    }

    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn look_at(&mut self, case: &Case, report: &mut Report) -> Result<(), Error> {
        let due_at = self.deadlines.take(&case.id).await?.pop();
        let [orders, _, payments, _] = &case.logs;
        let mut story = Story::default();
        case.logs.iter().flatten().for_each(|told| story.hear(&told.event.event_type));
        count(orders, &story, report);
        let wrong = [
            two_ends(orders),
            self.missing_effect(case, &story),
            self.nobody_asks(payments, due_at),
            self.past_its_deadline(payments, due_at),
        ];
        for offence in wrong.into_iter().flatten() {
            report.line(Property::Processes).offend(offence.at("order", &case.id));
        }
        Ok(())
    }

    fn missing_effect(&self, case: &Case, story: &Story<'_>) -> Option<Offence> {
        for (context, log) in Context::ALL.into_iter().zip(&case.logs) {
            for told in log {
                let missing = effects(told).find(|(by, effects)| {
                    handled(&self.reactors[crate::engines::index(*by)], context, told)
                        && !story.has_any(effects)
                });
                if let Some((by, effects)) = missing {
                    let what =
                        format!("sagas.{by} has handled {} and nothing came of it", told.event.event_type);
                    let offence =
                        told.event.accuse(context, Offence::new(what)).at("partition", told.partition);
                    return Some(offence.given("none").wanted(effects.join(" or ")));
                }
            }
        }
        None
    }

    /// A question to the provider is asked by the gateway, or waits in a deadline.
    fn nobody_asks(&self, payments: &[Told], due_at: Option<DateTime<Utc>>) -> Option<Offence> {
        let last = payments.last()?;
        let is_open = ASKS.contains(&last.event.event_type.as_str()) && due_at.is_none();
        (is_open && handled(&self.gateway, Context::Payments, last)).then(|| {
            let what = format!(
                "nobody will ask the provider: {} is open, without a deadline",
                last.event.event_type
            );
            last.event.accuse(Context::Payments, Offence::new(what))
        })
    }

    fn past_its_deadline(&self, payments: &[Told], due_at: Option<DateTime<Utc>>) -> Option<Offence> {
        let awaited = payments
            .last()
            .filter(|last| matches!(last.event.event_type.as_str(), "PaymentRequested" | "PaymentUnknown"));
        let expires_at = awaited.and_then(|_| payments.iter().find_map(expiry));
        let (what, at) =
            [("a deadline that is long past", due_at), ("a payment that is long past its limit", expires_at)]
                .into_iter()
                .find_map(|(what, at)| at.filter(|at| *at + self.grace < self.now).map(|at| (what, at)))?;
        let grace = self.grace.num_seconds();
        Some(Offence::new(what).given(at).wanted(format!("not before {} less {grace} s", self.now)))
    }
}

fn expiry(told: &Told) -> Option<DateTime<Utc>> {
    match &told.fact {
        Some(Event::Payment(PaymentEvent::PaymentRequested(requested))) => Some(requested.expires_at),
        _ => None,
    }
}

fn handled(consumer: &Consumer, context: Context, told: &Told) -> bool {
    consumer.has_handled(context, told.partition, &told.event.stream, told.event.position)
}

/// Who reacts to the event, and what comes of it.
fn effects(told: &Told) -> impl Iterator<Item = (Context, &'static [&'static str])> {
    let cancellation = match &told.fact {
        Some(Event::Order(OrderEvent::OrderCancellationRequested(asked))) if asked.was_confirmed => {
            Some((Context::Shipping, STOPPED))
        }
        Some(Event::Order(OrderEvent::OrderCancellationRequested(_))) => Some((Context::Payments, UNDONE)),
        _ => None,
    };
    let of_the_table = EFFECTS.iter().filter(|(trigger, ..)| *trigger == told.event.event_type);
    of_the_table.map(|(_, by, effects)| (*by, *effects)).chain(cancellation)
}

fn two_ends(orders: &[Told]) -> Option<Offence> {
    let mut ends = orders.iter().filter(|told| TERMINAL.contains(&told.event.event_type.as_str()));
    let (first, second) = (ends.next()?, ends.next());
    if let Some(second) = second {
        let offence = second.event.accuse(Context::Orders, Offence::new("an order in two terminal states"));
        let given = format!("{} and {}", first.event.event_type, second.event.event_type);
        return Some(offence.given(given).wanted("one"));
    }
    let last = orders.last().filter(|last| last.event.version != first.event.version)?;
    let offence = last.event.accuse(Context::Orders, Offence::new("an order that goes on after its end"));
    Some(offence.given(&last.event.event_type).wanted(&first.event.event_type))
}

fn count(orders: &[Told], story: &Story<'_>, report: &mut Report) {
    let line = report.line(Property::Processes);
    if orders.is_empty() {
        return; // placed after the orders' log was read
    }
    let stand = story.stand();
    line.count("orders", 1);
    match (stand.outcome, stand.waiting_for) {
        (Some(outcome), None) => line.count(outcome, 1),
        (_, Some(step)) => line.count(&format!("waiting for {}", step.name), 1),
        (None, None) => line.count("done", 1),
    }
}
