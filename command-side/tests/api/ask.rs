//! One request, and assertions about its response. A failed assertion shows the whole response.

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;

pub struct Ask(RequestBuilder);

impl Ask {
    pub fn new(request: RequestBuilder) -> Self {
        Self(request)
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw(body.to_string())
    }

    /// A body that says that it is JSON.
    pub fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("Content-Type", "application/json").body(body))
    }

    /// A body that says that it is something else.
    pub fn typed(self, content_type: &str, body: &'static str) -> Self {
        Self(self.0.header("Content-Type", content_type).body(body))
    }

    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self(self.0.header(name, value.as_ref()))
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn if_match(self, etag: &str) -> Self {
        self.header("If-Match", etag)
    }

    pub async fn send(self) -> Reply {
        let response = self.0.send().await.expect("the command side answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("an answer is text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, headers, text, body }
    }
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Reply {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// A problem with this status and code, in the form of RFC 9457.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:#?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:#?}");
        assert_eq!(self.body["status"], status, "{self:#?}");
        assert_eq!(self.body["type"], format!("/problems/{code}"), "{self:#?}");
        let says_why = self.body["detail"].is_string() || self.body["errors"].is_array();
        assert!(self.body["title"].is_string() && says_why, "{self:#?}");
        self
    }

    /// A problem that names the field, says what is wrong and what is allowed.
    #[track_caller]
    pub fn names(self, field: &str, detail: &str, allowed: &str) -> Self {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        let found = errors.iter().any(|error| {
            let says =
                |member: &str, part: &str| error[member].as_str().is_some_and(|text| text.contains(part));
            error["field"] == field && says("detail", detail) && says("allowed", allowed)
        });
        assert!(found, "no error for {field:?} with detail {detail:?}, allowed {allowed:?}: {self:#?}");
        self
    }

    #[track_caller]
    pub fn replayed(self, replayed: bool) -> Self {
        assert_eq!(self.header("idempotency-replayed") == Some("true"), replayed, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn at_version(self, version: i64) -> Self {
        assert_eq!(self.body["version"], version, "{self:#?}");
        assert_eq!(self.header("etag"), Some(format!("\"{version}\"").as_str()), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn at_position(self, token: &str) -> Self {
        assert_eq!(self.body["position"], token, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn text(&self, member: &str) -> String {
        let Some(text) = self.body[member].as_str() else { panic!("no text {member:?} in {self:#?}") };
        text.to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
