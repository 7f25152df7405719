//! Payment by payment: what our log says was held, taken and given back, beside the provider's own ledger.
//!
//! The ledger is read after the log: it may be ahead where our log has asked a question that is not answered yet
//! ("waiting", counted by what for). Where it is ahead of what was asked, the payment's stream is read once more: the
//! question is always in the log before the provider hears it. Never: a sum alone; each payment has to agree.
//! Read next: `process.rs`.

use events::{Context, Event, Money, PaymentEvent};
use tokio_postgres::{Client, Row};

use crate::Error;
use crate::database::{Keyed, Snapshot};
use crate::engines::Engines;
use crate::log::{COLUMNS, Event as LogEvent};
use crate::report::{Line, Offence, Property, Report};
use crate::streams::Told;

/// From so many proven offenders on, suspects are counted without another look.
const OFFENDERS_PROVEN_MAX: u64 = 1_000;

/// A payment in the provider's ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    state: String,
    currency: Option<String>,
    authorised: i64,
    captured: i64,
    voided: i64,
    refunded: i64,
}

/// Minor units that the provider holds for us, and that it took and did not give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Balance {
    held: i64,
    taken: i64,
}

/// Where a payment stands by its own events.
#[derive(Debug, Clone, Default)]
struct Standing {
    money: Option<Money>,
    /// What the ledger may say.
    allowed: Vec<Balance>,
    /// The question that is open.
    waiting_for: Option<&'static str>,
}

/// Holds payments against the ledger, one after another.
pub struct Books {
    rows: Keyed<Entry>,
    /// Lives as long as its rows are read.
    _ledger: Snapshot,
    /// Sees the log as it is now, not as of the snapshot.
    now: Client,
}

impl Books {
    /// # Errors
    /// [`Error`] when a database is not to be reached.
    pub async fn open(engines: &Engines, ledger: Snapshot) -> Result<Self, Error> {
        let sum =
            |kind: &str| format!("coalesce(sum(l.amount_minor) FILTER (WHERE l.kind = '{kind}'), 0)::bigint");
        let sums = ["authorised", "captured", "voided", "refunded"].map(sum).join(", ");
        let sql = format!(
            "SELECT p.payment_id::text, p.state, p.currency, {sums}
               FROM {owner}.payments p LEFT JOIN {owner}.ledger_entries l USING (payment_id)
              GROUP BY p.payment_id ORDER BY p.payment_id",
            owner = ledger.owner
        );
        let rows = Keyed::open(&ledger, &sql, read).await?;
        Ok(Self { rows, _ledger: ledger, now: engines.connect(Context::Payments.name()).await? })
    }

    pub fn peek(&self) -> Option<&str> {
        self.rows.peek()
    }

    /// Holds one payment against the ledger; `log` is empty where only the ledger knows it.
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn hold(&mut self, id: &str, log: &[Told], report: &mut Report) -> Result<(), Error> {
        let entry = self.rows.take(id).await?.pop();
        if log.is_empty() && entry.is_none() {
            return Ok(());
        }
        let line = report.line(Property::Money);
        line.count("payments", u64::from(!log.is_empty()));
        line.count("payments in the ledger", u64::from(entry.is_some()));
        let standing = standing(log.iter().filter_map(|told| told.fact.as_ref()));
        count(line, &standing, entry.as_ref());
        let Some(offence) = disagreement(id, &standing, entry.as_ref()) else { return Ok(()) };
        if line.violations < OFFENDERS_PROVEN_MAX && self.is_explained(id, log.len(), entry.as_ref()).await? {
            return Ok(());
        }
        report.line(Property::Money).offend(offence);
        Ok(())
    }

    /// Whether the log, as it is now, has asked for what the ledger says: at the snapshot's version or at a later one.
    async fn is_explained(&self, id: &str, versions: usize, entry: Option<&Entry>) -> Result<bool, Error> {
        let sql = format!("SELECT {COLUMNS} FROM payments.events WHERE stream = $1 ORDER BY version");
        let rows = self.now.query(&sql, &[&format!("payment-{id}")]).await;
        let rows = rows.map_err(|cause| Error::database(Context::Payments.name(), cause))?;
        let facts: Vec<Option<Event>> =
            rows.iter().map(|row| LogEvent::read(row).decode(Context::Payments).ok()).collect();
        Ok((versions + 1..=facts.len()).any(|version| {
            let standing = standing(facts.iter().take(version).flatten());
            disagreement(id, &standing, entry).is_none()
        }))
    }
}

fn read(row: &Row) -> (String, Entry) {
    let entry = Entry {
        state: row.get(1),
        currency: row.get(2),
        authorised: row.get(3),
        captured: row.get(4),
        voided: row.get(5),
        refunded: row.get(6),
    };
    (row.get(0), entry)
}

impl Entry {
    fn balance(&self) -> Balance {
        let held = self.authorised.saturating_sub(self.captured).saturating_sub(self.voided);
        Balance { held, taken: self.captured.saturating_sub(self.refunded) }
    }

    /// Whether the state that the provider shows is what its entries sum up to.
    fn agrees_with_itself(&self) -> bool {
        let nothing = Balance::default();
        match self.state.as_str() {
            "authorised" => self.balance() == Balance { held: self.authorised, ..nothing },
            "captured" => self.balance() == Balance { taken: self.captured, ..nothing },
            _ => self.balance() == nothing,
        }
    }
}

fn standing<'a>(facts: impl Iterator<Item = &'a Event>) -> Standing {
    let mut standing = Standing { allowed: vec![Balance::default()], ..Standing::default() };
    for fact in facts {
        let Event::Payment(event) = fact else { continue };
        if let PaymentEvent::PaymentRequested(requested) = event {
            standing.money = Some(requested.amount);
        }
        let amount = standing.money.map_or(0, Money::amount_minor);
        let nothing = Balance::default();
        let held = Balance { held: amount, ..nothing };
        let taken = |taken| Balance { taken, ..nothing };
        (standing.allowed, standing.waiting_for) = match event {
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
    standing
}

fn count(line: &mut Line, standing: &Standing, entry: Option<&Entry>) {
    if let Some(question) = standing.waiting_for {
        line.count(&format!("waiting for {question}"), 1);
    }
    let taken = entry.map(|entry| (entry.balance().taken, entry.currency.as_deref()));
    if let Some((taken, Some(currency))) = taken
        && taken > 0
    {
        line.count(&format!("{currency} (minor) captured less refunded"), taken.unsigned_abs());
    }
}

fn disagreement(id: &str, standing: &Standing, entry: Option<&Entry>) -> Option<Offence> {
    let here = |what: &str| Offence::new(what).at("payment", id).in_context(Context::Payments);
    let told = |balance: Balance| format!("held {}, captured less refunded {}", balance.held, balance.taken);
    let balance = entry.map(Entry::balance).unwrap_or_default();
    let (ours, theirs) =
        (standing.money.map(Money::currency), entry.and_then(|entry| entry.currency.clone()));
    if !standing.allowed.contains(&balance) {
        let wanted: Vec<String> = standing.allowed.iter().copied().map(told).collect();
        let what = "the provider's ledger does not say what the log says";
        return Some(here(what).given(told(balance)).wanted(wanted.join(", or ")));
    }
    if let Some(entry) = entry.filter(|entry| !entry.agrees_with_itself()) {
        let offence = here("the provider's ledger contradicts itself").given(&entry.state);
        return Some(offence.wanted(format!("the state of {}", told(balance))));
    }
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.as_str() != theirs => {
            Some(here("the provider's ledger has another currency").given(theirs).wanted(ours))
        }
        (None, Some(theirs)) => {
            Some(here("a payment in the provider's ledger that the log never asked for").given(theirs))
        }
        _ => None,
    }
}
