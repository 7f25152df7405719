//! One side of the platform, asked with patience: what is refused for now, or hears nobody, is asked again.
//!
//! A POST carries a key, so that asking again does nothing twice. Never: patience without an end.
//! Read next: `orders.rs`, `settle.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// How long a request is repeated: long enough for a role that is being restarted.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Also the longest that `Retry-After` is obeyed.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than the server takes to say that it has no answer.
const ANSWER_MAX: Duration = Duration::from_secs(70);

#[derive(Debug)]
pub struct Door {
    http: Client,
    base: String,
    asked_again: AtomicU64,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    /// The server had given it before, to the same key.
    pub replayed: bool,
    come_back_in: Option<Duration>,
}

/// Nobody answered, or only "not now".
#[derive(Debug, thiserror::Error)]
#[error("no answer in {} s; last: {last}", GIVE_UP_AFTER.as_secs())]
pub struct GaveUp {
    last: String,
}

impl Door {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let http = Client::builder().connect_timeout(CONNECT_MAX).timeout(ANSWER_MAX).no_proxy().build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), asked_again: AtomicU64::new(0) })
    }

    /// Asks once whether somebody is there.
    ///
    /// # Errors
    /// When nobody is; names the option that `flag` is.
    pub async fn greet(&self, who: &str, flag: &str) -> anyhow::Result<()> {
        let url = format!("{}/livez", self.base);
        let answer = self.http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
        answer.map(|_| ()).with_context(|| {
            format!("no {who} answers at {}: start one by `tradewind up`, or name it with {flag}", self.base)
        })
    }

    /// How often something was asked again.
    pub fn asked_again(&self) -> u64 {
        self.asked_again.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`GaveUp`].
    pub async fn post(&self, path: &str, key: Uuid, body: String) -> Result<Answer, GaveUp> {
        let url = format!("{}{path}", self.base);
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        self.insist(&request.header("Idempotency-Key", key.to_string()).body(body)).await
    }

    /// One attempt.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        attempt(self.http.get(format!("{}{path}", self.base))).await
    }

    async fn insist(&self, request: &RequestBuilder) -> Result<Answer, GaveUp> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let request = request.try_clone().expect("a request whose body is text can be repeated");
            let (wait, last) = match attempt(request).await {
                Ok(Answer { come_back_in: Some(wait), status, body, .. }) => {
                    (wait.min(PAUSE_MAX), format!("{} {}", status.as_u16(), body["code"]))
                }
                Ok(answer) => return Ok(answer),
                Err(error) => (pause, root_cause(&error)),
            };
            if started.elapsed() + wait > GIVE_UP_AFTER {
                return Err(GaveUp { last });
            }
            self.asked_again.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn attempt(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let status = response.status();
    let replayed = response.headers().contains_key("idempotency-replayed");
    let not_now = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let come_back_in = not_now.then(|| retry_after.map_or(PAUSE_MIN, Duration::from_secs));
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, body, replayed, come_back_in })
}

/// Without the URL, so that equal causes are counted as one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
