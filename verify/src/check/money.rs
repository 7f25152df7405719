//! `money`: payment by payment, what our log says was held, taken and given back is what the provider's ledger says.
//!
//! The ledger is read after the log, so it may be ahead where the log has an open request. Where it is ahead of what was
//! requested, the payment's stream is read again: a request is always in the log before the provider receives it.

use events::{Context, Event, Money, PaymentEvent};
use tokio_postgres::Client;
use verify_log::{COLUMNS, Connections, Error, Line, Property, RawEvents, Violation};

use crate::LoggedEvent;
use crate::read::ledger::{Ledger, LedgerPayment};

pub static PROPERTY: Property = Property::new(
    "money",
    "payment by payment, what is held and what is captured less refunded is what the provider's own ledger says; nothing in the \
     ledger that the log never requested; the ledger agrees with itself; open requests are counted by what for",
);

/// From so many proven violations on, suspects are counted without reading their streams again.
const VIOLATIONS_PROVEN_MAX: u64 = 1_000;

/// Minor units that the provider holds for us, and that it took and did not give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Balance {
    held: i64,
    taken: i64,
}

/// What a payment's own events say.
#[derive(Debug, Clone, Default)]
struct PaymentState {
    money: Option<Money>,
    /// The balances that the ledger may have.
    allowed: Vec<Balance>,
    /// The request that is open.
    waiting_for: Option<&'static str>,
}

/// Checks payments against the ledger, one after another.
pub struct MoneyCheck {
    ledger: Ledger,
    events: RawEvents,
    /// Sees the log as it is now, not as of the snapshot.
    now: Client,
}

impl MoneyCheck {
    /// # Errors
    /// [`Error`] when a database cannot be reached.
    pub async fn open(connections: &Connections) -> Result<Self, Error> {
        let (context, partitions) = (Context::Payments, connections.topic_partitions);
        let ledger = Ledger::open(connections).await?;
        let now = connections.connect(context.name()).await?;
        Ok(Self { ledger, events: RawEvents { context: context.into(), partitions }, now })
    }

    /// The id of the next payment in the ledger.
    pub fn peek(&self) -> Option<&str> {
        self.ledger.peek()
    }

    /// Checks one payment. `log` is empty where only the ledger has it.
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn check(&mut self, id: &str, log: &[LoggedEvent], line: &mut Line) -> Result<(), Error> {
        let in_ledger = self.ledger.take(id).await?;
        if log.is_empty() && in_ledger.is_none() {
            return Ok(());
        }
        line.count("payments", u64::from(!log.is_empty()));
        line.count("payments in the ledger", u64::from(in_ledger.is_some()));
        let state = state(log.iter().filter_map(|logged| logged.fact.as_ref().ok()));
        count(line, &state, in_ledger.as_ref());
        let Some(violation) = disagreement(id, &state, in_ledger.as_ref()) else { return Ok(()) };
        let is_suspect = line.violations < VIOLATIONS_PROVEN_MAX;
        if is_suspect && self.is_explained(id, log.len(), in_ledger.as_ref()).await? {
            return Ok(());
        }
        line.add_violation(violation);
        Ok(())
    }

    /// Whether the log, as it is now, has requested what the ledger says: at some version after the snapshot's.
    async fn is_explained(
        &self,
        id: &str,
        versions: usize,
        in_ledger: Option<&LedgerPayment>,
    ) -> Result<bool, Error> {
        let sql = format!("SELECT {COLUMNS} FROM payments.events WHERE stream = $1 ORDER BY version");
        let rows = self.now.query(&sql, &[&format!("payment-{id}")]).await;
        let rows = rows.map_err(|cause| Error::database(Context::Payments.name(), cause))?;
        let facts: Vec<Option<Event>> = rows.iter().map(|row| self.events.read(row).decode().ok()).collect();
        Ok((versions + 1..=facts.len()).any(|version| {
            let state = state(facts.iter().take(version).flatten());
            disagreement(id, &state, in_ledger).is_none()
        }))
    }
}

fn balance(payment: &LedgerPayment) -> Balance {
    let held = payment.authorised.saturating_sub(payment.captured).saturating_sub(payment.voided);
    Balance { held, taken: payment.captured.saturating_sub(payment.refunded) }
}

/// Whether the state that the ledger shows is what its entries sum up to.
fn agrees_with_itself(payment: &LedgerPayment) -> bool {
    let nothing = Balance::default();
    match payment.state.as_str() {
        "authorised" => balance(payment) == Balance { held: payment.authorised, ..nothing },
        "captured" => balance(payment) == Balance { taken: payment.captured, ..nothing },
        _ => balance(payment) == nothing,
    }
}

fn state<'a>(facts: impl Iterator<Item = &'a Event>) -> PaymentState {
    let mut state = PaymentState { allowed: vec![Balance::default()], ..PaymentState::default() };
    for fact in facts {
        let Event::Payment(event) = fact else { continue };
        if let PaymentEvent::PaymentRequested(requested) = event {
            state.money = Some(requested.amount);
        }
        let amount = state.money.map_or(0, Money::amount_minor);
        let nothing = Balance::default();
        let held = Balance { held: amount, ..nothing };
        let taken = |taken| Balance { taken, ..nothing };
        (state.allowed, state.waiting_for) = match event {
            PaymentEvent::PaymentRequested(_) | PaymentEvent::PaymentUnknown(_) => {
                (vec![nothing, held, taken(amount)], Some("authorisation"))
            }
            PaymentEvent::PaymentExpired(_) | PaymentEvent::PaymentVoidRequested(_) => {
                (vec![nothing, held, taken(amount)], Some("void"))
            }
            PaymentEvent::PaymentCaptureRequested(_) => (vec![held, taken(amount)], Some("capture")),
            PaymentEvent::PaymentRefundRequested(_) => (vec![taken(amount), nothing], Some("refund")),
            PaymentEvent::PaymentAuthorised(_) => (vec![held], None),
            PaymentEvent::PaymentCaptured(event) => (vec![taken(event.amount.amount_minor())], None),
            PaymentEvent::PaymentWaived(_)
            | PaymentEvent::PaymentDeclined(_)
            | PaymentEvent::PaymentVoided(_)
            | PaymentEvent::PaymentRefunded(_) => (vec![nothing], None),
        };
    }
    state
}

fn count(line: &mut Line, state: &PaymentState, in_ledger: Option<&LedgerPayment>) {
    if let Some(request) = state.waiting_for {
        line.count(&format!("waiting for {request}"), 1);
    }
    let taken = in_ledger.map(|payment| (balance(payment).taken, payment.currency.as_deref()));
    if let Some((taken, Some(currency))) = taken
        && taken > 0
    {
        line.count(&format!("{currency} (minor) captured less refunded"), taken.unsigned_abs());
    }
}

fn disagreement(id: &str, state: &PaymentState, in_ledger: Option<&LedgerPayment>) -> Option<Violation> {
    let here = |what: &str| Violation::new(what).at("payment", id).in_context(Context::Payments);
    let shown = |balance: Balance| format!("held {}, captured less refunded {}", balance.held, balance.taken);
    let balance = in_ledger.map(balance).unwrap_or_default();
    let (in_log, of_ledger) =
        (state.money.map(Money::currency), in_ledger.and_then(|payment| payment.currency.clone()));
    if !state.allowed.contains(&balance) {
        let wanted: Vec<String> = state.allowed.iter().copied().map(shown).collect();
        let what = "the provider's ledger does not say what the log says";
        return Some(here(what).given(shown(balance)).wanted(wanted.join(", or ")));
    }
    if let Some(payment) = in_ledger.filter(|payment| !agrees_with_itself(payment)) {
        let violation = here("the provider's ledger contradicts itself").given(&payment.state);
        return Some(violation.wanted(format!("the state of {}", shown(balance))));
    }
    match (in_log, of_ledger) {
        (Some(in_log), Some(of_ledger)) if in_log.as_str() != of_ledger => {
            Some(here("the provider's ledger has another currency").given(of_ledger).wanted(in_log))
        }
        (None, Some(of_ledger)) => {
            Some(here("a payment in the provider's ledger that the log never requested").given(of_ledger))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::logged;

    const AMOUNT: i64 = 1440;

    /// What is found of a payment with these events, of which the ledger has authorised and captured so much.
    fn found(fixtures: &[&str], ledger: Option<(&str, i64, i64)>) -> Option<String> {
        let events: Vec<LoggedEvent> = (1..)
            .zip(fixtures)
            .map(|(version, fixture)| logged(Context::Payments, version, &format!("{fixture}.v1")))
            .collect();
        let state = state(events.iter().filter_map(|logged| logged.fact.as_ref().ok()));
        let in_ledger = ledger.map(|(state, authorised, captured)| LedgerPayment {
            state: state.to_owned(),
            currency: Some("GBP".to_owned()),
            authorised,
            captured,
            voided: 0,
            refunded: 0,
        });
        disagreement("1", &state, in_ledger.as_ref()).map(|violation| violation.what)
    }

    #[test]
    fn an_open_request_allows_the_balances_before_and_after_it() {
        let requested = ["PaymentRequested"];
        for ledger in [None, Some(("authorised", AMOUNT, 0)), Some(("captured", AMOUNT, AMOUNT))] {
            assert_eq!(found(&requested, ledger), None, "{ledger:?}");
        }
        let authorised = ["PaymentRequested", "PaymentAuthorised"];
        assert_eq!(found(&authorised, Some(("authorised", AMOUNT, 0))), None);
        let differs = Some("the provider's ledger does not say what the log says".to_owned());
        assert_eq!(found(&authorised, None), differs);
        assert_eq!(found(&authorised, Some(("captured", AMOUNT, AMOUNT))), differs);
    }

    #[test]
    fn a_ledger_that_contradicts_itself_or_has_what_was_never_requested_is_named() {
        let captured =
            ["PaymentRequested", "PaymentAuthorised", "PaymentCaptureRequested", "PaymentCaptured"];
        assert_eq!(found(&captured, Some(("captured", AMOUNT, AMOUNT))), None);
        let contradicts = found(&captured, Some(("authorised", AMOUNT, AMOUNT)));
        assert_eq!(contradicts.as_deref(), Some("the provider's ledger contradicts itself"));
        let never = found(&[], Some(("declined", 0, 0)));
        let what = "a payment in the provider's ledger that the log never requested";
        assert_eq!(never.as_deref(), Some(what));
    }
}
