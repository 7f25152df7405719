//! The acquirer over HTTP, with its books in a real Postgres.

use std::time::Duration;

use payment_provider::{Behaviour, Bounded, Config, Webhooks, migrate, run};
use reqwest::Method;
use runtime::Secret;
use runtime::postgres::{connect, prepare_owner};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

struct Provider {
    http: reqwest::Client,
    url: String,
    config: Config,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), payment_provider::Error>>,
}

impl Provider {
    async fn start() -> Self {
        let database_url = Secret::from(testkit::fresh_database("provider").await.url);
        let mut admin = connect(&database_url).await.expect("the server runs");
        prepare_owner(&admin, "provider", None).await.expect("the admin may do this");
        migrate(&mut admin).await.expect("the migrations apply");
        Self::start_on(database_url).await
    }

    async fn start_on(database_url: Secret) -> Self {
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
            webhooks: Webhooks { url: None, secret: None },
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(config.clone(), shutdown.clone()));
        let provider =
            Self { http: reqwest::Client::new(), url: format!("http://{listen}"), config, shutdown, running };
        let ready = format!("{}/readyz", provider.url);
        let comes_up = async {
            while !provider.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, comes_up).await.is_ok(), "never ready");
        provider
    }

    /// Ends the process's work without warning and starts another one on the same database.
    async fn dies_and_comes_back(self) -> Self {
        self.running.abort();
        Self::start_on(self.config.database_url.clone().expect("the test gives it")).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_ask(method, path, body).await.expect("an answer")
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            if let Some(id) = body["payment_id"].as_str() {
                request = request.header("Idempotency-Key", id);
            }
            request = request.json(&body);
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    async fn authorise(&self, id: Uuid, customer: &str, amount_minor: i64) -> (u16, Value) {
        self.ask(Method::POST, "/v1/payments", Some(request(id, customer, amount_minor))).await
    }

    async fn step(&self, id: Uuid, step: &str) -> (u16, Value) {
        self.ask(Method::POST, &format!("/v1/payments/{id}/{step}"), None).await
    }

    async fn status(&self, id: Uuid) -> (u16, Value) {
        self.ask(Method::GET, &format!("/v1/payments/{id}"), None).await
    }

    async fn books(&self) -> Value {
        self.ask(Method::GET, "/v1/ledger", None).await.1
    }

    async fn is_told(&self, told: Value) {
        let (status, answer) = self.ask(Method::PUT, "/v1/behaviour", Some(told)).await;
        assert_eq!(status, 200, "{answer}");
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn request(id: Uuid, customer: &str, amount_minor: i64) -> Value {
    json!({"payment_id": id, "customer_id": customer, "amount_minor": amount_minor, "currency": "GBP"})
}

#[track_caller]
fn assert_state((status, payment): (u16, Value), state: &str) {
    assert_eq!((status, &payment["state"]), (200, &json!(state)), "{payment}");
}

#[track_caller]
fn assert_refused((status, problem): (u16, Value), expected: u16, code: &str) {
    assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
}

#[tokio::test]
async fn money_is_held_taken_and_given_back_once_each() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    let first = provider.authorise(id, "kim", 700).await;
    assert_eq!(
        first,
        (
            200,
            json!({"payment_id": id, "state": "authorised", "reference": format!("acq_{}", id.simple()),
                   "decline_code": null, "customer_id": "kim", "amount_minor": 700, "currency": "GBP"})
        )
    );
    assert_eq!(provider.authorise(id, "kim", 700).await, first);
    for (step, state) in [("capture", "captured"), ("refund", "refunded")] {
        assert_state(provider.step(id, step).await, state);
        assert_state(provider.step(id, step).await, state);
        assert_state(provider.status(id).await, state);
    }
    assert_eq!(
        provider.books().await,
        json!({
            "currencies": {"GBP": {"authorised_minor": 700, "captured_minor": 700, "voided_minor": 0,
                                   "refunded_minor": 700, "held_minor": 0}},
            "counts": {"authorised": 1, "captured": 1, "refunded": 1},
        })
    );
}

#[tokio::test]
async fn a_step_that_the_state_forbids_is_refused() {
    let provider = Provider::start().await;
    let unknown = Uuid::now_v7();
    assert_refused(provider.status(unknown).await, 404, "no_such_payment");
    assert_refused(provider.step(unknown, "capture").await, 404, "no_such_payment");
    assert_refused(provider.step(unknown, "refund").await, 404, "no_such_payment");

    let held = Uuid::now_v7();
    provider.authorise(held, "kim", 700).await;
    assert_refused(provider.step(held, "refund").await, 409, "not_captured");
    assert_state(provider.step(held, "void").await, "voided");
    assert_state(provider.step(held, "void").await, "voided");
    assert_refused(provider.step(held, "capture").await, 409, "not_authorised");

    let taken = Uuid::now_v7();
    provider.authorise(taken, "kim", 300).await;
    provider.step(taken, "capture").await;
    assert_refused(provider.step(taken, "void").await, 409, "already_captured");
    assert_state(provider.status(taken).await, "captured");
}

#[tokio::test]
async fn a_payment_voided_before_it_came_is_declined_when_it_comes() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    assert_state(provider.step(id, "void").await, "voided");
    assert_state(provider.step(id, "void").await, "voided");
    let (status, payment) = provider.authorise(id, "kim", 700).await;
    assert_eq!(
        (status, &payment["state"], &payment["decline_code"]),
        (200, &json!("declined"), &json!("voided"))
    );
    assert_eq!(provider.authorise(id, "kim", 700).await, (status, payment));
    assert_eq!(provider.books().await["counts"], json!({"declined": 1}));
}

#[tokio::test]
async fn an_id_belongs_to_one_request() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    assert_refused(provider.authorise(id, "kim", 701).await, 422, "idempotency_key_reused");
    assert_refused(provider.authorise(id, "lee", 700).await, 422, "idempotency_key_reused");
    assert_eq!(provider.status(id).await.1["amount_minor"], 700);

    let without_key =
        provider.http.post(format!("{}/v1/payments", provider.url)).json(&request(id, "kim", 700));
    let problem: Value = without_key.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(
        problem["errors"][0],
        json!({"field": "Idempotency-Key", "detail": "absent, or not the id of the payment", "allowed": id})
    );
}

#[tokio::test]
async fn fifty_parallel_authorisations_of_one_id_hold_the_money_once() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    let answers = futures::future::join_all((0..50).map(|_| provider.authorise(id, "kim", 700))).await;
    for answer in answers {
        assert_state(answer, "authorised");
    }
    assert_eq!(provider.books().await["counts"], json!({"authorised": 1}));
    assert_eq!(provider.books().await["currencies"]["GBP"]["held_minor"], 700);
}

#[tokio::test]
async fn of_a_void_and_a_capture_at_once_one_is_done() {
    let provider = Provider::start().await;
    for _ in 0..20 {
        let id = Uuid::now_v7();
        provider.authorise(id, "kim", 100).await;
        let (voided, captured) = tokio::join!(provider.step(id, "void"), provider.step(id, "capture"));
        assert_ne!(voided.0 == 200, captured.0 == 200, "{voided:?} {captured:?}");
        let state = if voided.0 == 200 { "voided" } else { "captured" };
        assert_state(provider.status(id).await, state);
    }
    let sums = &provider.books().await["currencies"]["GBP"];
    let sum = |name: &str| sums[name].as_i64().expect("a number");
    assert_eq!((sum("held_minor"), sum("voided_minor") + sum("captured_minor")), (0, 2000));
}

#[tokio::test]
async fn of_a_void_and_an_authorisation_at_once_no_money_stays_held() {
    let provider = Provider::start().await;
    for _ in 0..20 {
        let id = Uuid::now_v7();
        let (voided, _) = tokio::join!(provider.step(id, "void"), provider.authorise(id, "kim", 100));
        assert_eq!(voided.0, 200, "{voided:?}");
        let state = provider.status(id).await.1["state"].clone();
        assert!(state == "voided" || state == "declined", "{state}");
    }
    let books = provider.books().await;
    assert!(books["currencies"]["GBP"]["held_minor"] == 0, "{books}");
}

#[tokio::test]
async fn a_time_out_after_acceptance_leaves_the_money_held_and_the_status_tells() {
    let provider = Provider::start().await;
    provider.is_told(json!({"rules": [{"customer_id": "tim", "fault": "time_out_after_acceptance"}]})).await;
    let id = Uuid::now_v7();
    let answer = provider.try_ask(Method::POST, "/v1/payments", Some(request(id, "tim", 700))).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_state(provider.status(id).await, "authorised");
    assert_eq!(provider.books().await["currencies"]["GBP"]["held_minor"], 700);
}

#[tokio::test]
async fn a_time_out_before_acceptance_leaves_nothing() {
    let provider = Provider::start().await;
    provider
        .is_told(json!({"rules": [{"customer_id": "nora", "fault": "time_out_before_acceptance"}]}))
        .await;
    let id = Uuid::now_v7();
    let answer = provider.try_ask(Method::POST, "/v1/payments", Some(request(id, "nora", 700))).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_refused(provider.status(id).await, 404, "no_such_payment");
    assert_eq!(provider.books().await["counts"], json!({}));
}

#[tokio::test]
async fn an_unavailable_provider_says_so_and_does_nothing() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    provider.is_told(json!({"default": {"fault": "unavailable"}})).await;
    assert_refused(provider.authorise(Uuid::now_v7(), "kim", 1).await, 503, "unavailable");
    for step in ["capture", "void", "refund"] {
        assert_refused(provider.step(id, step).await, 503, "unavailable");
    }
    provider.is_told(json!({})).await;
    assert_state(provider.status(id).await, "authorised");
}

#[tokio::test]
async fn customers_are_treated_as_told() {
    let provider = Provider::start().await;
    provider
        .is_told(json!({"default": {"decline_rate_percent": 100, "decline_code": "unlucky"}, "rules": [
            {"customer_id": "dan", "outcome": "decline", "decline_code": "insufficient_funds"},
            {"customer_id": "carol", "capture_at_once": true, "delay_ms": 1},
        ]}))
        .await;
    assert_eq!(provider.authorise(Uuid::now_v7(), "dan", 1).await.1["decline_code"], "insufficient_funds");
    assert_eq!(provider.authorise(Uuid::now_v7(), "kim", 1).await.1["decline_code"], "unlucky");
    let carols = Uuid::now_v7();
    assert_state(provider.authorise(carols, "carol", 5).await, "captured");
    assert_refused(provider.step(carols, "void").await, 409, "already_captured");
    assert_eq!(provider.books().await["counts"], json!({"authorised": 1, "captured": 1, "declined": 2}));
}

#[tokio::test]
async fn books_and_behaviour_survive_the_process() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    provider.authorise(id, "kim", 700).await;
    provider.is_told(json!({"rules": [{"customer_id": "dan", "outcome": "decline"}]})).await;
    let before = (provider.books().await, provider.ask(Method::GET, "/v1/behaviour", None).await);
    let provider = provider.dies_and_comes_back().await;
    assert_eq!((provider.books().await, provider.ask(Method::GET, "/v1/behaviour", None).await), before);
    assert_state(provider.authorise(id, "kim", 700).await, "authorised");
    assert_state(provider.authorise(Uuid::now_v7(), "dan", 1).await, "declined");
}

#[tokio::test]
async fn payments_are_listed_page_by_page() {
    let provider = Provider::start().await;
    let mut ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        provider.authorise(*id, "kim", 1).await;
    }
    ids.sort();
    let mut listed = Vec::new();
    let mut path = "/v1/ledger/payments?limit=2".to_owned();
    loop {
        let (_, page) = provider.ask(Method::GET, &path, None).await;
        for payment in page["payments"].as_array().expect("a list") {
            listed.push(payment["payment_id"].as_str().expect("an id").parse::<Uuid>().expect("a UUID"));
        }
        let Some(after) = page["next_after"].as_str() else { break };
        path = format!("/v1/ledger/payments?limit=2&after={after}");
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_is_allowed() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7();
    for (body, field, allowed) in [
        (
            json!({"payment_id": id, "customer_id": "kim", "amount_minor": 0, "currency": "GBP"}),
            "amount_minor",
            "1 to 9223372036854775807",
        ),
        (
            json!({"payment_id": id, "customer_id": "k\u{0}", "amount_minor": 1, "currency": "GBP"}),
            "customer_id",
            "1 to 200 characters, none of them a control character",
        ),
        (
            json!({"payment_id": id, "customer_id": "kim", "amount_minor": 1, "currency": "pounds"}),
            "currency",
            "three letters A to Z",
        ),
    ] {
        let (status, problem) = provider.ask(Method::POST, "/v1/payments", Some(body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
        assert_eq!(problem["errors"][0]["allowed"], allowed, "{problem}");
    }
    for (body, field, allowed) in [
        (json!({"default": {"delay_ms": 60_001}}), "default.delay_ms", "0 to 60000"),
        (json!({"default": {"decline_rate_percent": 101}}), "default.decline_rate_percent", "0 to 100"),
        (
            json!({"rules": [{"customer_id": "a", "decline_code": "No!"}]}),
            "rules[0].decline_code",
            "1 to 64 of a to z, 0 to 9 and _",
        ),
        (
            json!({"rules": [{"customer_id": "a"}, {"customer_id": "a"}]}),
            "rules[1].customer_id",
            "one rule for each customer",
        ),
        (
            json!({"rules": [{"customer_id": "a", "colour": 1}]}),
            "rules[0].colour",
            "one of `customer_id`, `outcome`, `decline_code`, `delay_ms`, `fault`, `capture_at_once`, `decline_rate_percent`, `webhook_copies`, `webhook_delay_ms`, `webhook_disorder`",
        ),
    ] {
        let (status, problem) = provider.ask(Method::PUT, "/v1/behaviour", Some(body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
        assert_eq!(problem["errors"][0]["allowed"], allowed, "{problem}");
    }
    assert_refused(
        provider.ask(Method::GET, "/v1/ledger/payments?limit=1001", None).await,
        400,
        "invalid_query",
    );
    assert_refused(provider.ask(Method::GET, "/v1/payments/7", None).await, 400, "invalid_path");
}

#[tokio::test]
async fn sums_beyond_what_one_payment_can_be_are_told() {
    let provider = Provider::start().await;
    for _ in 0..2 {
        assert_state(provider.authorise(Uuid::now_v7(), "kim", i64::MAX).await, "authorised");
    }
    let text = provider.http.get(format!("{}/v1/ledger", provider.url)).send().await.expect("an answer");
    let text = text.text().await.expect("text");
    assert!(text.contains("\"held_minor\":18446744073709551614"), "{text}");
}

#[tokio::test]
async fn the_provider_itself_can_only_add_to_the_ledger() {
    let provider = Provider::start().await;
    provider.authorise(Uuid::now_v7(), "kim", 700).await;
    let base = provider.config.database_url.clone().expect("the test gives it");
    let client =
        connect(&runtime::postgres::owner_url(&base, "provider")).await.expect("the role may log in");
    for statement in
        ["UPDATE ledger_entries SET amount_minor = 1", "DELETE FROM ledger_entries", "DELETE FROM payments"]
    {
        let refused = client.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(
            refused.code(),
            Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{statement}"
        );
    }
}
