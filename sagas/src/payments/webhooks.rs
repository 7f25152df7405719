//! The door for the provider's webhooks: `POST /v1/webhooks/payments`.
//!
//! A webhook is a hint, never a truth: it sets the deadline of a question that is open to now, and the provider is
//! asked. So one that is forged, doubled, late or out of order can change nothing but the time of asking.
//! Never: an event appended, or a state believed, because a webhook says so. Read next: `deadlines.rs`, which asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use domain::Payment;
use event_store::{AppendError, EventStore, MayBeConflict, StoreError, StoreOptions, retry_conflicts};
use events::{Context, Metadata, OrderId, StreamId};
use runtime::http::{Json, JsonBytes};
use runtime::webhook_signature::WebhookKeys;
use runtime::{Problem, postgres};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::wake::Wake;
use crate::Config;
use crate::fate::CONFLICTS_MAX;
use crate::run::SagaError;

const ACTOR: &str = "provider-webhook";
const DATABASE_CONNECTIONS_MAX: usize = 4;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes webhooks, where this process has the payments and a secret to know them by.
pub struct WebhookDoor {
    store: EventStore,
    keys: WebhookKeys,
    tolerance: Duration,
}

/// Of what the provider says, all that matters. What else it says is not looked at.
#[derive(Debug, Deserialize)]
struct Webhook {
    event_id: Uuid,
    payment_id: Uuid,
}

#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MayBeConflict for Undone {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(error) if error.is_conflict())
    }
}

/// What became of a hint.
enum Taken {
    /// The provider will be asked.
    Asking,
    /// There is nothing to ask about the payment.
    NothingOpen,
    Unknown,
}

impl WebhookDoor {
    /// None if no secret is configured, or the payments belong to another process.
    ///
    /// # Errors
    /// When the secret is invalid, or the payments' database cannot be used.
    pub async fn open(config: &Config) -> Result<Option<Self>, SagaError> {
        let Some(secret) = &config.payment_webhook_secret else { return Ok(None) };
        let keys = WebhookKeys::parse(secret)?;
        if !config.contexts().contains(&Context::Payments) {
            return Ok(None);
        }
        let url = config.database_url_of(Context::Payments);
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

    /// Has the provider asked now, where there is something to ask. Stored when it returns.
    async fn take(&self, order_id: OrderId) -> Result<Taken, Undone> {
        let stream = events::payments::stream(order_id);
        // The cache of this process may not know the payment's last event.
        self.store.evict(std::slice::from_ref(&stream));
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            let open = work.load::<Payment>(&stream).await?.next_provider_call().is_some();
            let version = work.version(&stream);
            if version == 0 {
                return Ok(Taken::Unknown);
            }
            if !open {
                return Ok(Taken::NothingOpen);
            }
            let last = self.store.read_stream(&stream, version - 1, 1).await?;
            let Some(last) = last.into_iter().next() else { return Ok(Taken::Unknown) };
            let cause =
                Metadata { actor: ACTOR.to_owned(), causation_id: Some(last.event_id), ..last.metadata };
            let wake = Wake::ask_provider(&cause, 1, None);
            let now = work.database_now().await?;
            work.set_deadline(&Wake::ask_provider_id(order_id), &stream, now, wake.to_json());
            work.commit().await?;
            Ok(Taken::Asking)
        })
        .await
    }
}

async fn receive(State(door): State<Arc<WebhookDoor>>, headers: HeaderMap, body: JsonBytes) -> Response {
    let (outcome, response) = match answer(&door, &headers, &body).await {
        Ok(Taken::Asking) => {
            ("asking", (StatusCode::ACCEPTED, Json(json!({"asking": true}))).into_response())
        }
        Ok(Taken::NothingOpen) => ("nothing_open", Json(json!({"asking": false})).into_response()),
        Ok(Taken::Unknown) => ("unknown", unknown().into_response()),
        Err(problem) => ("refused", problem.into_response()),
    };
    metrics::counter!("tradewind_webhooks_total", "outcome" => outcome).increment(1);
    response
}

async fn answer(door: &WebhookDoor, headers: &HeaderMap, body: &JsonBytes) -> Result<Taken, Problem> {
    door.authenticate(headers, &body.0)?;
    let webhook: Webhook = body.parse()?;
    let order_id = OrderId(webhook.payment_id);
    door.take(order_id).await.map_err(|error| {
        tracing::warn!(%order_id, event_id = %webhook.event_id, %error, "a webhook could not be stored");
        Problem::unavailable("store_unavailable", "The payments cannot be reached", RETRY_AFTER)
            .detail("nothing was stored; send it again")
    })
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "payment_not_found", "There is no such payment").field(
        "payment_id",
        "is not the id of a payment that was asked for",
        "the payment_id of an authorisation",
    )
}
