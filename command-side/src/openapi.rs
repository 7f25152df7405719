//! The OpenAPI document: the routes describe themselves, and this module adds what they share. A served route is always
//! described, because both come from one macro.

use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tradewind command side",
        description = "Commands in, events out. Every answer to a command carries the version of what it changed and the \
                       position of its last event; give the position to the query side as `?after=` to read your own write."
    ),
    components(schemas(ProblemDetails, FieldDetails))
)]
pub struct Document;

/// RFC 9457. Some codes have additional members.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "only its schema is used: the fields of runtime::Problem, which knows no OpenAPI"
)]
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

/// The problem of one field.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "only its schema is used: the fields of runtime::FieldError")]
struct FieldDetails {
    /// `lines[3].quantity`, or the name of a parameter or header.
    field: String,
    detail: String,
    #[schema(nullable = false)]
    allowed: Option<String>,
}

/// The responses of every command, besides its own.
const SHARED_PROBLEMS: [(&str, &str); 8] = [
    ("400", "malformed_json, invalid_body, invalid_path, invalid_header, body_broken_off"),
    ("408", "body_too_slow"),
    ("412", "version_mismatch: If-Match named another version; nothing was written"),
    ("413", "body_too_large (1 MiB is allowed), event_too_large"),
    ("415", "not_json"),
    ("422", "idempotency_key_reused"),
    ("500", "internal"),
    (
        "503",
        "overloaded, contention, store_unavailable, shutting_down: nothing was written. outcome_unknown, timed_out: it may \
         have been done; repeat with the same Idempotency-Key",
    ),
];

const OPERATIONS: [(&str, &str, &str); 4] = [
    ("/livez", "The process answers", "application/json"),
    ("/readyz", "Every check passes; otherwise 503, which names the failing checks", "application/json"),
    ("/metrics", "Prometheus text", "text/plain"),
    ("/openapi.json", "This document", "application/json"),
];

/// Adds the headers and problems of every command, and the routes for machines, to `document`.
pub fn completed(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a document is plain data");
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for item in paths.values_mut() {
        complete_command(&mut item["post"]);
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

fn complete_command(operation: &mut Value) {
    let parameters = operation["parameters"].take();
    let shared = shared_headers();
    let all = parameters.as_array().into_iter().flatten().chain(shared.as_array().into_iter().flatten());
    operation["parameters"] = all.cloned().collect();
    for (status, codes) in SHARED_PROBLEMS {
        let response = &mut operation["responses"][status];
        response["description"] = match response["description"].as_str() {
            Some(own) => format!("{own}; {codes}").into(),
            None => codes.into(),
        };
    }
    for (status, response) in operation["responses"].as_object_mut().expect("an operation has responses") {
        complete_response(status, response);
    }
}

fn complete_response(status: &str, response: &mut Value) {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    response["headers"]["X-Correlation-Id"] = header("The request's correlation id, or a new one");
    response["headers"]["Idempotency-Replayed"] = header("`true` if this is a repeated response");
    if status.starts_with('2') {
        response["headers"]["ETag"] = header("The version, in quotes");
        response["headers"]["X-Tradewind-Position"] =
            header("The position of the events; the query side takes it as `after`");
        return;
    }
    if status == "503" {
        response["headers"]["Retry-After"] = header("Seconds");
    }
    response["content"] =
        json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
}

/// As a pattern: client generators map the format `uuid` to a type that is not text, and HTTP libraries only take text
/// as a header.
const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

fn shared_headers() -> Value {
    json!([
        {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~][!-~]*$"},
            "description": "Your name for this one attempt, with or without quotes. A repeat within 7 days gets the first \
                answer, refusals included. Keys of orders, stock and shipments do not meet."
        },
        {
            "name": "If-Match", "in": "header", "required": false,
            "schema": {"type": "string", "pattern": "^(\\*|\"[1-9][0-9]*\")$"},
            "description": "Only if it is at this version (an ETag), or, with `*`, if it exists."
        },
        {
            "name": "X-Correlation-Id", "in": "header", "required": false,
            "schema": {"type": "string", "pattern": UUID},
            "description": "Part of every event that the command causes, in every context."
        },
        {
            "name": "traceparent", "in": "header", "required": false,
            "schema": {"type": "string"},
            "description": "W3C Trace Context. One that cannot be read starts a new trace."
        },
    ])
}
