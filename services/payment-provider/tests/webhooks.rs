//! What the acquirer tells, as its receiver sees it: signed, again until it is acknowledged, and as told: several
//! times, late, out of order, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use payment_provider::{Behaviour, Bounded, Config, Webhooks, migrate, run};
use runtime::Secret;
use runtime::http::{JsonBytes, Limits, bind, serve};
use runtime::postgres::{connect, prepare_owner};
use runtime::signature::{SIGNATURE, verify};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
const SECRET: &str = "between the two of us";

/// Takes webhooks; refuses as many as it was told to before it takes the first.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<Value>>>,
    deaf_for: Arc<Mutex<u32>>,
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: JsonBytes) -> StatusCode {
    let signature = headers[SIGNATURE].to_str().expect("ASCII");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    verify(&Secret::from(SECRET), signature, &body.0, now, Duration::from_secs(300)).expect("signed");
    let mut deaf_for = ear.deaf_for.lock().expect("no panic");
    if *deaf_for > 0 {
        *deaf_for -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    ear.heard.lock().expect("no panic").push(body.parse().expect("JSON"));
    StatusCode::ACCEPTED
}

impl Ear {
    async fn hears(&self, what: &str, count: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let heard = self.heard.lock().expect("no panic").clone();
            if heard.len() >= count {
                return heard;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {count} webhooks, {what}: {heard:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Provider {
    http: reqwest::Client,
    url: String,
    database_url: Secret,
    ear: Ear,
    _stop: DropGuard,
}

impl Provider {
    async fn start() -> Self {
        let stop = CancellationToken::new();
        let ear = Ear::default();
        let listener = bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let webhook_url = format!("http://{}/hear", listener.local_addr().expect("a bound port"));
        let router = Router::new().route("/hear", post(hear)).with_state(ear.clone());
        tokio::spawn(serve(listener, router, Limits::default(), stop.clone()));

        let database_url = Secret::from(testkit::fresh_database("provider").await.url);
        let mut admin = connect(&database_url).await.expect("the server runs");
        prepare_owner(&admin, "provider", None).await.expect("the admin may do this");
        migrate(&mut admin).await.expect("the migrations apply");
        let free = bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let listen = free.local_addr().expect("a bound listener").to_string();
        drop(free);
        let config = Config {
            listen: listen.clone(),
            database_url: Some(database_url.clone()),
            provider_database_url: None,
            database_connections_max: 4,
            time_out_ms: Bounded::new(50),
            behaviour: Behaviour::default(),
            webhooks: Webhooks { url: Some(webhook_url), secret: Some(Secret::from(SECRET)) },
        };
        tokio::spawn(run(config, stop.clone()));
        let (http, url) = (reqwest::Client::new(), format!("http://{listen}"));
        let comes_up = async {
            while !http.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, comes_up).await.is_ok(), "never ready");
        Self { http, url, database_url, ear, _stop: stop.drop_guard() }
    }

    async fn is_told(&self, told: Value) {
        let answer = self.http.put(format!("{}/v1/behaviour", self.url)).json(&told).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.expect("text"));
    }

    async fn authorise(&self, customer: &str) -> Uuid {
        let id = Uuid::now_v7();
        let body = json!({"payment_id": id, "customer_id": customer, "amount_minor": 700, "currency": "GBP"});
        let request =
            self.http.post(format!("{}/v1/payments", self.url)).header("Idempotency-Key", id.to_string());
        assert_eq!(request.json(&body).send().await.expect("an answer").status(), 200);
        id
    }

    async fn step(&self, id: Uuid, step: &str) {
        let answer = self.http.post(format!("{}/v1/payments/{id}/{step}", self.url)).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }

    /// Webhooks that are still to be sent.
    async fn outstanding(&self) -> i64 {
        let client = connect(&self.database_url).await.expect("the server runs");
        client.query_one("SELECT count(*) FROM provider.webhooks", &[]).await.expect("a table").get(0)
    }

    async fn until_nothing_is_outstanding(&self) {
        let started = Instant::now();
        while self.outstanding().await > 0 {
            assert!(started.elapsed() < PATIENCE, "webhooks are left over");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn states(heard: &[Value], id: Uuid) -> Vec<&str> {
    let of_it = heard.iter().filter(|webhook| webhook["payment_id"] == json!(id));
    of_it.map(|webhook| webhook["state"].as_str().expect("a state")).collect()
}

#[tokio::test]
async fn each_step_of_a_payment_is_told_once_and_signed() {
    let provider = Provider::start().await;
    let id = provider.authorise("kim").await;
    provider.ear.hears("the authorisation", 1).await;
    provider.step(id, "capture").await;
    provider.step(id, "capture").await;
    provider.until_nothing_is_outstanding().await;
    let heard = provider.ear.hears("both", 2).await;
    assert_eq!(states(&heard, id), ["authorised", "captured"]);
    assert_eq!(heard[0]["idempotency_key"], json!(id));
    assert_ne!(heard[0]["event_id"], heard[1]["event_id"]);
}

#[tokio::test]
async fn a_webhook_is_sent_again_until_it_is_acknowledged() {
    let provider = Provider::start().await;
    *provider.ear.deaf_for.lock().expect("no panic") = 2;
    let id = provider.authorise("kim").await;
    provider.until_nothing_is_outstanding().await;
    assert_eq!(states(&provider.ear.hears("it", 1).await, id), ["authorised"]);
    assert_eq!(*provider.ear.deaf_for.lock().expect("no panic"), 0);
}

#[tokio::test]
async fn webhooks_are_doubled_withheld_and_late_as_told() {
    let provider = Provider::start().await;
    let rules = json!({"rules": [
        {"customer_id": "dot", "webhook_copies": 3},
        {"customer_id": "sol", "webhook_copies": 0},
        {"customer_id": "lee", "webhook_delay_ms": 300, "capture_at_once": true},
    ]});
    provider.is_told(rules).await;
    let ids =
        [provider.authorise("dot").await, provider.authorise("sol").await, provider.authorise("lee").await];
    provider.until_nothing_is_outstanding().await;
    let heard = provider.ear.hears("five", 5).await;
    assert_eq!(states(&heard, ids[0]), ["authorised"; 3]);
    assert_eq!(states(&heard, ids[1]), [""; 0]);
    assert_eq!(BTreeSet::from_iter(states(&heard, ids[2])), BTreeSet::from(["authorised", "captured"]));
    let of_dot = heard.iter().filter(|webhook| webhook["payment_id"] == json!(ids[0]));
    let events: BTreeMap<String, ()> = of_dot.map(|webhook| (webhook["event_id"].to_string(), ())).collect();
    assert_eq!(events.len(), 1, "copies of one event carry its id");
}

#[tokio::test]
async fn disorder_sends_an_event_after_the_one_that_follows_it() {
    let provider = Provider::start().await;
    provider.is_told(json!({"default": {"webhook_disorder": true, "capture_at_once": true}})).await;
    let id = provider.authorise("kim").await;
    let heard = provider.ear.hears("both", 2).await;
    assert_eq!(states(&heard, id), ["captured", "authorised"]);
}
