//! Parses a command from its HTTP request.
//!
//! Never: a decision, or a value of an unchecked type. Read next: `fields.rs` (how a body is read), then `execute.rs`
//! (how a command is executed).

pub mod fields;
mod headers;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use events::{Metadata, OrderId, Sku, ValueError};
use runtime::http::{JsonBytes, RequestContext};
use runtime::{FieldError, Problem};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use headers::IfMatch;

use fields::{Body, FieldProblem};

/// The actor in the metadata of every event.
const ACTOR: &str = "http";

/// Everything about a request except its path's parameters, which each route names.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    pub key: Option<IdempotencyKey>,
    pub if_match: Option<IfMatch>,
    pub metadata: Metadata,
    bytes: Bytes,
}

/// The client's key, and the request that it identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// SHA-256 of method, path and body. The same key with another request is a client error.
    pub fingerprint: [u8; 32],
}

impl CommandRequest {
    /// The body as a `B`.
    ///
    /// When it is not JSON, or fields are invalid: every one of them is named.
    pub fn body<B: Body>(&self) -> Result<B, Problem> {
        let tree = JsonBytes(self.bytes.clone()).tree()?;
        read(&tree)
    }

    /// The same for a route whose body may be absent or null.
    ///
    /// # Errors
    /// As [`Self::body`].
    pub fn body_if_any<B: Body>(&self) -> Result<B, Problem> {
        match self.bytes.as_ref() {
            b"" | b"null" => read(&Value::Object(Map::new())),
            _ => self.body(),
        }
    }
}

fn read<B: Body>(tree: &Value) -> Result<B, Problem> {
    fields::read_body(tree).map_err(|errors| {
        let problem = Problem::invalid_body().detail("see errors for each field and its allowed values");
        errors.into_iter().fold(problem, Problem::field_error)
    })
}

impl<S: Send + Sync> FromRequest<S> for CommandRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Ok(context) = RequestContext::from_request_parts(&mut parts, state).await;
        let key = headers::idempotency_key(&parts.headers)?;
        let if_match = IfMatch::of(&parts.headers)?;
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        // An absent body needs no content type.
        let bytes = if body.is_end_stream() {
            Bytes::new()
        } else {
            JsonBytes::from_request(Request::from_parts(parts, body), state).await?.0
        };
        let key = key
            .map(|key| IdempotencyKey { key, fingerprint: fingerprint(method.as_str(), uri.path(), &bytes) });
        let metadata = Metadata {
            correlation_id: context.correlation_id,
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: ACTOR.to_owned(),
            traceparent: Some(context.trace.to_string()),
            idempotency_key: key.as_ref().map(|key| key.key.clone()),
        };
        Ok(Self { key, if_match, metadata, bytes })
    }
}

fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Neither a method nor a path can contain a line end, so no two requests have the same bytes here.
    hash.update(format!("{method}\n{path}\n"));
    hash.update(body);
    hash.finalize().into()
}

/// The id in `/v1/orders/{order_id}/…` or `/v1/shipments/{shipment_id}/…`.
///
/// # Errors
/// When it is not a UUID.
pub fn order_id_in_path(name: &str, given: &str) -> Result<OrderId, Problem> {
    given.parse().map_err(|error| invalid_path(name, error))
}

/// The SKU in `/v1/stock/{sku}/…`, percent-decoded.
///
/// When it is too long or contains control characters.
pub fn sku_in_path(given: &str) -> Result<Sku, Problem> {
    given.parse().map_err(|error| invalid_path("sku", error))
}

fn invalid_path(name: &str, error: ValueError) -> Problem {
    let FieldProblem { detail, allowed } = error.into();
    Problem::invalid_path().detail(format!("{name} {detail}")).field_error(FieldError {
        field: name.to_owned(),
        detail,
        allowed: Some(allowed),
    })
}
