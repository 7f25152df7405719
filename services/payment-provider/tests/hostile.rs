//! What an enemy sends to the acquirer: each is a 4xx that names the field and what is allowed, moves no money, and
//! afterwards it still works.

use std::time::Duration;

use payment_provider::{Behaviour, Bounded, Config, Webhooks, migrate, run};
use reqwest::{Method, RequestBuilder};
use runtime::Secret;
use runtime::postgres::{connect, prepare_owner};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

struct Provider {
    http: reqwest::Client,
    url: String,
    _stop: DropGuard,
}

impl Provider {
    async fn start() -> Self {
        let database_url = Secret::from(testkit::fresh_database("provider").await.url);
        let mut admin = connect(&database_url).await.expect("the server runs");
        prepare_owner(&admin, "provider", None).await.expect("the admin may do this");
        migrate(&mut admin).await.expect("the migrations apply");
        let free = runtime::http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
        let listen = free.local_addr().expect("a bound listener").to_string();
        drop(free);
        let config = Config {
            listen: listen.clone(),
            database_url: Some(database_url),
            provider_database_url: None,
            database_connections_max: 4,
            time_out_ms: Bounded::new(50),
            behaviour: Behaviour::default(),
            webhooks: Webhooks { url: None, secret: None },
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(run(config, shutdown.clone()));
        let provider = Self {
            http: reqwest::Client::new(),
            url: format!("http://{listen}"),
            _stop: shutdown.drop_guard(),
        };
        let comes_up = async {
            let ready = format!("{}/readyz", provider.url);
            while !provider.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, comes_up).await.is_ok(), "never ready");
        provider
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn authorise(&self, key: impl AsRef<[u8]>, body: String) -> (u16, Value) {
        let request = self.request(Method::POST, "/v1/payments").header("Content-Type", "application/json");
        send(request.header("Idempotency-Key", key.as_ref()).body(body)).await
    }

    /// Nothing that was sent moved money, and a payment can still be made.
    async fn is_unharmed(&self) {
        let (_, books) = send(self.request(Method::GET, "/v1/ledger")).await;
        assert_eq!(books["counts"], json!({}));
        let id = Uuid::now_v7();
        let (status, body) =
            self.authorise(id.to_string(), payment(&id.to_string(), "\"kim\"", "1", "\"GBP\"")).await;
        assert_eq!(status, 200, "{body}");
    }
}

async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// As text: no JSON library of ours may smooth it.
fn payment(id: &str, customer: &str, amount: &str, currency: &str) -> String {
    format!(
        r#"{{"payment_id":"{id}","customer_id":{customer},"amount_minor":{amount},"currency":{currency}}}"#
    )
}

#[track_caller]
fn names((status, body): (u16, Value), field: &str, sent: &str) {
    let error = &body["errors"][0];
    assert_eq!((status, &error["field"]), (400, &json!(field)), "{sent}: {body}");
    assert!(body["detail"].is_string() && body["code"].is_string(), "{sent}: {body}");
}

#[tokio::test]
async fn a_payment_with_a_field_that_is_anything_is_refused_by_its_name() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7().to_string();
    let amounts = [
        "0",
        "-1",
        "-9223372036854775808",
        "-9223372036854775809",
        "9223372036854775808",
        "18446744073709551616",
        "-0",
        "1.0",
        "1e3",
        "1e400",
        "\"1\"",
        "null",
        "true",
        "[]",
    ];
    for amount in amounts {
        names(
            provider.authorise(&id, payment(&id, "\"kim\"", amount, "\"GBP\"")).await,
            "amount_minor",
            amount,
        );
    }
    for customer in
        [r#""""#, r#""\u0000""#, r#""a\u0000b""#, r#""\u001b[2J""#, r#""\u0085""#, "7", "null", "{}"]
    {
        names(provider.authorise(&id, payment(&id, customer, "1", "\"GBP\"")).await, "customer_id", customer);
    }
    for currency in [r#""""#, r#""gbp""#, r#""G\u0000P""#, r#""GBPX""#, r#""££""#, "7", "null"] {
        names(provider.authorise(&id, payment(&id, "\"kim\"", "1", currency)).await, "currency", currency);
    }
    for payment_id in ["", "7", "\\u0000", "'; DROP TABLE payments; --"] {
        names(
            provider.authorise(&id, payment(payment_id, "\"kim\"", "1", "\"GBP\"")).await,
            "payment_id",
            payment_id,
        );
    }
    for key in [b"7".as_slice(), b"\xff\xfe", b"'; DROP TABLE payments; --", &[b'x'; 20_000]] {
        let sent = provider.authorise(key, payment(&id, "\"kim\"", "1", "\"GBP\"")).await;
        names(sent, "Idempotency-Key", "a key");
    }
    provider.is_unharmed().await;
}

#[tokio::test]
async fn a_customer_called_like_sql_pays_like_everybody_else() {
    let provider = Provider::start().await;
    for customer in ["'; DROP TABLE payments; --", "Robert') OR ('1'='1", "$1", "💣 \u{202e}"] {
        let id = Uuid::now_v7().to_string();
        let (status, body) =
            provider.authorise(&id, payment(&id, &json!(customer).to_string(), "1", "\"GBP\"")).await;
        assert_eq!((status, &body["customer_id"]), (200, &json!(customer)), "{body}");
        let told = json!({"rules": [{"customer_id": customer, "outcome": "decline"}]});
        let (status, body) = send(provider.request(Method::PUT, "/v1/behaviour").json(&told)).await;
        assert_eq!((status, &body["rules"][0]["customer_id"]), (200, &json!(customer)), "{body}");
    }
}

#[tokio::test]
async fn bombs_and_bad_paths_are_refused() {
    let provider = Provider::start().await;
    let id = Uuid::now_v7().to_string();
    let twice =
        format!("{},\"currency\":\"EUR\"}}", payment(&id, "\"kim\"", "1", "\"GBP\"").trim_end_matches('}'));
    for (body, status, code) in [
        ("[".repeat(500_000), 400, "malformed_json"),
        ("{\"default\":".repeat(50_000), 400, "malformed_json"),
        (twice, 400, "malformed_json"),
        (String::new(), 400, "malformed_json"),
        (" ".repeat(1_048_577), 413, "body_too_large"),
    ] {
        let (actual, problem) = provider.authorise(&id, body.clone()).await;
        assert_eq!((actual, &problem["code"]), (status, &json!(code)), "{problem}");
        let tell = provider.request(Method::PUT, "/v1/behaviour").header("Content-Type", "application/json");
        let (actual, _) = send(tell.body(body)).await;
        assert!((400..500).contains(&actual), "{actual}");
    }
    for path in [
        "/v1/payments/%00",
        "/v1/payments/%ff",
        "/v1/payments/7",
        "/v1/payments/'%3B%20DROP%20TABLE%20payments",
    ] {
        names(send(provider.request(Method::GET, path)).await, "payment_id", path);
        names(send(provider.request(Method::POST, &format!("{path}/void"))).await, "payment_id", path);
    }
    for query in ["limit=0", "limit=-1", "limit=1e3", "limit=99999999999", "limit=%00", "limit=%ff"] {
        names(
            send(provider.request(Method::GET, &format!("/v1/ledger/payments?{query}"))).await,
            "limit",
            query,
        );
    }
    for query in ["after=7", "after=%00", "after='%3B--"] {
        names(
            send(provider.request(Method::GET, &format!("/v1/ledger/payments?{query}"))).await,
            "after",
            query,
        );
    }
    provider.is_unharmed().await;
}
