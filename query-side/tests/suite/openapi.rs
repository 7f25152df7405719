//! The OpenAPI document tells what is served: every route, and the shape of every answer.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::given::{HAPPY, Logs, order_id, received};
use crate::service::service;

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

/// Whether the value is of the shape; on the way, whether every member of an object is described.
fn check(document: &Value, schema: &Value, value: &Value, path: &str) {
    let schema = resolved(document, schema);
    let alternatives = ["oneOf", "anyOf"].iter().find_map(|key| schema[*key].as_array());
    if let Some(alternatives) = alternatives {
        let fits = alternatives.iter().any(|alternative| type_fits(resolved(document, alternative), value));
        assert!(fits, "{path}: {value} is none of {schema}");
        return;
    }
    assert!(type_fits(schema, value), "{path}: {value} is not {schema}");
    match value {
        Value::Object(members) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for (name, member) in members {
                let property =
                    properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not described"));
                check(document, property, member, &format!("{path}.{name}"));
            }
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(required.as_str().unwrap_or("")), "{path} lacks {required}");
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| check(document, &schema["items"], item, &format!("{path}[]")));
        }
        Value::String(text) => {
            let allowed = schema["enum"].as_array();
            assert!(
                allowed.is_none_or(|allowed| allowed.contains(&Value::from(text.as_str()))),
                "{path}: {text}"
            );
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn type_fits(schema: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(several) => several.contains(&Value::from(name)),
        _ => true,
    }
}

#[tokio::test]
async fn every_answer_has_the_shape_that_the_document_tells() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let stream = events::inventory::stock_stream(&crate::given::sku("TEAPOT"));
    service.project(&[logs.happens(&stream, received("TEAPOT", 5))]).await;
    let document = service.get("/openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 9, "a route more or less: {:?}", paths.keys());
    for (path, item) in paths {
        let example = path
            .replace("{order_id}", &order_id(1).to_string())
            .replace("{payment_id}", &order_id(1).to_string())
            .replace("{sku}", "TEAPOT");
        let ok = resolved(&document, &item["get"]["responses"]["200"]);
        let schema = &ok["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} has no schema");
        check(&document, schema, &service.get(&example).await, path);
        assert!(ok["headers"]["X-Tradewind-Position"]["schema"].is_object(), "{path}");
        assert_ne!(service.position(&example).await, "", "{path}");
        let bad = resolved(&document, &item["get"]["responses"]["400"]);
        let schema = &bad["content"]["application/problem+json"]["schema"];
        let (status, problem) = service.status_and_body(&format!("{example}?no_such_parameter=1")).await;
        assert_eq!(status, 400, "{path}");
        check(&document, schema, &problem, path);
    }
}

#[tokio::test]
async fn every_parameter_that_the_document_tells_is_taken() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let document = service.get("/openapi.json").await;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let example = path
            .replace("{order_id}", &order_id(1).to_string())
            .replace("{payment_id}", &order_id(1).to_string())
            .replace("{sku}", "TEAPOT");
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let name = parameter["name"].as_str().expect("a name");
            let (_, problem) = service.status_and_body(&format!("{example}?{name}=%00")).await;
            assert_eq!(problem["errors"][0]["field"], name, "{path}: {problem}");
        }
    }
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own_and_a_description_of_each_answer() {
    let document = service().await.get("/openapi.json").await;
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let operation = &item["get"];
        let id = operation["operationId"].as_str().expect("an operation has an id");
        assert!(ids.insert(id), "{id} is the id of two operations");
        for (status, response) in operation["responses"].as_object().expect("an operation has answers") {
            let response = resolved(&document, response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{path} {status}");
        }
    }
}

/// A generated client sends the default of every parameter. `timeout_ms` alone is refused.
#[tokio::test]
async fn a_request_with_every_default_that_the_document_tells_is_answered() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let stream = events::inventory::stock_stream(&crate::given::sku("TEAPOT"));
    service.project(&[logs.happens(&stream, received("TEAPOT", 5))]).await;
    let document = service.get("/openapi.json").await;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let example = path
            .replace("{order_id}", &order_id(1).to_string())
            .replace("{payment_id}", &order_id(1).to_string())
            .replace("{sku}", "TEAPOT");
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        let defaults: Vec<_> = parameters
            .filter(|parameter| parameter["in"] == "query" && !parameter["schema"]["default"].is_null())
            .map(|parameter| {
                let name = parameter["name"].as_str().expect("a name");
                format!("{name}={}", parameter["schema"]["default"])
            })
            .collect();
        let (status, answer) = service.status_and_body(&format!("{example}?{}", defaults.join("&"))).await;
        assert_eq!(status, 200, "{path}?{defaults:?}: {answer}");
    }
}
