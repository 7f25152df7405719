//! How every error looks to a client: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! Never: the cause of an internal error; that goes to the log. Read next: `http/json.rs`, which makes most of them.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// One refusal. `code` and `title` are the same each time; `detail` is about this occurrence.
///
/// ```
/// use axum::http::StatusCode;
/// use runtime::Problem;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "order_shipped", "The order has left")
///     .detail("order 42 was shipped and cannot be cancelled")
///     .with("order_id", "42");
/// assert_eq!(problem.status(), StatusCode::CONFLICT);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Members>);

/// Boxed: a refusal is rare, and `Result<_, Problem>` should not be large for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Members {
    #[serde(rename = "type")]
    kind: String,
    title: Cow<'static, str>,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    code: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    own: Map<String, Value>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    headers: Vec<(&'static str, HeaderValue)>,
}

/// What is wrong with one field of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The path in the body (`lines[3].quantity`), or the name of the parameter or header.
    pub field: String,
    pub detail: String,
    /// What would have been accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Problem {
    /// `code` is stable snake_case, `title` a sentence without what is particular to this occurrence.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        let code = code.into();
        Self(Box::new(Members {
            kind: format!("/problems/{code}"),
            title: title.into(),
            status,
            code,
            detail: None,
            errors: Vec::new(),
            own: Map::new(),
            retry_after: None,
            headers: Vec::new(),
        }))
    }

    /// Something of ours is broken. The caller logs what; the client learns that it is not its fault.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed")
            .detail("the cause is in the server's log, under the correlation id of this answer")
    }

    /// Not now: an engine is away or there is too much to do. Nothing was done.
    #[must_use]
    pub fn unavailable(
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        retry_after: Duration,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title).retry_after(retry_after)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names a field, what is wrong with it, and what is allowed there.
    #[must_use]
    pub fn field(
        self,
        field: impl Into<String>,
        detail: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        self.field_error(FieldError {
            field: field.into(),
            detail: detail.into(),
            allowed: Some(allowed.into()),
        })
    }

    /// Where nothing was said in detail yet, the first field is.
    #[must_use]
    pub fn field_error(mut self, error: FieldError) -> Self {
        self.0.detail.get_or_insert_with(|| format!("{}: {}", error.field, error.detail));
        self.0.errors.push(error);
        self
    }

    /// Adds a member of the body that belongs to this code alone.
    ///
    /// # Panics
    /// When `value` cannot be JSON (a map whose keys are not strings).
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a member of a problem is plain data");
        self.0.own.insert(name.into(), value);
        self
    }

    /// When to ask again; sent in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Sends a header with the problem. `name` is in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        headers
            .extend(self.0.headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
        response
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse;
    use serde_json::json;

    use super::Problem;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_its_own() {
        let problem =
            Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "The body is not what is asked for")
                .detail("1 field is wrong")
                .field("lines[0].quantity", "0 is too small", "1 to 1000000")
                .with("given", 0);
        assert_eq!(
            serde_json::to_value(&problem).expect("plain data"),
            json!({
                "type": "/problems/invalid_body",
                "title": "The body is not what is asked for",
                "status": 400,
                "code": "invalid_body",
                "detail": "1 field is wrong",
                "errors": [{"field": "lines[0].quantity", "detail": "0 is too small", "allowed": "1 to 1000000"}],
                "given": 0,
            })
        );
    }

    #[test]
    fn a_problem_that_passes_says_when_to_ask_again() {
        let response =
            Problem::unavailable("overloaded", "Too much to do", Duration::from_millis(200)).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
