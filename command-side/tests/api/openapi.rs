//! The OpenAPI document describes what is served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::ask::Reply;
use crate::shop::{Shop, an_order};

const ROUTES: [&str; 11] = [
    "/livez",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/v1/orders",
    "/v1/orders/{order_id}/cancel",
    "/v1/shipments/{shipment_id}/deliver",
    "/v1/shipments/{shipment_id}/dispatch",
    "/v1/stock/{sku}/adjust",
    "/v1/stock/{sku}/receive",
    "/v1/stock/{sku}/register",
];

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Every value of a key, however deep.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key));
            members.values().for_each(|member| all(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_lists_every_route_with_its_parameters_body_and_answers() {
    let shop = Shop::open().await;
    let document = shop.get("/openapi.json").await.is(200).body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert_eq!(names(&document["paths"]), ROUTES.into_iter().collect());

    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for reference in references {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "nothing at {reference}");
    }
    let mut ids = Vec::new();
    all(&document, "operationId", &mut ids);
    assert_eq!(ids.len(), ids.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>().len());

    for path in ROUTES.into_iter().filter(|path| path.starts_with("/v1/")) {
        let operation = &document["paths"][path]["post"];
        let parameters = operation["parameters"].as_array().expect("a command has parameters");
        for name in ["Idempotency-Key", "If-Match", "X-Correlation-Id"] {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{path}: {name}");
        }
        for name in path.split(['{', '}']).skip(1).step_by(2) {
            let described = |parameter: &Value| {
                parameter["name"] == name && parameter["in"] == "path" && parameter["required"] == true
            };
            assert!(parameters.iter().any(described), "{path}: {name}");
        }
        assert!(operation["requestBody"]["content"]["application/json"]["schema"].is_object(), "{path}");
        for (status, response) in operation["responses"].as_object().expect("a command has answers") {
            let content_type =
                if status.starts_with('2') { "application/json" } else { "application/problem+json" };
            assert!(response["content"][content_type]["schema"]["$ref"].is_string(), "{path} {status}");
        }
        for status in ["400", "412", "413", "415", "422", "503"] {
            assert!(operation["responses"][status].is_object(), "{path}: {status}");
        }
    }
}

#[tokio::test]
async fn answers_have_exactly_the_members_that_the_document_describes() {
    let shop = Shop::open().await;
    let document = shop.get("/openapi.json").await.is(200).body;
    let described = |path: &str, reply: &Reply| {
        let response = &document["paths"][path]["post"]["responses"][reply.status.to_string()];
        let schema = &response["content"]["application/json"]["schema"]["$ref"];
        let pointer = schema.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference");
        let schema = document.pointer(pointer).expect("a schema");
        assert_eq!(names(&schema["properties"]), names(&reply.body), "{path}");
    };
    let order_id = shop.placed().await;
    let shipment_id = shop.prepared_shipment().await;
    described("/v1/orders", &shop.place(an_order()).await);
    described("/v1/orders/{order_id}/cancel", &shop.cancel(&order_id).await);
    described("/v1/stock/{sku}/receive", &shop.receive("TEACUP", 1).await);
    described("/v1/stock/{sku}/adjust", &shop.adjust("TEACUP", 1).await);
    described("/v1/stock/{sku}/register", &shop.post("/v1/stock/LANTERN/register").send().await);
    described("/v1/shipments/{shipment_id}/dispatch", &shop.dispatch(&shipment_id).await);
    described("/v1/shipments/{shipment_id}/deliver", &shop.deliver(&shipment_id).await);

    let problem = shop.place(json!({})).await.problem(400, "invalid_body").body;
    let schema = &document["components"]["schemas"]["Problem"];
    assert_eq!(names(&schema["properties"]), names(&problem));
    let field = &document["components"]["schemas"]["FieldError"];
    assert_eq!(names(&field["properties"]), names(&problem["errors"][0]));
}
