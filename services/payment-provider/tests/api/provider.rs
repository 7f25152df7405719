//! A payment provider on a database and a port of its own, and calls to it.

use std::time::{Duration, Instant};

use payment_provider::{Behaviour, Bounded, Config, Error, Webhooks, migrate, run};
use reqwest::{Method, RequestBuilder};
use runtime::Secret;
use runtime::postgres::{connect, prepare_owner};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const WAIT_MAX: Duration = Duration::from_secs(120);

pub struct Provider {
    pub http: reqwest::Client,
    pub url: String,
    pub config: Config,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Provider {
    pub async fn start() -> Self {
        Self::start_with(Webhooks { url: None, secret: None }).await
    }

    pub async fn start_with(webhooks: Webhooks) -> Self {
        let database_url = Secret::from(testkit::fresh_database("provider").await.url);
        let mut admin = connect(&database_url).await.expect("the server runs");
        prepare_owner(&admin, "provider", None).await.expect("the admin has the rights");
        migrate(&mut admin).await.expect("the migrations apply");
        Self::start_on(database_url, webhooks).await
    }

    async fn start_on(database_url: Secret, webhooks: Webhooks) -> Self {
        let free = runtime::http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let listen = free.local_addr().expect("a bound listener").to_string();
        drop(free);
        let config = Config {
            listen: listen.clone(),
            database_url: Some(database_url),
            provider_database_url: None,
            database_connections_max: 8,
            time_out_ms: Bounded::new(50),
            behaviour: Behaviour::default(),
            webhooks,
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(config.clone(), shutdown.clone()));
        let provider =
            Self { http: reqwest::Client::new(), url: format!("http://{listen}"), config, shutdown, running };
        let started = Instant::now();
        let ready = format!("{}/readyz", provider.url);
        while !provider.http.get(&ready).send().await.is_ok_and(|response| response.status() == 200) {
            assert!(started.elapsed() < WAIT_MAX, "the provider is not ready after {WAIT_MAX:?}");
            tokio::task::yield_now().await;
        }
        provider
    }

    /// Kills the process's tasks and starts another process on the same database.
    pub async fn restart(self) -> Self {
        self.running.abort();
        let database_url = self.config.database_url.clone().expect("the test sets it");
        Self::start_on(database_url, self.config.webhooks.clone()).await
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_call(method, path, body).await.expect("a response")
    }

    /// A body that is not JSON becomes a string.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            if let Some(id) = body["payment_id"].as_str() {
                request = request.header("Idempotency-Key", id);
            }
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub async fn authorise(&self, id: Uuid, customer: &str, amount_minor: i64) -> (u16, Value) {
        self.call(Method::POST, "/v1/payments", Some(payment(id, customer, amount_minor))).await
    }

    pub async fn step(&self, id: Uuid, step: &str) -> (u16, Value) {
        self.call(Method::POST, &format!("/v1/payments/{id}/{step}"), None).await
    }

    pub async fn status(&self, id: Uuid) -> (u16, Value) {
        self.call(Method::GET, &format!("/v1/payments/{id}"), None).await
    }

    pub async fn books(&self) -> Value {
        self.call(Method::GET, "/v1/ledger", None).await.1
    }

    pub async fn configure(&self, behaviour: Value) {
        let (status, body) = self.call(Method::PUT, "/v1/behaviour", Some(behaviour)).await;
        assert_eq!(status, 200, "{body}");
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("a response");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

pub fn payment(id: Uuid, customer: &str, amount_minor: i64) -> Value {
    json!({"payment_id": id, "customer_id": customer, "amount_minor": amount_minor, "currency": "GBP"})
}

#[track_caller]
pub fn assert_state((status, payment): (u16, Value), state: &str) {
    assert_eq!((status, &payment["state"]), (200, &json!(state)), "{payment}");
}

#[track_caller]
pub fn assert_refused((status, problem): (u16, Value), expected: u16, code: &str) {
    assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
}
