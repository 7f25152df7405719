//! Tells a URL what happened to a payment, as an acquirer does: signed, again until it is acknowledged, and, when told
//! so, late, several times, or out of order.
//!
//! Never: a webhook of an entry that is not in the ledger; both are one transaction. Read next: `ledger.rs`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use deadpool_postgres::{Pool, PoolError, Transaction};
use futures::{StreamExt, stream};
use runtime::Secret;
use runtime::signature::{SIGNATURE, sign};
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::behaviour::Behaviour;
use crate::payment::PaymentState;

const DUE_MAX: i64 = 64;
const AT_ONCE_MAX: usize = 8;
const PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);
/// With the pauses between them these are about two hours; then somebody has to ask.
const ATTEMPTS_MAX: i32 = 16;

#[derive(clap::Args, Clone, Debug)]
pub struct Webhooks {
    /// Where webhooks are sent; none are without it
    #[arg(long = "webhook-url", env = "PAYMENT_PROVIDER_WEBHOOK_URL", requires = "secret")]
    pub url: Option<String>,

    /// What webhooks are signed with; the receiver has the same
    #[arg(id = "secret", long = "webhook-secret", env = "PAYMENT_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
}

/// Notes in the ledger's transaction what is to be told.
#[derive(Clone)]
pub struct Announcer {
    /// For whoever has no rule, while the database has no default.
    configured: Behaviour,
}

/// A rule of the customer, or the default of the database, or what was configured. Every other entry of a payment is
/// the one that comes late when disorder is asked for: the first, the third.
const ANNOUNCE: &str = "WITH told AS (
         SELECT webhook_copies, webhook_delay_ms, webhook_disorder FROM (
             SELECT customer_id, webhook_copies, webhook_delay_ms, webhook_disorder, 0 AS rank FROM behaviours
             WHERE customer_id = (SELECT customer_id FROM payments WHERE payment_id = $1) OR customer_id IS NULL
             UNION ALL SELECT NULL, $3, $4, $5, 1
         ) known ORDER BY rank, customer_id NULLS LAST LIMIT 1
     )
     INSERT INTO webhooks (payment_id, state, due_at, copies)
     SELECT $1, $2, clock_timestamp() + webhook_delay_ms * interval '1 ms'
         + CASE WHEN webhook_disorder AND (SELECT count(*) % 2 FROM ledger_entries WHERE payment_id = $1) = 1
                THEN interval '2 s' ELSE interval '0' END,
         webhook_copies
     FROM told WHERE webhook_copies > 0";

impl Announcer {
    pub fn new(configured: Behaviour) -> Self {
        Self { configured }
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn announce(
        &self,
        transaction: &Transaction<'_>,
        payment_id: Uuid,
        state: PaymentState,
    ) -> Result<(), PoolError> {
        let number = |bounded: u32| i32::try_from(bounded).expect("every number of a behaviour is bounded");
        let copies = number(self.configured.webhook_copies.get());
        let delay_ms = number(self.configured.webhook_delay_ms.get());
        let disorder = self.configured.webhook_disorder;
        let statement = transaction.prepare_cached(ANNOUNCE).await?;
        transaction.execute(&statement, &[&payment_id, &state.name(), &copies, &delay_ms, &disorder]).await?;
        Ok(())
    }
}

/// Sends what is due.
pub struct Sender {
    pool: Pool,
    http: reqwest::Client,
    url: String,
    secret: Secret,
}

struct Due {
    event_id: Uuid,
    payment_id: Uuid,
    state: String,
    happened_at: DateTime<Utc>,
    attempts: i32,
}

const DUE: &str = "SELECT event_id, payment_id, state, happened_at, attempts FROM webhooks
     WHERE due_at <= clock_timestamp() ORDER BY due_at, event_id LIMIT $1";
const COPIES_SENT: &str = "WITH last AS (DELETE FROM webhooks WHERE event_id = ANY($1) AND copies = 1)
     UPDATE webhooks SET copies = copies - 1 WHERE event_id = ANY($1) AND copies > 1";
const AGAIN: &str = "UPDATE webhooks SET attempts = attempts + 1,
     due_at = clock_timestamp() + least(1800, power(2, attempts)) * interval '500 ms' WHERE event_id = $1";
const GIVE_UP: &str = "DELETE FROM webhooks WHERE event_id = $1";

impl Sender {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(pool: Pool, url: String, secret: Secret) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { pool, http, url, secret })
    }

    /// Sends until `shutdown`. A webhook that is not acknowledged is sent again, later each time.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let sent = self.send_due().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "webhooks wait for the database");
                0
            });
            if sent == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    async fn send_due(&self) -> Result<usize, PoolError> {
        let due: Vec<Due> = {
            let client = self.pool.get().await?;
            let statement = client.prepare_cached(DUE).await?;
            client.query(&statement, &[&DUE_MAX]).await?.iter().map(Due::from).collect()
        };
        let count = due.len();
        let sending = due.into_iter().map(|webhook| self.send(webhook));
        let outcomes: Vec<_> = stream::iter(sending).buffer_unordered(AT_ONCE_MAX).collect().await;
        // Also when another one could not be written down: what was acknowledged is not sent again for that.
        let acknowledged: Vec<Uuid> = outcomes.iter().filter_map(|outcome| *outcome.as_ref().ok()?).collect();
        if !acknowledged.is_empty() {
            self.write_down(COPIES_SENT, &acknowledged).await?;
        }
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(count)
    }

    /// The webhook's id when it was acknowledged, which its caller writes down with the others'.
    async fn send(&self, webhook: Due) -> Result<Option<Uuid>, PoolError> {
        let (outcome, statement) = match self.post(&webhook).await {
            Ok(()) => ("acknowledged", None),
            Err(why) if webhook.attempts + 1 >= ATTEMPTS_MAX => {
                tracing::error!(payment_id = %webhook.payment_id, why, "a webhook was given up");
                ("given_up", Some(GIVE_UP))
            }
            Err(why) => {
                tracing::debug!(payment_id = %webhook.payment_id, why, "a webhook is sent again later");
                ("not_acknowledged", Some(AGAIN))
            }
        };
        metrics::counter!("payment_provider_webhooks_total", "outcome" => outcome).increment(1);
        let Some(statement) = statement else { return Ok(Some(webhook.event_id)) };
        self.write_down(statement, &webhook.event_id).await?;
        Ok(None)
    }

    async fn write_down(&self, sql: &str, of: &(dyn ToSql + Sync)) -> Result<(), PoolError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &[of]).await?;
        Ok(())
    }

    async fn post(&self, webhook: &Due) -> Result<(), String> {
        let body = json!({
            "event_id": webhook.event_id,
            "payment_id": webhook.payment_id,
            "idempotency_key": webhook.payment_id,
            "state": webhook.state,
            "happened_at": webhook.happened_at,
        })
        .to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header(SIGNATURE, sign(&self.secret, now, body.as_bytes()))
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl From<&Row> for Due {
    fn from(row: &Row) -> Self {
        Self {
            event_id: row.get("event_id"),
            payment_id: row.get("payment_id"),
            state: row.get("state"),
            happened_at: row.get("happened_at"),
            attempts: row.get("attempts"),
        }
    }
}
