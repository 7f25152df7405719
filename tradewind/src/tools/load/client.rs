//! The HTTP client of `tradewind load` for one side of the platform. A POST is retried with exponential backoff when
//! the server refuses it for now or does not respond; its idempotency key makes the repetition safe.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// How long a request is retried: long enough for the restart of a role.
const RETRY_MAX: Duration = Duration::from_secs(60);
const DELAY_MIN: Duration = Duration::from_millis(100);
/// A longer `Retry-After` is shortened to this.
const DELAY_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than the server's own time limit.
const RESPONSE_MAX: Duration = Duration::from_secs(70);

#[derive(Debug)]
pub struct ApiClient {
    http: Client,
    base: String,
    retries: AtomicU64,
}

#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub body: Value,
    /// The server had sent this response before, for the same idempotency key.
    pub replayed: bool,
}

/// The retries ended without a final response.
#[derive(Debug, thiserror::Error)]
#[error("no answer in {} s; last: {last}", RETRY_MAX.as_secs())]
pub struct NoAnswer {
    last: String,
}

/// Why a request is retried.
enum Retry {
    /// The server refused it for now.
    NotNow {
        after: Option<Duration>,
        refusal: String,
    },
    Failed(reqwest::Error),
}

impl ApiClient {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let http = Client::builder().connect_timeout(CONNECT_MAX).timeout(RESPONSE_MAX).no_proxy().build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), retries: AtomicU64::new(0) })
    }

    /// Asks once for `/livez`, so that a wrong address is reported before anything is sent.
    ///
    /// # Errors
    /// When `role` does not respond; the message names the option `flag`.
    pub async fn check_reachable(&self, role: &str, flag: &str) -> anyhow::Result<()> {
        let url = format!("{}/livez", self.base);
        let response = self.http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
        response.map(|_| ()).with_context(|| {
            format!(
                "no {role} responds at {}: start a platform with `tradewind up`, or give its address with {flag}",
                self.base
            )
        })
    }

    /// The number of retries so far.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`NoAnswer`].
    pub async fn post(&self, path: &str, key: Uuid, body: String) -> Result<Response, NoAnswer> {
        let url = format!("{}{path}", self.base);
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        self.send_with_retry(&request.header("Idempotency-Key", key.to_string()).body(body)).await
    }

    /// Sends one request, without retries.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn get(&self, path: &str) -> reqwest::Result<Response> {
        read(self.http.get(format!("{}{path}", self.base)).send().await?).await
    }

    async fn send_with_retry(&self, request: &RequestBuilder) -> Result<Response, NoAnswer> {
        let deadline = Instant::now() + RETRY_MAX;
        let backoff =
            ExponentialBuilder::new().with_min_delay(DELAY_MIN).with_max_delay(DELAY_MAX).without_max_times();
        let sent =
            (async || send(request.try_clone().expect("a request whose body is text can be repeated")).await)
                .retry(backoff)
                .adjust(|retry, delay| {
                    let delay = match retry {
                        Retry::NotNow { after, .. } => {
                            after.map_or(Some(DELAY_MIN), |after| Some(after.min(DELAY_MAX)))
                        }
                        Retry::Failed(_) => delay,
                    };
                    delay.filter(|delay| Instant::now() + *delay <= deadline)
                })
                .notify(|_, _| {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                });
        sent.await.map_err(|retry| NoAnswer {
            last: match retry {
                Retry::NotNow { refusal, .. } => refusal,
                Retry::Failed(error) => root_cause(&error),
            },
        })
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Retry> {
    let response = request.send().await.map_err(Retry::Failed)?;
    let not_now =
        matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let response = read(response).await.map_err(Retry::Failed)?;
    if not_now {
        let refusal = format!("{} {}", response.status.as_u16(), response.body["code"]);
        return Err(Retry::NotNow { after: after.map(Duration::from_secs), refusal });
    }
    Ok(response)
}

async fn read(response: reqwest::Response) -> reqwest::Result<Response> {
    let status = response.status();
    let replayed = response.headers().contains_key("idempotency-replayed");
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Response { status, body, replayed })
}

/// Without the URL, so that equal causes are counted as one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;

    use super::*;

    /// A server that refuses the first requests with 503 and keeps the idempotency keys that it gets.
    async fn refusing_server(refusals: usize) -> (String, Arc<Mutex<Vec<String>>>) {
        let keys = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&keys);
        let handler = move |headers: HeaderMap| async move {
            let mut seen = seen.lock().expect("no handler panics");
            seen.push(headers["idempotency-key"].to_str().expect("a key is ASCII").to_owned());
            match seen.len() > refusals {
                true => (StatusCode::CREATED, [(RETRY_AFTER, "0")], r#"{"version":1}"#),
                false => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "0")], r#"{"code":"overloaded"}"#),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().route("/v1/orders", post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, keys)
    }

    #[tokio::test]
    async fn a_request_that_is_refused_for_now_is_sent_again_under_the_same_key() {
        let (url, keys) = refusing_server(2).await;
        let client = ApiClient::new(&url).expect("TLS can be set up");
        let key = Uuid::from_u128(7);
        let response =
            client.post("/v1/orders", key, "{}".to_owned()).await.expect("the third request succeeds");
        assert_eq!(
            (response.status, response.body),
            (StatusCode::CREATED, serde_json::json!({"version": 1}))
        );
        assert_eq!(*keys.lock().expect("no handler panics"), vec![key.to_string(); 3]);
        assert_eq!(client.retries(), 2);
    }

    #[tokio::test]
    async fn a_request_that_is_refused_for_good_is_not_sent_again() {
        let (url, _) = refusing_server(0).await;
        let client = ApiClient::new(&url).expect("TLS can be set up");
        let response =
            client.post("/nowhere", Uuid::nil(), String::new()).await.expect("a 404 is a response");
        assert_eq!((response.status, client.retries()), (StatusCode::NOT_FOUND, 0));
    }
}
