//! Webhooks as a receiver sees them: signed, repeated until acknowledged, and as configured: several times, late, out of
//! order, or not at all. The receiver verifies them with the library of Standard Webhooks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use payment_provider::Webhooks;
use runtime::Secret;
use runtime::http::{JsonBytes, Limits, bind, serve};
use runtime::postgres::connect;
use serde_json::{Value, json};
use standardwebhooks::{HEADER_WEBHOOK_ID, Webhook};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::provider::{Provider, WAIT_MAX, assert_state};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Acknowledges webhooks, after a number of failures.
#[derive(Clone, Default)]
struct Receiver {
    webhooks: Arc<Mutex<Vec<Value>>>,
    failures_left: Arc<Mutex<u32>>,
    _stop: Option<Arc<DropGuard>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: JsonBytes) -> StatusCode {
    Webhook::new(SECRET).expect("a secret").verify(&body.0, &headers).expect("a valid signature");
    let webhook: Value = body.parse().expect("JSON");
    assert_eq!(
        headers[HEADER_WEBHOOK_ID],
        webhook["event_id"].as_str().expect("an id"),
        "the same for each attempt"
    );
    let mut failures_left = receiver.failures_left.lock().expect("no panic");
    if *failures_left > 0 {
        *failures_left -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    receiver.webhooks.lock().expect("no panic").push(webhook);
    StatusCode::ACCEPTED
}

impl Receiver {
    /// A receiver, and a provider that sends to it.
    async fn start() -> (Self, Provider) {
        let stop = CancellationToken::new();
        let mut receiver = Self::default();
        let listener = bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let url = format!("http://{}/webhooks", listener.local_addr().expect("a bound port"));
        let router = Router::new().route("/webhooks", post(receive)).with_state(receiver.clone());
        tokio::spawn(serve(listener, router, Limits::default(), stop.clone()));
        receiver._stop = Some(Arc::new(stop.drop_guard()));
        let webhooks = Webhooks { url: Some(url), secret: Some(Secret::from(SECRET)) };
        (receiver, Provider::start_with(webhooks).await)
    }

    async fn received(&self, what: &str, count: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let webhooks = self.webhooks.lock().expect("no panic").clone();
            if webhooks.len() >= count {
                return webhooks;
            }
            assert!(
                started.elapsed() < WAIT_MAX,
                "not within {WAIT_MAX:?}: {count} webhooks, {what}: {webhooks:?}"
            );
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }
}

async fn authorise(provider: &Provider, customer: &str) -> Uuid {
    let id = Uuid::now_v7();
    let (status, body) = provider.authorise(id, customer, 700).await;
    assert_eq!(status, 200, "{body}");
    id
}

async fn wait_until_all_are_sent(provider: &Provider) {
    let client = connect(provider.config.database_url.as_ref().expect("the test sets it")).await;
    let client = client.expect("the server runs");
    let started = Instant::now();
    loop {
        let row = client.query_one("SELECT count(*) FROM provider.webhooks", &[]).await.expect("a table");
        if row.get::<_, i64>(0) == 0 {
            return;
        }
        assert!(started.elapsed() < WAIT_MAX, "webhooks remain unsent");
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

fn states(webhooks: &[Value], id: Uuid) -> Vec<&str> {
    let of_it = webhooks.iter().filter(|webhook| webhook["payment_id"] == json!(id));
    of_it.map(|webhook| webhook["state"].as_str().expect("a state")).collect()
}

#[tokio::test]
async fn each_step_of_a_payment_sends_one_signed_webhook() {
    let (receiver, provider) = Receiver::start().await;
    let id = authorise(&provider, "kim").await;
    receiver.received("the authorisation", 1).await;
    assert_state(provider.step(id, "capture").await, "captured");
    assert_state(provider.step(id, "capture").await, "captured");
    wait_until_all_are_sent(&provider).await;
    let webhooks = receiver.received("both", 2).await;
    assert_eq!(states(&webhooks, id), ["authorised", "captured"]);
    assert_eq!(webhooks[0]["idempotency_key"], json!(id));
    assert_ne!(webhooks[0]["event_id"], webhooks[1]["event_id"]);
}

#[tokio::test]
async fn a_webhook_is_sent_again_until_it_is_acknowledged() {
    let (receiver, provider) = Receiver::start().await;
    *receiver.failures_left.lock().expect("no panic") = 2;
    let id = authorise(&provider, "kim").await;
    wait_until_all_are_sent(&provider).await;
    assert_eq!(states(&receiver.received("it", 1).await, id), ["authorised"]);
    assert_eq!(*receiver.failures_left.lock().expect("no panic"), 0);
}

#[tokio::test]
async fn webhooks_are_duplicated_suppressed_and_delayed_as_configured() {
    let (receiver, provider) = Receiver::start().await;
    let rules = json!({"rules": [
        {"customer_id": "dot", "webhook_copies": 3},
        {"customer_id": "sol", "webhook_copies": 0},
        {"customer_id": "lee", "webhook_delay_ms": 300, "capture_at_once": true},
    ]});
    provider.configure(rules).await;
    let ids = [
        authorise(&provider, "dot").await,
        authorise(&provider, "sol").await,
        authorise(&provider, "lee").await,
    ];
    wait_until_all_are_sent(&provider).await;
    let webhooks = receiver.received("five", 5).await;
    assert_eq!(states(&webhooks, ids[0]), ["authorised"; 3]);
    assert_eq!(states(&webhooks, ids[1]), [""; 0]);
    assert_eq!(BTreeSet::from_iter(states(&webhooks, ids[2])), BTreeSet::from(["authorised", "captured"]));
    let of_dot = webhooks.iter().filter(|webhook| webhook["payment_id"] == json!(ids[0]));
    let events: BTreeSet<String> = of_dot.map(|webhook| webhook["event_id"].to_string()).collect();
    assert_eq!(events.len(), 1, "copies of one event have its id");
}

#[tokio::test]
async fn with_disorder_a_webhook_is_sent_after_its_successor() {
    let (receiver, provider) = Receiver::start().await;
    provider.configure(json!({"default": {"webhook_disorder": true, "capture_at_once": true}})).await;
    let id = authorise(&provider, "kim").await;
    let webhooks = receiver.received("both", 2).await;
    assert_eq!(states(&webhooks, id), ["captured", "authorised"]);
}
