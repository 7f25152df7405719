//! Path and query parameters, the context of a request, and the problems for a missing route or method.

use std::convert::Infallible;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::json::field_error;
use crate::trace::TraceContext;
use crate::{FieldError, Problem};

/// A UUID. The server creates one where the client sends none, and returns it with every response.
// tower-http's request-id passes on any text; events carry this one as a UUID, so another text is refused here.
pub const CORRELATION_ID: &str = "x-correlation-id";
const TRACEPARENT: &str = "traceparent";

/// As an argument: the parameters of the route's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// As an argument: the parameters after the `?`. Unknown ones are refused by the target type
/// (`#[serde(deny_unknown_fields)]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<T>(pub T);

/// As an argument: what connects this request with its log lines, its events and the caller's trace.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext {
    /// The same for everything that this request causes.
    pub correlation_id: Uuid,
    /// Our span in the caller's trace, or in a new one.
    pub trace: TraceContext,
}

impl RequestContext {
    fn new() -> Self {
        Self { correlation_id: Uuid::now_v7(), trace: TraceContext::new_root() }
    }

    /// An invalid traceparent starts a new trace, as W3C requires.
    ///
    /// # Errors
    /// When the correlation id is not a UUID.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut context = Self::new();
        if let Some(given) = headers.get(CORRELATION_ID) {
            let given = given.to_str().ok().and_then(|text| Uuid::try_parse(text).ok());
            context.correlation_id = given.ok_or_else(|| {
                let allowed = "a UUID, or no such header: the server then creates one";
                Problem::invalid_header().field("X-Correlation-Id", "is not a UUID", allowed)
            })?;
        }
        let parent =
            headers.get(TRACEPARENT).and_then(|given| given.to_str().ok()?.parse::<TraceContext>().ok());
        if let Some(parent) = parent {
            context.trace = parent.child();
        }
        Ok(context)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(Self::new))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let mut error = path_error(error.into_kind());
                if error.field == UNNAMED {
                    error.field = parameter_names(parts, state).await;
                }
                Err(Problem::invalid_path().field_error(error))
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
                let path = error.path().to_string();
                let parent = if path == "." { "" } else { &path };
                Problem::invalid_query().field_error(field_error(parent, &error.inner().to_string()))
            },
        )
    }
}

/// The query parser would replace invalid UTF-8 silently, and the search would be for another text than was sent.
fn check_utf_8(query: &str) -> Result<(), Problem> {
    let broken = query.split('&').find(|pair| percent_decode_str(pair).decode_utf8().is_err());
    let Some(pair) = broken else { return Ok(()) };
    let name = pair.split('=').next().unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8_lossy();
    Err(Problem::invalid_query().field(name, "is not UTF-8", "percent-encoded UTF-8"))
}

pub(super) async fn not_found(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "Not found")
        .detail(format!("no route matches {}", uri.path()))
}

pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
        .detail(format!("{} does not support {method}; the Allow header lists what it supports", uri.path()))
}

/// axum does not name the parameter when the target is a tuple, or when the route has only one.
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
            field_error(&key, &format!("has the wrong type, expected {expected_type}"))
        }
        ErrorKind::DeserializeError { key, message, .. } => field_error(&key, &message),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            field_error(&key, "is not UTF-8, expected percent-encoded UTF-8")
        }
        ErrorKind::ParseError { expected_type, .. } | ErrorKind::ParseErrorAtIndex { expected_type, .. } => {
            field_error(UNNAMED, &format!("has the wrong type, expected {expected_type}"))
        }
        other => field_error(UNNAMED, &other.to_string()),
    }
}
