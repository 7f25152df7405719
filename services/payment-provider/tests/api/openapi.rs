//! The OpenAPI document describes every route with its methods, and the members of every response.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::provider::Provider;

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

async fn document(provider: &Provider) -> Value {
    provider.call(Method::GET, "/openapi.json", None).await.1
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Follows `$ref`s.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            resolved(document, document.pointer(pointer).expect("a reference has a target"))
        }
        None => schema,
    }
}

#[tokio::test]
async fn the_document_describes_exactly_the_routes_and_methods_that_are_served() {
    let provider = Provider::start().await;
    let document = document(&provider).await;
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
            let (status, response) = provider.call(method.clone(), &url, None).await;
            let is_taken = status != 405 && response["code"] != "no_such_route";
            let is_described = methods.contains(method.as_str().to_ascii_lowercase().as_str());
            assert_eq!(is_taken, is_described, "{method} {path}: {status} {response}");
        }
    }
}

#[tokio::test]
async fn every_operation_has_a_unique_id_its_parameters_and_a_description_of_each_response() {
    let document = document(&Provider::start().await).await;
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path has operations") {
            for (status, response) in operation["responses"].as_object().expect("an operation has responses")
            {
                assert!(response["description"].is_string(), "{method} {path} {status}");
            }
            if !path.starts_with("/v1/") {
                continue;
            }
            let id = operation["operationId"].as_str().expect("an operation has an id");
            assert!(ids.insert(id), "{id} is the id of two operations");
            let has_parameter = path.contains("{payment_id}");
            let is_path_parameter = |parameter: &Value| {
                parameter["name"] == "payment_id"
                    && parameter["in"] == "path"
                    && parameter["required"] == true
            };
            let parameters = operation["parameters"].as_array();
            assert_eq!(
                parameters.is_some_and(|all| all.iter().any(is_path_parameter)),
                has_parameter,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn responses_have_exactly_the_members_that_the_document_describes() {
    let provider = Provider::start().await;
    let document = document(&provider).await;
    let schemas = &document["components"]["schemas"];
    let described = |path: &str, method: &str, response: &(u16, Value)| {
        let (status, body) = response;
        let content = &document["paths"][path][method]["responses"][status.to_string()]["content"];
        let kind = if *status == 200 { "application/json" } else { "application/problem+json" };
        let schema = resolved(&document, &content[kind]["schema"]);
        assert_eq!(names(&schema["properties"]), names(body), "{method} {path}: {body}");
    };
    let rule = json!({"customer_id": "ann", "outcome": "decline"});
    let settings = provider.call(Method::PUT, "/v1/behaviour", Some(json!({"rules": [&rule]}))).await;
    described("/v1/behaviour", "put", &settings);
    assert_eq!(names(&schemas["Behaviour"]["properties"]), names(&settings.1["default"]));
    assert_eq!(names(&schemas["Rule"]["properties"]), names(&settings.1["rules"][0]));
    described("/v1/behaviour", "get", &provider.call(Method::GET, "/v1/behaviour", None).await);

    let id = Uuid::now_v7();
    let (status, payment) = provider.authorise(id, "kim", 700).await;
    assert_eq!(status, 200, "{payment}");
    described(
        "/v1/payments/{payment_id}",
        "get",
        &provider.call(Method::GET, &format!("/v1/payments/{id}"), None).await,
    );
    for step in ["capture", "refund", "void"] {
        let response = provider.call(Method::POST, &format!("/v1/payments/{id}/{step}"), None).await;
        assert_eq!(response.0, 200, "{step}: {}", response.1);
        described(&format!("/v1/payments/{{payment_id}}/{step}"), "post", &response);
    }
    let books = provider.call(Method::GET, "/v1/ledger", None).await;
    described("/v1/ledger", "get", &books);
    assert_eq!(names(&schemas["Totals"]["properties"]), names(&books.1["currencies"]["GBP"]));
    described("/v1/ledger/payments", "get", &provider.call(Method::GET, "/v1/ledger/payments", None).await);

    let twice = json!({"rules": [rule, rule]});
    let problem = provider.call(Method::PUT, "/v1/behaviour", Some(twice)).await;
    assert_eq!(problem.0, 400, "{}", problem.1);
    described("/v1/behaviour", "put", &problem);
    assert_eq!(names(&schemas["FieldError"]["properties"]), names(&problem.1["errors"][0]));
}
