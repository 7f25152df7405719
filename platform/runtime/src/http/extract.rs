//! Path and query parameters, and what a client hears about a route that is not there.
//!
//! Never: an answer that is not a [`Problem`]. Read next: `context.rs`.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::json::field_error;
use crate::{FieldError, Problem};

/// As an argument: the parameters of the route's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// As an argument: the parameters after the `?`. Unknown ones are the target type's to refuse
/// (`#[serde(deny_unknown_fields)]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let problem = Problem::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_path",
                    "The path is not what is asked for",
                );
                let mut error = path_error(error.into_kind());
                if error.field == UNNAMED {
                    error.field = parameter_names(parts, state).await;
                }
                Err(problem.field_error(error))
            }
            Err(_) => Err(Problem::internal()),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or("");
        check_utf_8(query)?;
        let pairs = form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map(Self).map_err(
            |error| {
                let wrong = field_error(&error.path().to_string(), &error.inner().to_string());
                Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "The query is not what is asked for")
                    .field_error(wrong)
            },
        )
    }
}

/// What is not UTF-8 would be mended in silence, and something else be looked for than was asked.
fn check_utf_8(query: &str) -> Result<(), Problem> {
    let broken = query.split('&').find(|pair| percent_decode_str(pair).decode_utf8().is_err());
    let Some(pair) = broken else { return Ok(()) };
    let name = pair.split('=').next().unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8_lossy();
    let problem =
        Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "The query is not what is asked for");
    Err(problem.field(name, "is not UTF-8", "percent-encoded UTF-8"))
}

pub(super) async fn not_found(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "There is nothing at this path").detail(uri.path())
}

pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not take this method")
        .detail(format!("{method} {}; the Allow header says what it takes", uri.path()))
}

/// axum does not say which parameter of a tuple, or of a route that has only one.
const UNNAMED: &str = "(path)";

async fn parameter_names<S: Send + Sync>(parts: &mut Parts, state: &S) -> String {
    let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await else {
        return UNNAMED.to_owned();
    };
    parameters.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

fn path_error(kind: ErrorKind) -> FieldError {
    match kind {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
            field_error(&key, &format!("not of the type, expected {expected_type}"))
        }
        ErrorKind::DeserializeError { key, message, .. } => field_error(&key, &message),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            field_error(&key, "not UTF-8, expected percent-encoded UTF-8")
        }
        ErrorKind::ParseError { expected_type, .. } | ErrorKind::ParseErrorAtIndex { expected_type, .. } => {
            field_error(UNNAMED, &format!("not of the type, expected {expected_type}"))
        }
        other => field_error(UNNAMED, &other.to_string()),
    }
}
