//! Who asks, for the logs and the events: the correlation id and the trace of a request.
//!
//! Never: a decision that depends on it. Read next: `guard.rs`, which makes one for each request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use uuid::Uuid;

use crate::Problem;
use crate::trace::TraceContext;

/// Accepted as a UUID, made where absent, and sent back with every answer.
pub const CORRELATION_ID: &str = "x-correlation-id";
const TRACEPARENT: &str = "traceparent";

/// Take it as an argument of a handler.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext {
    /// The same for everything that this request leads to.
    pub correlation_id: Uuid,
    /// Our span of the caller's trace, or of a new one.
    pub trace: TraceContext,
}

impl RequestContext {
    fn new() -> Self {
        Self { correlation_id: Uuid::now_v7(), trace: TraceContext::new_root() }
    }

    /// # Errors
    /// When the correlation id is not a UUID: whoever sends one wants to find it again. A traceparent that cannot be
    /// read starts a new trace, as W3C asks.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut context = Self::new();
        if let Some(given) = headers.get(CORRELATION_ID) {
            context.correlation_id =
                given.to_str().ok().and_then(|text| Uuid::try_parse(text).ok()).ok_or_else(|| {
                    Problem::new(
                        StatusCode::BAD_REQUEST,
                        "invalid_header",
                        "A header is not what is asked for",
                    )
                    .field(
                        "X-Correlation-Id",
                        "not a UUID",
                        "a UUID, or no such header: then one is made",
                    )
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
