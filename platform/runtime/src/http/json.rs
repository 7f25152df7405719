//! A JSON body, read strictly: what is refused is named by its field, with what would have been accepted.
//!
//! Never: a guess at what the client meant. Unknown fields are the target type's to refuse
//! (`#[serde(deny_unknown_fields)]`). Read next: `strict.rs` (what no
//! derived type refuses), `json_shape.rs` (what no type can).

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json_shape;
use super::strict::Strict;
use crate::{FieldError, Problem};

/// A message of serde may quote what the client sent.
const DETAIL_CHARS_MAX: usize = 300;

/// As an argument: the body as a `T`. As an answer: `T` as the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// As an argument: the body as it came, said to be JSON and not too large; for whoever needs the bytes as well.
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

impl JsonBytes {
    /// # Errors
    /// When the bytes are not JSON, or not a `T`: a 400 that names the field.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.tree()?;
        let mut json = serde_json::Deserializer::from_slice(&self.0);
        serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| {
            let path = error.path().to_string();
            let message = without_place(error.inner());
            Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "The body is not what is asked for")
                .detail("see errors for the field and what is allowed there")
                .field_error(field_error(&path, &message))
        })
    }

    /// For whoever reads the fields alone: whatever JSON the bytes are.
    ///
    /// # Errors
    /// When they are none: a 400 that names the field.
    pub fn tree(&self) -> Result<Value, Problem> {
        let text = std::str::from_utf8(&self.0).map_err(|error| {
            malformed(String::new(), format!("not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        json_shape::read(text).map_err(|wrong| malformed(wrong.field, shortened(&wrong.detail)))
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        // The server loop has the whole body already.
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

/// `application/json` or `application/<anything>+json`; JSON has one encoding, so parameters are not looked at.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "The body must be JSON").field(
        "Content-Type",
        if given.is_empty() { "absent".to_owned() } else { shortened(given) },
        "application/json",
    ))
}

fn malformed(field: String, detail: String) -> Problem {
    let problem = Problem::new(StatusCode::BAD_REQUEST, "malformed_json", "The body is not well-formed JSON");
    if field.is_empty() {
        return problem.detail(detail);
    }
    problem.detail(format!("{field}: {detail}")).field_error(FieldError { field, detail, allowed: None })
}

/// serde_json says where in the text; the path says it better.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// Takes `unknown field `x`, expected `a` or `b`` apart. Only for the reader's eye: nothing is decided by it.
pub(super) fn field_error(path: &str, message: &str) -> FieldError {
    let parent = if path == "." { "" } else { path };
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start));
    let field = match named.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) if parent.is_empty() => name.to_owned(),
        Some((name, _)) => format!("{parent}.{name}"),
        None if parent.is_empty() => "(body)".to_owned(),
        None => parent.to_owned(),
    };
    match message.rsplit_once(", expected ") {
        Some((detail, expected)) => {
            FieldError { field, detail: shortened(detail), allowed: Some(in_words(expected).to_owned()) }
        }
        None => FieldError { field, detail: shortened(message), allowed: None },
    }
}

/// Rust's names for types say little to someone with curl.
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

fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
