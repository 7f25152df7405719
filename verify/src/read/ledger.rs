//! The payment provider's ledger, payment by payment.

use tokio_postgres::Row;
use verify_log::{Connections, Error, Keyed, Snapshot};

/// The owner of the ledger.
pub const PROVIDER: &str = "provider";

/// A payment in the ledger: its state, and the sums of its entries in minor units.
#[derive(Debug, Clone)]
pub struct LedgerPayment {
    pub state: String,
    pub currency: Option<String>,
    pub authorised: i64,
    pub captured: i64,
    pub voided: i64,
    pub refunded: i64,
}

/// All payments, by id.
pub struct Ledger {
    payments: Keyed<LedgerPayment>,
    /// Must live as long as its rows are read.
    _snapshot: Snapshot,
}

impl Ledger {
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn open(connections: &Connections) -> Result<Self, Error> {
        let snapshot = Snapshot::open(connections, PROVIDER).await?;
        let sum =
            |kind: &str| format!("coalesce(sum(l.amount_minor) FILTER (WHERE l.kind = '{kind}'), 0)::bigint");
        let sums = ["authorised", "captured", "voided", "refunded"].map(sum).join(", ");
        let sql = format!(
            "SELECT p.payment_id::text, p.state, p.currency, {sums}
               FROM {owner}.payments p LEFT JOIN {owner}.ledger_entries l USING (payment_id)
              GROUP BY p.payment_id ORDER BY p.payment_id",
            owner = snapshot.owner
        );
        Ok(Self { payments: Keyed::open(&snapshot, &sql, read).await?, _snapshot: snapshot })
    }

    /// The id of the next payment.
    pub fn peek(&self) -> Option<&str> {
        self.payments.peek()
    }

    /// The payment with this id, if it is the next one.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn take(&mut self, id: &str) -> Result<Option<LedgerPayment>, Error> {
        Ok(self.payments.take(id).await?.pop())
    }
}

fn read(row: &Row) -> (String, LedgerPayment) {
    let payment = LedgerPayment {
        state: row.get(1),
        currency: row.get(2),
        authorised: row.get(3),
        captured: row.get(4),
        voided: row.get(5),
        refunded: row.get(6),
    };
    (row.get(0), payment)
}
