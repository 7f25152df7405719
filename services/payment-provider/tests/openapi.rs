//! The OpenAPI document describes what is served: every route with each of its methods, and the shape of every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use payment_provider::{Behaviour, Bounded, Config, Webhooks, migrate, run};
use reqwest::Method;
use runtime::Secret;
use runtime::postgres::{connect, prepare_owner};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

const ROUTES: [(&str, &[&str]); 12] = [
    ("/livez", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
    ("/readyz", &["get"]),
    ("/v1/behaviour", &["get", "put"]),
    ("/v1/ledger", &["get"]),
    ("/v1/ledger/payments", &["get"]),
    ("/v1/payments", &["post"]),
    ("/v1/payments/{payment_id}", &["get"]),
    ("/v1/payments/{payment_id}/capture", &["post"]),
    ("/v1/payments/{payment_id}/refund", &["post"]),
    ("/v1/payments/{payment_id}/void", &["post"]),
];

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

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            if let Some(id) = body["payment_id"].as_str() {
                request = request.header("Idempotency-Key", id);
            }
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn document(&self) -> Value {
        self.ask(Method::GET, "/openapi.json", None).await.1
    }

    /// Authorises a payment and returns its id.
    async fn authorises(&self) -> Uuid {
        let id = Uuid::now_v7();
        let body = json!({"payment_id": id, "customer_id": "kim", "amount_minor": 700, "currency": "GBP"});
        let (status, payment) = self.ask(Method::POST, "/v1/payments", Some(body)).await;
        assert_eq!(status, 200, "{payment}");
        id
    }
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Follows `$ref`s.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            resolved(document, document.pointer(pointer).expect("a reference leads somewhere"))
        }
        None => schema,
    }
}

#[tokio::test]
async fn the_document_describes_every_route_with_each_method_that_it_takes_and_no_other() {
    let provider = Provider::start().await;
    let document = provider.document().await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeMap<&str, BTreeSet<&str>> =
        paths.iter().map(|(path, item)| (path.as_str(), names(item))).collect();
    let routes: BTreeMap<&str, BTreeSet<&str>> =
        ROUTES.iter().map(|(path, methods)| (*path, methods.iter().copied().collect())).collect();
    assert_eq!(described, routes);

    for (path, methods) in routes {
        let url = path.replace("{payment_id}", &Uuid::nil().to_string());
        for method in METHODS {
            let (status, answer) = provider.ask(method.clone(), &url, None).await;
            let is_taken = status != 405 && answer["code"] != "no_such_route";
            let is_described = methods.contains(method.as_str().to_ascii_lowercase().as_str());
            assert_eq!(is_taken, is_described, "{method} {path}: {status} {answer}");
        }
    }
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own_its_parameters_and_a_description_of_each_answer() {
    let document = Provider::start().await.document().await;
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path has operations") {
            for (status, response) in operation["responses"].as_object().expect("an operation has answers") {
                assert!(response["description"].is_string(), "{method} {path} {status}");
            }
            if !path.starts_with("/v1/") {
                continue;
            }
            let id = operation["operationId"].as_str().expect("an operation has an id");
            assert!(ids.insert(id), "{id} is the id of two operations");
            let has_parameter = path.contains("{payment_id}");
            let is_the_path_s = |parameter: &Value| {
                parameter["name"] == "payment_id"
                    && parameter["in"] == "path"
                    && parameter["required"] == true
            };
            let parameters = operation["parameters"].as_array();
            assert_eq!(parameters.is_some_and(|all| all.iter().any(is_the_path_s)), has_parameter, "{path}");
        }
    }
}

#[tokio::test]
async fn answers_have_exactly_the_members_that_the_document_describes() {
    let provider = Provider::start().await;
    let document = provider.document().await;
    let schemas = &document["components"]["schemas"];
    let described = |path: &str, method: &str, answer: &(u16, Value)| {
        let (status, body) = answer;
        let content = &document["paths"][path][method]["responses"][status.to_string()]["content"];
        let kind = if *status == 200 { "application/json" } else { "application/problem+json" };
        let schema = resolved(&document, &content[kind]["schema"]);
        assert_eq!(names(&schema["properties"]), names(body), "{method} {path}: {body}");
    };
    let rule = json!({"customer_id": "ann", "outcome": "decline"});
    let told = provider.ask(Method::PUT, "/v1/behaviour", Some(json!({"rules": [&rule]}))).await;
    described("/v1/behaviour", "put", &told);
    assert_eq!(names(&schemas["Behaviour"]["properties"]), names(&told.1["default"]));
    assert_eq!(names(&schemas["Rule"]["properties"]), names(&told.1["rules"][0]));
    described("/v1/behaviour", "get", &provider.ask(Method::GET, "/v1/behaviour", None).await);

    let id = provider.authorises().await;
    described(
        "/v1/payments/{payment_id}",
        "get",
        &provider.ask(Method::GET, &format!("/v1/payments/{id}"), None).await,
    );
    for step in ["capture", "refund", "void"] {
        let answer = provider.ask(Method::POST, &format!("/v1/payments/{id}/{step}"), None).await;
        assert_eq!(answer.0, 200, "{step}: {}", answer.1);
        described(&format!("/v1/payments/{{payment_id}}/{step}"), "post", &answer);
    }
    let books = provider.ask(Method::GET, "/v1/ledger", None).await;
    described("/v1/ledger", "get", &books);
    assert_eq!(names(&schemas["Totals"]["properties"]), names(&books.1["currencies"]["GBP"]));
    described("/v1/ledger/payments", "get", &provider.ask(Method::GET, "/v1/ledger/payments", None).await);

    let twice = json!({"rules": [rule, rule]});
    let problem = provider.ask(Method::PUT, "/v1/behaviour", Some(twice)).await;
    assert_eq!(problem.0, 400, "{}", problem.1);
    described("/v1/behaviour", "put", &problem);
    assert_eq!(names(&schemas["FieldError"]["properties"]), names(&problem.1["errors"][0]));
}
