//! The endpoint for webhooks, on a real Postgres: a webhook changes the time of the next call to the provider and nothing else; an
//! unsigned one changes nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{TimeDelta, Utc};
use clap::{Args, Command, FromArgMatches};
use domain::payments::{PaymentState, ProviderAnswer};
use domain::{Payment, PaymentCommand};
use event_store::{EventStore, StoreOptions};
use events::{Context, Metadata, Money, OrderId};
use runtime::http::{Limits, bind, serve};
use runtime::webhook_signature::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookKeys};
use runtime::{Secret, postgres};
use sagas::payments::WebhookEndpoint;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const SECRET: &str = "between the two of us";
const PATH: &str = "/v1/webhooks/payments";

struct Endpoint {
    store: EventStore,
    url: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// The three headers of a webhook.
type Signed = [(&'static str, String); 3];

fn signed(secret: &str, at: u64, body: &str) -> Signed {
    let keys = WebhookKeys::parse(&Secret::from(secret)).expect("a secret");
    let signature = keys.sign("msg_1", at, body.as_bytes());
    [(WEBHOOK_ID, "msg_1".to_owned()), (WEBHOOK_TIMESTAMP, at.to_string()), (WEBHOOK_SIGNATURE, signature)]
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn config(words: &[&str]) -> sagas::Config {
    let command = sagas::Config::augment_args(Command::new("sagas").no_binary_name(true));
    let matches = command.try_get_matches_from(words).expect("good options");
    sagas::Config::from_arg_matches(&matches).expect("good options")
}

fn webhook(order_id: OrderId, state: &str) -> String {
    json!({
        "event_id": Uuid::now_v7(), "payment_id": order_id, "idempotency_key": order_id, "state": state,
        "happened_at": Utc::now(),
    })
    .to_string()
}

impl Endpoint {
    async fn open() -> Self {
        let database_url = Secret::from(testkit::context("webhooks", Context::Payments).await.url);
        let options = ["--database-url", database_url.expose(), "--kafka-brokers", "none:9092"];
        let config = config(&[&options[..], &["--payment-webhook-secret", SECRET]].concat());
        let endpoint =
            WebhookEndpoint::open(&config).await.expect("the database is there").expect("there is a secret");
        let listener = bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let url = format!("http://{}{PATH}", listener.local_addr().expect("a bound port"));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, endpoint.router(), Limits::default(), stop.clone()));
        let pool = postgres::pool(&postgres::owner_url(&database_url, "payments"), 4).expect("a good url");
        let store = EventStore::new(Context::Payments, pool, StoreOptions::default()).await.expect("a store");
        Self { store, url, http: reqwest::Client::new(), _stop: stop.drop_guard() }
    }

    async fn give(&self, order_id: OrderId, command: PaymentCommand) {
        let metadata = Metadata {
            correlation_id: Uuid::from_u128(7),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "test".into(),
            traceparent: None,
            idempotency_key: None,
        };
        let mut work = self.store.unit_of_work();
        let decided = work.decide::<Payment>(&events::payments::stream(order_id), &command, &metadata).await;
        decided.expect("a readable log").expect("the payment takes it");
        work.commit().await.expect("appended");
    }

    /// A payment whose authorisation has not been answered.
    async fn open_payment(&self) -> OrderId {
        let order_id = OrderId(Uuid::now_v7());
        let command = PaymentCommand::RequestPayment {
            order_id,
            customer_id: "ada".parse().expect("a customer"),
            amount: Money::new(500, "GBP".parse().expect("a currency")).expect("an amount"),
            expires_at: Utc::now() + TimeDelta::minutes(15),
        };
        self.give(order_id, command).await;
        order_id
    }

    async fn post(&self, headers: &[(&'static str, String)], body: &str) -> (u16, Value) {
        let mut request = self.http.post(&self.url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_owned()).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    async fn post_signed(&self, body: &str) -> (u16, Value) {
        self.post(&signed(SECRET, now(), body), body).await
    }

    /// The deadlines that are due, with what is to be done.
    async fn due(&self) -> Vec<(String, Value)> {
        let due = self.store.due_deadlines(None, 100).await.expect("the log can be read");
        due.into_iter().map(|deadline| (deadline.id, deadline.command)).collect()
    }

    async fn state(&self, order_id: OrderId) -> (PaymentState, i32) {
        let stream = events::payments::stream(order_id);
        self.store.invalidate(std::slice::from_ref(&stream));
        let payment = self.store.load::<Payment>(&stream).await.expect("the log can be read");
        (payment.state.state(), payment.version)
    }
}

#[tokio::test]
async fn a_webhook_makes_the_call_to_the_provider_due_now_and_is_not_trusted() {
    let endpoint = Endpoint::open().await;
    let order_id = endpoint.open_payment().await;
    let before = endpoint.state(order_id).await;
    assert_eq!(endpoint.due().await, []);
    for lie in ["captured", "refunded", "declined", "no such state"] {
        assert_eq!(endpoint.post_signed(&webhook(order_id, lie)).await, (202, json!({"asking": true})));
        assert_eq!(endpoint.state(order_id).await, before, "{lie}");
    }
    let due = endpoint.due().await;
    assert_eq!(due.len(), 1, "however many webhooks, one call: {due:?}");
    let (id, wake) = &due[0];
    assert_eq!(id, &format!("provider:{order_id}"));
    assert_eq!((&wake["do"], &wake["cause"]["actor"]), (&json!("ask_provider"), &json!("provider-webhook")));
    assert_eq!(
        wake["cause"]["correlation_id"],
        json!(Uuid::from_u128(7)),
        "the correlation id is carried on"
    );
}

#[tokio::test]
async fn thirty_webhooks_at_once_are_one_call() {
    let endpoint = Endpoint::open().await;
    let order_id = endpoint.open_payment().await;
    let body = webhook(order_id, "authorised");
    for (status, _) in futures::future::join_all((0..30).map(|_| endpoint.post_signed(&body))).await {
        assert_eq!(status, 202);
    }
    assert_eq!(endpoint.due().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_by_the_provider_now_is_401_and_changes_nothing() {
    let endpoint = Endpoint::open().await;
    let order_id = endpoint.open_payment().await;
    let body = webhook(order_id, "authorised");
    let good = signed(SECRET, now(), &body);
    let with_signature = |signature: &str| {
        let [id, timestamp, _] = good.clone();
        [id, timestamp, (WEBHOOK_SIGNATURE, signature.to_owned())].to_vec()
    };
    let of_another_body = signed(SECRET, now(), &webhook(order_id, "captured"));
    let cases = [
        (Vec::new(), "Webhook-Id", "missing or invalid"),
        (good[..1].to_vec(), "Webhook-Timestamp", "missing or invalid"),
        (good[..2].to_vec(), "Webhook-Signature", "missing or invalid"),
        (with_signature(""), "Webhook-Signature", "missing or invalid"),
        (with_signature("t=1,v1=00"), "Webhook-Signature", "missing or invalid"),
        (of_another_body.to_vec(), "Webhook-Signature", "does not match"),
        (signed("guessed", now(), &body).to_vec(), "Webhook-Signature", "does not match"),
        (signed(SECRET, now() - 3_600, &body).to_vec(), "Webhook-Timestamp", "from the receiver's clock"),
        (signed(SECRET, now() + 3_600, &body).to_vec(), "Webhook-Timestamp", "from the receiver's clock"),
    ];
    for (headers, field, detail) in cases {
        let (status, problem) = endpoint.post(&headers, &body).await;
        assert_eq!((status, &problem["code"]), (401, &json!("invalid_signature")), "{headers:?}: {problem}");
        let error = &problem["errors"][0];
        assert_eq!(error["field"], field, "{headers:?}: {problem}");
        assert!(error["detail"].as_str().is_some_and(|text| text.contains(detail)), "{headers:?}: {problem}");
        assert!(error["allowed"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    assert_eq!(endpoint.due().await, []);
}

#[tokio::test]
async fn a_webhook_about_an_unknown_payment_is_404() {
    let endpoint = Endpoint::open().await;
    let (status, problem) = endpoint.post_signed(&webhook(OrderId(Uuid::now_v7()), "captured")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("payment_not_found")), "{problem}");
    assert_eq!(endpoint.due().await, []);
}

#[tokio::test]
async fn a_webhook_that_comes_after_the_end_is_acknowledged_and_leads_to_no_call() {
    let endpoint = Endpoint::open().await;
    let order_id = endpoint.open_payment().await;
    let answer = ProviderAnswer::Declined { decline_code: "card_declined".into() };
    endpoint.give(order_id, PaymentCommand::RecordAnswer { order_id, answer }).await;
    let before = endpoint.state(order_id).await;
    assert_eq!(before.0, PaymentState::Declined);
    for state in ["authorised", "declined", "captured"] {
        assert_eq!(endpoint.post_signed(&webhook(order_id, state)).await, (200, json!({"asking": false})));
    }
    assert_eq!((endpoint.state(order_id).await, endpoint.due().await), (before, Vec::new()));
}

#[tokio::test]
async fn a_signed_webhook_that_cannot_be_read_is_refused_by_its_field() {
    let endpoint = Endpoint::open().await;
    for (body, code) in [
        ("{", "malformed_json"),
        ("{}", "invalid_body"),
        (r#"{"event_id":"7","payment_id":"8"}"#, "invalid_body"),
        (r#"{"event_id":"7","event_id":"7"}"#, "malformed_json"),
    ] {
        let (status, problem) = endpoint.post_signed(body).await;
        assert_eq!((status, &problem["code"]), (400, &json!(code)), "{body}: {problem}");
    }
}

#[tokio::test]
async fn without_a_secret_or_the_payments_there_is_no_endpoint() {
    let base = ["--database-url", "postgres://nobody@127.0.0.1:1/none", "--kafka-brokers", "none:9092"];
    let elsewhere = ["--payment-webhook-secret", SECRET, "--context", "orders"];
    for more in [&[][..], &elsewhere[..]] {
        let config = config(&[&base[..], more].concat());
        let opened = WebhookEndpoint::open(&config);
        let opened =
            tokio::time::timeout(Duration::from_secs(60), opened).await.expect("no database is asked");
        assert!(opened.expect("no database is asked").is_none());
    }
}
