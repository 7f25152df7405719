//! The steps of a payment and their ledger entries. Each step is one transaction that locks the payment's row, so that a
//! step is done once, and only one of two steps that exclude each other.
//!
//! Never: wait while a row is locked; delays and faults belong to `routes.rs`.

use std::collections::BTreeMap;

use deadpool_postgres::{Pool, PoolError, Transaction};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::behaviour::Decision;
use crate::payment::{Payment, PaymentState, Request};
use crate::webhooks::WebhookOutbox;

#[derive(Clone)]
pub struct Ledger {
    pool: Pool,
    /// None if webhooks are not configured.
    webhooks: Option<WebhookOutbox>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("payment {0} does not exist")]
    NotFound(Uuid),
    #[error("payment {} already exists with another customer, amount or currency", .0.payment_id)]
    IdReused(Payment),
    #[error("payment {} is {}; {step} requires {}", .payment.payment_id, .payment.state.name(), .required.name())]
    WrongState { payment: Payment, step: &'static str, required: PaymentState },
    #[error(transparent)]
    Database(#[from] PoolError),
}

/// The sums of a currency's entries. Held: authorised, and neither captured nor voided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    #[schema(value_type = u64)]
    pub authorised_minor: i128,
    #[schema(value_type = u64)]
    pub captured_minor: i128,
    #[schema(value_type = u64)]
    pub voided_minor: i128,
    #[schema(value_type = u64)]
    pub refunded_minor: i128,
    #[schema(value_type = u64)]
    pub held_minor: i128,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Books {
    pub currencies: BTreeMap<String, Totals>,
    /// How many entries of each kind.
    pub counts: BTreeMap<String, i64>,
}

const INSERT: &str =
    "INSERT INTO payments (payment_id, state, customer_id, amount_minor, currency, reference, decline_code)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (payment_id) DO NOTHING RETURNING *";
const INSERT_TOMBSTONE: &str = "INSERT INTO payments (payment_id, state) VALUES ($1, 'voided')
     ON CONFLICT (payment_id) DO NOTHING RETURNING *";
const LOCK: &str = "SELECT * FROM payments WHERE payment_id = $1 FOR UPDATE";
const MOVE: &str = "UPDATE payments SET state = $2, changed_at = now() WHERE payment_id = $1 RETURNING *";
const DECLINE_VOIDED: &str =
    "UPDATE payments SET state = 'declined', decline_code = 'voided', customer_id = $2,
     amount_minor = $3, currency = $4, reference = $5, changed_at = now() WHERE payment_id = $1 RETURNING *";
const ENTER: &str = "INSERT INTO ledger_entries (payment_id, kind, amount_minor, currency)
     SELECT payment_id, $2, amount_minor, currency FROM payments WHERE payment_id = $1";
const TOTALS: &str = "SELECT currency, kind, count(*) AS entries, sum(amount_minor)::text AS total
     FROM ledger_entries GROUP BY currency, kind";
const PAGE: &str = "SELECT * FROM payments WHERE payment_id > $1 ORDER BY payment_id LIMIT $2";

impl Ledger {
    pub fn new(pool: Pool, webhooks: Option<WebhookOutbox>) -> Self {
        Self { pool, webhooks }
    }

    /// Applies the decision once. A repeat returns the payment in its current state.
    ///
    /// # Errors
    /// When the id belongs to another request, or the database does not answer.
    pub async fn authorise(&self, request: &Request, decision: &Decision) -> Result<Payment, LedgerError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await.map_err(PoolError::from)?;
        let payment = match self.insert(&transaction, request, decision).await? {
            Some(inserted) => inserted,
            None => {
                let stored = lock(&transaction, request.payment_id).await?;
                if stored.customer_id.is_none() {
                    self.decline_voided(&transaction, request).await?
                } else if stored.is_for(request) {
                    stored
                } else {
                    return Err(LedgerError::IdReused(stored));
                }
            }
        };
        transaction.commit().await.map_err(PoolError::from)?;
        Ok(payment)
    }

    /// Takes the money that is held.
    ///
    /// # Errors
    /// When nothing is held under that id, or the database does not answer.
    pub async fn capture(&self, payment_id: Uuid) -> Result<Payment, LedgerError> {
        self.step("capture", payment_id, PaymentState::Authorised, PaymentState::Captured).await
    }

    /// Returns the money that was taken.
    ///
    /// # Errors
    /// When nothing was taken under that id, or the database does not answer.
    pub async fn refund(&self, payment_id: Uuid) -> Result<Payment, LedgerError> {
        self.step("refund", payment_id, PaymentState::Captured, PaymentState::Refunded).await
    }

    /// Releases the money that is held. An unknown payment is stored as voided, and a later authorisation is declined.
    ///
    /// # Errors
    /// When the money is captured, or the database does not answer.
    pub async fn void(&self, payment_id: Uuid) -> Result<Payment, LedgerError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await.map_err(PoolError::from)?;
        let tombstone = transaction.prepare_cached(INSERT_TOMBSTONE).await.map_err(PoolError::from)?;
        let inserted = transaction.query_opt(&tombstone, &[&payment_id]).await.map_err(PoolError::from)?;
        let payment = match inserted {
            Some(row) => Payment::from(&row),
            None => {
                let stored = lock(&transaction, payment_id).await?;
                match stored.state {
                    PaymentState::Authorised => {
                        self.advance(&transaction, payment_id, PaymentState::Voided).await?
                    }
                    PaymentState::Voided | PaymentState::Declined | PaymentState::Refunded => stored,
                    PaymentState::Captured => {
                        let required = PaymentState::Authorised;
                        return Err(LedgerError::WrongState { payment: stored, step: "void", required });
                    }
                }
            }
        };
        transaction.commit().await.map_err(PoolError::from)?;
        Ok(payment)
    }

    /// # Errors
    /// When the payment does not exist, or the database does not answer.
    pub async fn find(&self, payment_id: Uuid) -> Result<Payment, LedgerError> {
        let sql = "SELECT * FROM payments WHERE payment_id = $1";
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await.map_err(PoolError::from)?;
        let row = client.query_opt(&statement, &[&payment_id]).await.map_err(PoolError::from)?;
        row.as_ref().map(Payment::from).ok_or(LedgerError::NotFound(payment_id))
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn books(&self) -> Result<Books, PoolError> {
        let mut books = Books::default();
        for row in self.pool.get().await?.query(TOTALS, &[]).await? {
            let kind: String = row.get("kind");
            let total: i128 = row.get::<_, &str>("total").parse().expect("a sum of whole numbers");
            let totals = books.currencies.entry(row.get("currency")).or_default();
            match kind.as_str() {
                "authorised" => {
                    (totals.authorised_minor, totals.held_minor) = (total, totals.held_minor + total)
                }
                "captured" => (totals.captured_minor, totals.held_minor) = (total, totals.held_minor - total),
                "voided" => (totals.voided_minor, totals.held_minor) = (total, totals.held_minor - total),
                "refunded" => totals.refunded_minor = total,
                _ => {}
            }
            *books.counts.entry(kind).or_default() += row.get::<_, i64>("entries");
        }
        Ok(books)
    }

    /// The payments after `after`, ordered by id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn page(&self, after: Uuid, limit: i64) -> Result<Vec<Payment>, PoolError> {
        let rows = self.pool.get().await?.query(PAGE, &[&after, &limit]).await?;
        Ok(rows.iter().map(Payment::from).collect())
    }

    async fn step(
        &self,
        step: &'static str,
        payment_id: Uuid,
        from: PaymentState,
        to: PaymentState,
    ) -> Result<Payment, LedgerError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await.map_err(PoolError::from)?;
        let stored = lock(&transaction, payment_id).await?;
        if stored.state == to {
            return Ok(stored);
        }
        if stored.state != from {
            return Err(LedgerError::WrongState { payment: stored, step, required: from });
        }
        let moved = self.advance(&transaction, payment_id, to).await?;
        transaction.commit().await.map_err(PoolError::from)?;
        Ok(moved)
    }
}

/// The parts of a step, within its transaction.
impl Ledger {
    async fn insert(
        &self,
        transaction: &Transaction<'_>,
        request: &Request,
        decision: &Decision,
    ) -> Result<Option<Payment>, PoolError> {
        let (state, decline_code, entries) = match decision {
            Decision::Hold => (PaymentState::Authorised, None, vec![PaymentState::Authorised]),
            Decision::Capture => {
                (PaymentState::Captured, None, vec![PaymentState::Authorised, PaymentState::Captured])
            }
            Decision::Decline(code) => {
                (PaymentState::Declined, Some(code.as_str()), vec![PaymentState::Declined])
            }
        };
        let statement = transaction.prepare_cached(INSERT).await?;
        let (customer, currency) = (request.customer.as_str(), request.currency.as_str());
        let reference = request.reference();
        let row = transaction
            .query_opt(
                &statement,
                &[
                    &request.payment_id,
                    &state.name(),
                    &customer,
                    &request.amount.minor(),
                    &currency,
                    &reference,
                    &decline_code,
                ],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        for entry in entries {
            self.enter(transaction, request.payment_id, entry).await?;
        }
        Ok(Some(Payment::from(&row)))
    }

    async fn decline_voided(
        &self,
        transaction: &Transaction<'_>,
        request: &Request,
    ) -> Result<Payment, PoolError> {
        let statement = transaction.prepare_cached(DECLINE_VOIDED).await?;
        let (customer, currency) = (request.customer.as_str(), request.currency.as_str());
        let reference = request.reference();
        let row = transaction
            .query_one(
                &statement,
                &[&request.payment_id, &customer, &request.amount.minor(), &currency, &reference],
            )
            .await?;
        self.enter(transaction, request.payment_id, PaymentState::Declined).await?;
        Ok(Payment::from(&row))
    }

    /// Changes the payment's state and adds its ledger entry.
    async fn advance(
        &self,
        transaction: &Transaction<'_>,
        payment_id: Uuid,
        to: PaymentState,
    ) -> Result<Payment, PoolError> {
        let statement = transaction.prepare_cached(MOVE).await?;
        let row = transaction.query_one(&statement, &[&payment_id, &to.name()]).await?;
        self.enter(transaction, payment_id, to).await?;
        Ok(Payment::from(&row))
    }

    async fn enter(
        &self,
        transaction: &Transaction<'_>,
        payment_id: Uuid,
        kind: PaymentState,
    ) -> Result<(), PoolError> {
        let statement = transaction.prepare_cached(ENTER).await?;
        let enter = async { Ok(transaction.execute(&statement, &[&payment_id, &kind.name()]).await?) };
        let enqueue = async {
            match &self.webhooks {
                Some(webhooks) => webhooks.enqueue(transaction, payment_id, kind).await,
                None => Ok(()),
            }
        };
        // Pipelined on one connection: in this order, without waiting for the first.
        tokio::try_join!(biased; enter, enqueue)?;
        metrics::counter!("payment_provider_ledger_entries_total", "kind" => kind.name()).increment(1);
        Ok(())
    }
}

async fn lock(transaction: &Transaction<'_>, payment_id: Uuid) -> Result<Payment, LedgerError> {
    let statement = transaction.prepare_cached(LOCK).await.map_err(PoolError::from)?;
    let row = transaction.query_opt(&statement, &[&payment_id]).await.map_err(PoolError::from)?;
    row.as_ref().map(Payment::from).ok_or(LedgerError::NotFound(payment_id))
}
