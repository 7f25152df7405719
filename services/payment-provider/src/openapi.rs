//! The OpenAPI document: each route describes itself; this module adds what all operations share.

use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tradewind payment provider",
        description = "A fake acquirer with its own ledger. It declines, delays and times out as configured. Amounts are \
                       integer minor units."
    ),
    components(schemas(ProblemDetails, FieldDetails))
)]
pub struct Document;

/// RFC 9457. Some codes have additional members.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only its schema is used; runtime::Problem does not depend on utoipa")]
struct ProblemDetails {
    /// `/problems/` and the code.
    r#type: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, for programs.
    code: String,
    #[schema(nullable = false)]
    detail: Option<String>,
    #[schema(nullable = false)]
    errors: Option<Vec<FieldDetails>>,
}

/// An error in one field of the request.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "only its schema is used; runtime::FieldError does not depend on utoipa")]
struct FieldDetails {
    /// `rules[3].customer_id`, or the name of a parameter or header.
    field: String,
    detail: String,
    #[schema(nullable = false)]
    allowed: Option<String>,
}

/// The problems that every operation may return.
const SHARED_PROBLEMS: [(&str, &str); 3] = [
    ("400", "invalid_path, invalid_query, invalid_header"),
    ("500", "internal"),
    (
        "503",
        "unavailable (configured), database_unavailable, overloaded: the call had no effect. timed_out: it may have had \
         one; repeat it",
    ),
];

/// The additional problems of an operation with a body.
const BODY_PROBLEMS: [(&str, &str); 4] = [
    ("400", "malformed_json, invalid_body, body_broken_off"),
    ("408", "body_too_slow"),
    ("413", "body_too_large"),
    ("415", "not_json"),
];

const OPERATIONS: [(&str, &str, &str); 4] = [
    ("/livez", "The process runs", "application/json"),
    ("/readyz", "No check is failing; otherwise 503, which names the failing ones", "application/json"),
    ("/metrics", "Prometheus text", "text/plain"),
    ("/openapi.json", "This document", "application/json"),
];

/// Adds the shared problems, and the routes for operators.
pub fn completed(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a document is plain data");
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for item in paths.values_mut() {
        item.as_object_mut().expect("a path has operations").values_mut().for_each(complete_operation);
    }
    for (path, summary, content_type) in OPERATIONS {
        let mut responses = json!({"200": {"description": summary, "content": {content_type: {}}}});
        if path == "/readyz" {
            responses["503"] = json!({"description": "Not ready", "content": {content_type: {}}});
        }
        paths.insert(
            path.to_owned(),
            json!({"get": {"tags": ["machines"], "summary": summary, "responses": responses}}),
        );
    }
    document
}

fn complete_operation(operation: &mut Value) {
    let has_body = operation["requestBody"].is_object();
    let body_problems = BODY_PROBLEMS.iter().filter(|_| has_body);
    for (status, codes) in SHARED_PROBLEMS.iter().chain(body_problems) {
        let response = &mut operation["responses"][*status];
        response["description"] = match response["description"].as_str() {
            Some(own) => format!("{own}; {codes}").into(),
            None => (*codes).into(),
        };
    }
    for (status, response) in operation["responses"].as_object_mut().expect("an operation has responses") {
        complete_response(status, response);
    }
}

fn complete_response(status: &str, response: &mut Value) {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    response["headers"]["X-Correlation-Id"] = header("The correlation id of the request, or a new one");
    if status.starts_with('2') {
        return;
    }
    if status == "503" {
        response["headers"]["Retry-After"] = header("Seconds");
    }
    response["content"] =
        json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
}
