//! Sends webhooks about payments: signed, repeated until acknowledged, and, if configured, late, several times, or out of
//! order. A webhook is stored in the transaction of its ledger entry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use deadpool_postgres::{Pool, PoolError, Transaction};
use futures::{StreamExt, stream};
use runtime::Secret;
use runtime::webhook_signature::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookKeys};
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::behaviour::Behaviour;
use crate::payment::PaymentState;

const DUE_MAX: i64 = 64;
const CONCURRENT_MAX: usize = 8;
const POLL_PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Spread over about two hours. Afterwards the receiver must query the payment.
const ATTEMPTS_MAX: i32 = 16;

#[derive(clap::Args, Clone, Debug)]
pub struct Webhooks {
    /// URL that receives webhooks; without it none are sent
    #[arg(long = "webhook-url", env = "PAYMENT_PROVIDER_WEBHOOK_URL", requires = "secret")]
    pub url: Option<String>,

    /// Secret that signs webhooks, shared with the receiver: whsec_<base64>, two of them separated by a space during a rotation, or any other text, whose bytes are then the key
    #[arg(id = "secret", long = "webhook-secret", env = "PAYMENT_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
}

/// Stores webhooks in the ledger's transaction.
#[derive(Clone)]
pub struct WebhookOutbox {
    /// For customers without a rule, while the database has no default.
    configured: Behaviour,
}

/// The customer's rule applies, else the default in the database, else the configured one. With disorder, the first, the
/// third and every other odd entry of a payment is delayed.
const ENQUEUE: &str = "WITH behaviour AS (
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
     FROM behaviour WHERE webhook_copies > 0";

impl WebhookOutbox {
    pub fn new(configured: Behaviour) -> Self {
        Self { configured }
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn enqueue(
        &self,
        transaction: &Transaction<'_>,
        payment_id: Uuid,
        state: PaymentState,
    ) -> Result<(), PoolError> {
        let number = |bounded: u32| i32::try_from(bounded).expect("every number of a behaviour fits");
        let copies = number(self.configured.webhook_copies.get());
        let delay_ms = number(self.configured.webhook_delay_ms.get());
        let disorder = self.configured.webhook_disorder;
        let statement = transaction.prepare_cached(ENQUEUE).await?;
        transaction.execute(&statement, &[&payment_id, &state.name(), &copies, &delay_ms, &disorder]).await?;
        Ok(())
    }
}

/// Sends the webhooks that are due.
pub struct WebhookSender {
    pool: Pool,
    http: reqwest::Client,
    url: String,
    keys: WebhookKeys,
}

struct DueWebhook {
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

impl WebhookSender {
    /// # Errors
    /// When the HTTP client cannot be created.
    pub fn new(pool: Pool, url: String, keys: WebhookKeys) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { pool, http, url, keys })
    }

    /// Runs until `shutdown`. A webhook that is not acknowledged is sent again, with growing pauses.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let sent = self.send_due().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot send webhooks: database unavailable");
                0
            });
            if sent == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(POLL_PAUSE) => {}
                }
            }
        }
    }

    async fn send_due(&self) -> Result<usize, PoolError> {
        let due: Vec<DueWebhook> = {
            let client = self.pool.get().await?;
            let statement = client.prepare_cached(DUE).await?;
            client.query(&statement, &[&DUE_MAX]).await?.iter().map(DueWebhook::from).collect()
        };
        let count = due.len();
        let sending = due.into_iter().map(|webhook| self.send(webhook));
        let outcomes: Vec<_> = stream::iter(sending).buffer_unordered(CONCURRENT_MAX).collect().await;
        // Stored even if another webhook's outcome was not: an acknowledged webhook must not be sent again.
        let acknowledged: Vec<Uuid> = outcomes.iter().filter_map(|outcome| *outcome.as_ref().ok()?).collect();
        if !acknowledged.is_empty() {
            self.execute(COPIES_SENT, &acknowledged).await?;
        }
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(count)
    }

    /// Returns the webhook's id if it was acknowledged; the caller stores those together.
    async fn send(&self, webhook: DueWebhook) -> Result<Option<Uuid>, PoolError> {
        let (outcome, statement) = match self.post(&webhook).await {
            Ok(()) => ("acknowledged", None),
            Err(why) if webhook.attempts + 1 >= ATTEMPTS_MAX => {
                tracing::error!(payment_id = %webhook.payment_id, why, "webhook abandoned");
                ("given_up", Some(GIVE_UP))
            }
            Err(why) => {
                tracing::debug!(payment_id = %webhook.payment_id, why, "webhook not acknowledged; it is sent again later");
                ("not_acknowledged", Some(AGAIN))
            }
        };
        metrics::counter!("payment_provider_webhooks_total", "outcome" => outcome).increment(1);
        let Some(statement) = statement else { return Ok(Some(webhook.event_id)) };
        self.execute(statement, &webhook.event_id).await?;
        Ok(None)
    }

    async fn execute(&self, sql: &str, of: &(dyn ToSql + Sync)) -> Result<(), PoolError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &[of]).await?;
        Ok(())
    }

    async fn post(&self, webhook: &DueWebhook) -> Result<(), String> {
        let body = json!({
            "event_id": webhook.event_id,
            "payment_id": webhook.payment_id,
            "idempotency_key": webhook.payment_id,
            "state": webhook.state,
            "happened_at": webhook.happened_at,
        })
        .to_string();
        // The same for each attempt and each copy, so that a receiver can recognise a repeat.
        let id = webhook.event_id.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header(WEBHOOK_ID, &id)
            .header(WEBHOOK_TIMESTAMP, now)
            .header(WEBHOOK_SIGNATURE, self.keys.sign(&id, now, body.as_bytes()))
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl From<&Row> for DueWebhook {
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
