//! The JSON request body and response body. A refused body names the field and what would have been accepted.
//!
//! Unknown fields are refused by the target type (`#[serde(deny_unknown_fields)]`).

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json_parser::{self, JsonError};
use crate::{FieldError, Problem};

/// A message of serde may quote what the client sent.
const DETAIL_CHARS_MAX: usize = 300;

/// As an argument: the body as a `T`. As a return value: `T` as the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// As an argument: the bytes of a body whose content type is JSON, for handlers that need the bytes too.
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

impl JsonBytes {
    /// # Errors
    /// When the bytes are not JSON, or not a `T`: a 400 that names the field.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        json_parser::convert(&self.tree()?).map_err(|error| {
            Problem::invalid_body()
                .detail("see errors for the field and its allowed values")
                .field_error(field_error(&error.field, &error.detail))
        })
    }

    /// Any JSON, for handlers that read the fields themselves.
    ///
    /// # Errors
    /// When the bytes are not JSON: a 400 that names the field.
    pub fn tree(&self) -> Result<Value, Problem> {
        let text = std::str::from_utf8(&self.0).map_err(|error| {
            malformed(String::new(), format!("invalid UTF-8 at byte {}", error.valid_up_to()))
        })?;
        json_parser::parse(text).map_err(|JsonError { field, detail }| malformed(field, truncated(&detail)))
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        // The middleware has already read the whole body into memory.
        match request.into_body().collect().await {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) => Err(malformed(String::new(), error.to_string())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        JsonBytes::from_request(request, state).await?.parse().map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Accepts `application/json` and `application/<anything>+json`. JSON has one encoding, so parameters are ignored.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "Unsupported content type").field(
        "Content-Type",
        if given.is_empty() { "is missing".to_owned() } else { truncated(given) },
        "application/json",
    ))
}

fn malformed(field: String, detail: String) -> Problem {
    let problem = Problem::new(StatusCode::BAD_REQUEST, "malformed_json", "Malformed JSON");
    if field.is_empty() {
        return problem.detail(detail);
    }
    problem.detail(format!("{field}: {detail}")).field_error(FieldError { field, detail, allowed: None })
}

/// Splits serde's messages into their parts, such as ``unknown field `x`, expected `a` or `b` ``. The parts are only
/// shown: no decision depends on them.
pub(super) fn field_error(parent: &str, message: &str) -> FieldError {
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start));
    let field = match named.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) if parent.is_empty() => name.to_owned(),
        Some((name, _)) => format!("{parent}.{name}"),
        None if parent.is_empty() => "(body)".to_owned(),
        None => parent.to_owned(),
    };
    match message.rsplit_once(", expected ") {
        Some((detail, expected)) => {
            FieldError { field, detail: truncated(detail), allowed: Some(in_words(expected).to_owned()) }
        }
        None => FieldError { field, detail: truncated(message), allowed: None },
    }
}

/// Replaces names of Rust types, which a client may not know.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number from 0 to 18446744073709551615",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number from -9223372036854775808 to 9223372036854775807",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        object if object.starts_with("struct ") => "an object",
        other => other,
    }
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
