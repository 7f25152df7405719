//! `processes`: each order is in one terminal state, or waits for something that will come.
//!
//! An effect and the checkpoint of the consumer that caused it are one transaction, and the checkpoints were read before the
//! logs. So an effect that is missing although the checkpoint has passed its trigger will never come. A wait is a violation
//! only when it is past a recorded deadline.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::{Context, Event, OrderEvent, PaymentEvent};
use verify_log::{Consumer, Error, Keyed, Line, Property, Snapshot, Snapshots, Violation};

use crate::LoggedEvent;
use crate::fold::order_process::{
    CANCEL_CONFIRMED, CANCEL_UNCONFIRMED, EFFECTS, Effect, Happened, OUTCOMES, PROVIDER_REQUESTS,
};
use crate::read::orders::Order;

pub static PROPERTY: Property = Property::new(
    "processes",
    "each order is in one terminal state and still after it, or waiting, counted by what for; an event that a saga's checkpoint \
     has passed has had its effect; every open request to the provider has a deadline or is still ahead of the gateway; no \
     deadline is past by more than `--grace-seconds`",
);

/// Checks the processes of all orders, one after another.
pub struct ProcessCheck {
    /// What the reactor of each context had handled before the logs were read.
    reactors: BTreeMap<Context, Consumer>,
    gateway: Consumer,
    /// When the next deadline of each payment is due, by the order's id.
    deadlines: Keyed<DateTime<Utc>>,
    now: DateTime<Utc>,
    grace: TimeDelta,
}

impl ProcessCheck {
    /// `payments`: a connection to the snapshot of the payments' log.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(snapshots: &Snapshots, payments: &Snapshot, grace: TimeDelta) -> Result<Self, Error> {
        let now = payments.query("SELECT clock_timestamp()", &[]).await?;
        let stream = payments.as_bytes("stream");
        let sql = format!(
            "SELECT substr(stream, 9), min(due_at) FROM payments.deadlines WHERE {stream} >= 'payment-' AND {stream} < 'payment.'
              GROUP BY stream ORDER BY {stream}"
        );
        let reactor =
            |context: Context| (context, snapshots.reactors(context).of(&format!("sagas.{context}")));
        Ok(Self {
            reactors: Context::ALL.into_iter().map(reactor).collect(),
            gateway: snapshots.reactors(Context::Payments).of("sagas.payment-gateway"),
            deadlines: Keyed::open(payments, &sql, |row| (row.get(0), row.get(1))).await?,
            now: now.first().map_or(DateTime::UNIX_EPOCH, |row| row.get(0)),
            grace,
        })
    }

    /// The id of the next order with a deadline.
    pub fn peek(&self) -> Option<&str> {
        self.deadlines.peek()
    }

    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn check(&mut self, order: &Order, line: &mut Line) -> Result<(), Error> {
        let due_at = self.deadlines.take(&order.id).await?.pop();
        let (orders, payments) = (order.log(Context::Orders), order.log(Context::Payments));
        let mut happened = Happened::default();
        order.events().for_each(|logged| happened.add(&logged.event.event_type));
        if !orders.is_empty() {
            // Without events it was placed after the log of the orders was read.
            count(&happened, line);
        }
        let found = [
            second_end(orders),
            self.missing_effect(order, &happened),
            self.unscheduled_request(payments, due_at),
            self.past_deadline(payments, due_at),
        ];
        for violation in found.into_iter().flatten() {
            line.add_violation(violation.at("order", &order.id));
        }
        Ok(())
    }

    fn missing_effect(&self, order: &Order, happened: &Happened<'_>) -> Option<Violation> {
        order.events().find_map(|logged| {
            let is_missing = |effect: &&Effect| {
                let reactor = self.reactors.get(&effect.context);
                reactor.is_some_and(|reactor| has_handled(reactor, logged))
                    && !happened.has_any(effect.effects)
            };
            let Effect { step, context, effects, .. } = effects(logged).find(is_missing)?;
            let event = &logged.event;
            let what =
                format!("sagas.{context} has handled {} without any effect of its step", event.event_type);
            let violation = event.violation(what).at("step", step).at("partition", event.partition);
            Some(violation.given("none").wanted(effects.join(" or ")))
        })
    }

    /// An open request to the provider is ahead of the gateway, or has a deadline at which it is repeated.
    fn unscheduled_request(
        &self,
        payments: &[LoggedEvent],
        due_at: Option<DateTime<Utc>>,
    ) -> Option<Violation> {
        let last = payments.last()?;
        let event_type = last.event.event_type.as_str();
        let is_open = PROVIDER_REQUESTS.contains(&event_type) && due_at.is_none();
        (is_open && has_handled(&self.gateway, last)).then(|| {
            let what =
                format!("no request to the provider is scheduled: {event_type} is open, without a deadline");
            last.event.violation(what)
        })
    }

    fn past_deadline(&self, payments: &[LoggedEvent], due_at: Option<DateTime<Utc>>) -> Option<Violation> {
        let awaited = payments
            .last()
            .filter(|last| matches!(last.event.event_type.as_str(), "PaymentRequested" | "PaymentUnknown"));
        let expires_at = awaited.and_then(|_| payments.iter().find_map(expiry));
        let (what, at) =
            [("a deadline that is long past", due_at), ("a payment that is long past its limit", expires_at)]
                .into_iter()
                .find_map(|(what, at)| at.filter(|at| *at + self.grace < self.now).map(|at| (what, at)))?;
        let grace = self.grace.num_seconds();
        Some(Violation::new(what).given(at).wanted(format!("not before {} less {grace} s", self.now)))
    }
}

fn expiry(logged: &LoggedEvent) -> Option<DateTime<Utc>> {
    match &logged.fact {
        Ok(Event::Payment(PaymentEvent::PaymentRequested(requested))) => Some(requested.expires_at),
        _ => None,
    }
}

fn has_handled(consumer: &Consumer, LoggedEvent { event, .. }: &LoggedEvent) -> bool {
    consumer.has_handled(event.context, event.partition, &event.stream, event.position)
}

/// What must follow from the event.
fn effects(logged: &LoggedEvent) -> impl Iterator<Item = &'static Effect> {
    let cancellation = match &logged.fact {
        Ok(Event::Order(OrderEvent::OrderCancellationRequested(requested))) => {
            Some(if requested.was_confirmed { &CANCEL_CONFIRMED } else { &CANCEL_UNCONFIRMED })
        }
        _ => None,
    };
    EFFECTS.iter().filter(|effect| effect.trigger == logged.event.event_type).chain(cancellation)
}

fn second_end(orders: &[LoggedEvent]) -> Option<Violation> {
    let is_end = |logged: &&LoggedEvent| OUTCOMES.iter().any(|(end, _)| *end == logged.event.event_type);
    let mut ends = orders.iter().filter(is_end).map(|logged| &logged.event);
    let (first, second) = (ends.next()?, ends.next());
    if let Some(second) = second {
        let given = format!("{} and {}", first.event_type, second.event_type);
        return Some(second.violation("an order in two terminal states").given(given).wanted("one"));
    }
    let last = orders.last().map(|logged| &logged.event).filter(|last| last.version != first.version)?;
    let violation = last.violation("an order with an event after its end");
    Some(violation.given(&last.event_type).wanted(&first.event_type))
}

fn count(happened: &Happened<'_>, line: &mut Line) {
    let status = happened.status();
    line.count("orders", 1);
    match (status.outcome, status.waiting_for) {
        (Some(outcome), None) => line.count(outcome, 1),
        (_, Some(step)) => line.count(&format!("waiting for {}", step.name), 1),
        (None, None) => line.count("done", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::logged;

    fn orders(fixtures: &[&str]) -> Vec<LoggedEvent> {
        (1..).zip(fixtures).map(|(version, fixture)| logged(Context::Orders, version, fixture)).collect()
    }

    #[test]
    fn an_order_has_one_end_and_nothing_after_it() {
        let found = |fixtures: &[&str]| second_end(&orders(fixtures)).map(|violation| violation.what);
        assert_eq!(found(&["OrderPlaced.v1", "OrderRejected.v1"]), None);
        let two = found(&["OrderPlaced.v1", "OrderRejected.v1", "OrderCancelled.v1"]);
        assert_eq!(two.as_deref(), Some("an order in two terminal states"));
        let after = found(&["OrderPlaced.v1", "OrderRejected.v1", "OrderConfirmed.v1"]);
        assert_eq!(after.as_deref(), Some("an order with an event after its end"));
    }

    #[test]
    fn what_must_follow_from_a_cancellation_depends_on_whether_the_order_was_confirmed() {
        let steps = |logged: &LoggedEvent| effects(logged).map(|effect| effect.step).collect::<Vec<_>>();
        let requested = logged(Context::Orders, 2, "OrderCancellationRequested.v1");
        let confirmed = match &requested.fact {
            Ok(Event::Order(OrderEvent::OrderCancellationRequested(event))) => event.was_confirmed,
            other => panic!("{other:?}"),
        };
        let wanted = if confirmed { "cancel confirmed" } else { "cancel unconfirmed" };
        assert_eq!(steps(&requested), [wanted]);
        assert_eq!(steps(&logged(Context::Orders, 1, "OrderPlaced.v1")), ["reserve stock"]);
    }
}
