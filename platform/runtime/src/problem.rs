//! The form of every error response: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! Never: the cause of an internal error; that belongs to the log.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// One error response. `code` and `title` are the same each time; `detail` describes this occurrence.
///
/// ```
/// use axum::http::StatusCode;
/// use runtime::Problem;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "order_shipped", "Order already shipped")
///     .detail("order 42 was shipped and cannot be cancelled")
///     .with("order_id", "42");
/// assert_eq!(problem.status(), StatusCode::CONFLICT);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Members>);

/// Boxed: problems are rare, and `Result<_, Problem>` should stay small.
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

/// An error in one field of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The path in the body (`lines[3].quantity`), or the name of the parameter or header.
    pub field: String,
    pub detail: String,
    /// The values that would have been accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Problem {
    /// `code` is stable snake_case. `title` does not change between occurrences.
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

    /// A fault of the server. The caller logs the cause.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal server error")
            .detail("the server log has the cause under the correlation id of this response")
    }

    #[must_use]
    pub fn invalid_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", "Invalid request body")
    }

    #[must_use]
    pub fn invalid_header() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_header", "Invalid request header")
    }

    #[must_use]
    pub fn invalid_path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_path", "Invalid request path")
    }

    #[must_use]
    pub fn invalid_query() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", "Invalid request query")
    }

    /// A limit on concurrent work is reached. Nothing was done.
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::unavailable("overloaded", "Service overloaded", retry_after)
    }

    /// A temporary failure that a retry may resolve.
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

    /// Adds an error in a field, with the allowed values.
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

    /// The first field error also becomes the detail, where none is set.
    #[must_use]
    pub fn field_error(mut self, error: FieldError) -> Self {
        self.0.detail.get_or_insert_with(|| format!("{}: {}", error.field, error.detail));
        self.0.errors.push(error);
        self
    }

    /// Adds a member that only this code has.
    ///
    /// # Panics
    /// When `value` cannot be JSON (a map whose keys are not strings).
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a member of a problem is plain data");
        self.0.own.insert(name.into(), value);
        self
    }

    /// When the client may retry. Sent in whole seconds, at least 1.
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
    fn a_problem_has_the_members_of_rfc_9457_and_additional_ones() {
        let problem = Problem::invalid_body()
            .detail("1 field is wrong")
            .field("lines[0].quantity", "0 is too small", "1 to 1000000")
            .with("given", 0);
        assert_eq!(
            serde_json::to_value(&problem).expect("plain data"),
            json!({
                "type": "/problems/invalid_body",
                "title": "Invalid request body",
                "status": 400,
                "code": "invalid_body",
                "detail": "1 field is wrong",
                "errors": [{"field": "lines[0].quantity", "detail": "0 is too small", "allowed": "1 to 1000000"}],
                "given": 0,
            })
        );
    }

    #[test]
    fn a_temporary_problem_has_a_retry_after_header() {
        let response = Problem::overloaded(Duration::from_millis(200)).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
