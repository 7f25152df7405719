//! Writes responses. The first response and its repetitions are written here, so that they are equal.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use event_store::Answer;
use events::PositionToken;
use serde_json::Value;

use crate::execute::Accepted;

pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The position of the command's events, as in the body. The query side answers with the same header.
const POSITION_HEADER: HeaderName = HeaderName::from_static("x-tradewind-position");

#[derive(Debug, Clone)]
pub struct CommandResponse {
    status: StatusCode,
    body: Value,
    location: Option<String>,
    replayed: bool,
}

impl CommandResponse {
    /// `position` is that of the appended events; a body that contains one keeps it.
    pub fn new(answer: Answer, position: PositionToken, form: &Accepted) -> Self {
        let status = StatusCode::from_u16(answer.status).expect("only this crate stores answers");
        let mut body = answer.body;
        let mut location = None;
        if status.is_success() {
            if body["position"].is_null() {
                body["position"] = Value::String(position.to_string());
            }
            let id = body[form.subject].as_str().unwrap_or_default();
            location = form.location.map(|before| format!("{before}{id}"));
        }
        Self { status, body, location, replayed: false }
    }

    #[must_use]
    pub fn replayed(self) -> Self {
        Self { replayed: true, ..self }
    }

    /// For the metrics.
    pub fn outcome(&self) -> &'static str {
        match (self.replayed, self.status.is_success()) {
            (true, _) => "replayed",
            (false, true) => "accepted",
            (false, false) => "refused",
        }
    }

    /// For the metrics: the problem's code, or empty.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let content_type =
            if self.status.is_success() { "application/json" } else { "application/problem+json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(version) = self.body["version"].as_i64().filter(|_| self.status.is_success()) {
            let etag = HeaderValue::try_from(format!("\"{version}\"")).expect("a number in quotes is ASCII");
            headers.insert(header::ETAG, etag);
        }
        if let Some(position) = self.body["position"].as_str().filter(|_| self.status.is_success()) {
            let position = HeaderValue::try_from(position).expect("a position token is ASCII");
            headers.insert(POSITION_HEADER, position);
        }
        if let Some(location) = &self.location {
            let location = HeaderValue::try_from(location).expect("a path of ours with a UUID is ASCII");
            headers.insert(header::LOCATION, location);
        }
        if self.replayed {
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        headers
    }
}

impl IntoResponse for CommandResponse {
    fn into_response(self) -> Response {
        (self.status, self.headers(), self.body.to_string()).into_response()
    }
}
