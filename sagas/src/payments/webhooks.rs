//! The endpoint for the provider's webhooks: `POST /v1/webhooks/payments`.
//!
//! A webhook only triggers a call to the provider: it sets the deadline of a call that is due to now. Its content is never
//! trusted. So a webhook that is forged, repeated, late or out of order changes nothing but the time of the call.
//! Never: an event appended, or a state believed, because a webhook says so.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use domain::Payment;
use event_store::{EventStore, StoreOptions, retry_conflicts};
use events::{Context, Metadata, OrderId};
use reactors::{CONFLICTS_MAX, CommitError};
use runtime::http::{Json, JsonBytes};
use runtime::webhook_signature::WebhookKeys;
use runtime::{Problem, postgres};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::deadline_command::DeadlineCommand;
use crate::Config;
use crate::run::SagaError;

const ACTOR: &str = "provider-webhook";
const DATABASE_CONNECTIONS_MAX: usize = 4;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Receives webhooks, where this process runs the payments and has the secret that they are signed with.
pub struct WebhookEndpoint {
    store: EventStore,
    keys: WebhookKeys,
    tolerance: Duration,
}

/// The fields of a webhook that are read; the others are ignored.
#[derive(Debug, Deserialize)]
struct Webhook {
    event_id: Uuid,
    payment_id: Uuid,
}

/// What a webhook led to.
enum Outcome {
    /// The provider will be called.
    CallDue,
    /// No call about the payment is due.
    NoCallDue,
    UnknownPayment,
}

impl WebhookEndpoint {
    /// None where no secret is configured, or another process runs the payments.
    ///
    /// # Errors
    /// When the secret is invalid, or the payments' database cannot be used.
    pub async fn open(config: &Config) -> Result<Option<Self>, SagaError> {
        let Some(secret) = &config.payment_webhook_secret else { return Ok(None) };
        let keys = WebhookKeys::parse(secret)?;
        if !config.contexts().contains(&Context::Payments) {
            return Ok(None);
        }
        let url = config.databases.of(Context::Payments.name());
        let pool = postgres::pool(&url, DATABASE_CONNECTIONS_MAX)?;
        let store = EventStore::new(Context::Payments, pool, StoreOptions::default()).await?;
        Ok(Some(Self { store, keys, tolerance: config.payment_webhook_tolerance() }))
    }

    pub fn router(self) -> Router {
        Router::new().route("/v1/webhooks/payments", post(receive)).with_state(Arc::new(self))
    }

    fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.keys.verify(headers, body, now, self.tolerance).map_err(|error| {
            let text = error.to_string();
            let (detail, allowed) = text.split_once(", expected ").unwrap_or((&text, ""));
            Problem::new(StatusCode::UNAUTHORIZED, "invalid_signature", "Invalid webhook signature").field(
                error.header(),
                detail,
                allowed,
            )
        })
    }

    /// Makes the call that is due, if there is one, due now. It is stored when this returns.
    async fn make_call_due(&self, order_id: OrderId) -> Result<Outcome, CommitError> {
        let stream = events::payments::stream(order_id);
        // The cache of this process may lack the payment's last event.
        self.store.invalidate(std::slice::from_ref(&stream));
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            let is_due = work.load::<Payment>(&stream).await?.next_provider_call().is_some();
            let version = work.version(&stream);
            if version == 0 {
                return Ok(Outcome::UnknownPayment);
            }
            if !is_due {
                return Ok(Outcome::NoCallDue);
            }
            let last = self.store.read_stream(&stream, version - 1, 1).await?;
            let Some(last) = last.into_iter().next() else { return Ok(Outcome::UnknownPayment) };
            let cause =
                Metadata { actor: ACTOR.to_owned(), causation_id: Some(last.event_id), ..last.metadata };
            let command = DeadlineCommand::ask_provider(&cause, 1, None);
            let now = work.database_now().await?;
            work.set_deadline(&DeadlineCommand::ask_provider_id(order_id), &stream, now, command.to_json());
            work.commit().await?;
            Ok(Outcome::CallDue)
        })
        .await
    }
}

async fn receive(
    State(endpoint): State<Arc<WebhookEndpoint>>,
    headers: HeaderMap,
    body: JsonBytes,
) -> Response {
    let (outcome, response) = match answer(&endpoint, &headers, &body).await {
        Ok(Outcome::CallDue) => {
            ("asking", (StatusCode::ACCEPTED, Json(json!({"asking": true}))).into_response())
        }
        Ok(Outcome::NoCallDue) => ("nothing_open", Json(json!({"asking": false})).into_response()),
        Ok(Outcome::UnknownPayment) => ("unknown", unknown().into_response()),
        Err(problem) => ("refused", problem.into_response()),
    };
    metrics::counter!("tradewind_webhooks_total", "outcome" => outcome).increment(1);
    response
}

async fn answer(
    endpoint: &WebhookEndpoint,
    headers: &HeaderMap,
    body: &JsonBytes,
) -> Result<Outcome, Problem> {
    endpoint.authenticate(headers, &body.0)?;
    let webhook: Webhook = body.parse()?;
    let order_id = OrderId(webhook.payment_id);
    endpoint.make_call_due(order_id).await.map_err(|error| {
        tracing::warn!(%order_id, event_id = %webhook.event_id, %error, "webhook not stored");
        Problem::unavailable("store_unavailable", "Payment store unavailable", RETRY_AFTER)
            .detail("the webhook was not stored; send it again")
    })
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "payment_not_found", "Payment not found").field(
        "payment_id",
        "is not the id of a known payment",
        "the payment_id of an authorisation",
    )
}
