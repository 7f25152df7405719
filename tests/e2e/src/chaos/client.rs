//! One client: asks, asks again with the same key when it heard nothing, and says honestly how it ended.
//!
//! Never: "fail" for an answer that leaves it open. Read next: `load.rs`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::history::{History, Outcome, What};
use crate::Connection;

/// A client waits no longer; the server may still do it.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
const ATTEMPTS_MAX: usize = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);

/// The codes of a 503 that say that nothing was done.
const NOTHING_DONE: [&str; 4] = ["store_unavailable", "contention", "overloaded", "shutting_down"];

#[derive(Clone)]
pub struct Client {
    pub process: String,
    http: reqwest::Client,
    command_url: String,
    history: Arc<History>,
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    /// An answer that counts: status and body.
    Answer(u16, Value),
    /// Certainly not done.
    NotDone(String),
    Nothing(String),
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One request, without a key.
    Once,
    /// With a key: asks again until it knows.
    Keyed,
    /// With a key, twice at the same time.
    Twice,
    /// With a key; sends the first request, hangs up after this long without having read an answer, and asks again.
    HangsUp { after: Duration },
}

impl Client {
    pub fn new(process: String, command_url: String, history: Arc<History>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a plain client can be made");
        Self { process, http, command_url, history }
    }

    /// Does it and records it.
    pub async fn perform(&self, what: What, manner: Manner) -> Outcome {
        let id = self.history.invoke(&self.process, what.clone());
        let outcome = match manner {
            Manner::Once => outcome_of(&[self.request(id, &what, None, ANSWER_LIMIT).await]),
            Manner::Keyed => self.until_known(id, &what, Vec::new()).await,
            Manner::HangsUp { after } => {
                let first = match self.hang_up(id, &what, after).await {
                    Ok(()) => Heard::Nothing("hung up".to_owned()),
                    Err(error) => Heard::Nothing(format!("hung up early: {error}")),
                };
                self.until_known(id, &what, vec![first]).await
            }
            Manner::Twice => {
                let ask = || self.request(id, &what, Some(id), ANSWER_LIMIT);
                let (one, other) = tokio::join!(ask(), ask());
                self.must_be_equal(id, &one, &other);
                self.until_known(id, &what, vec![one, other]).await
            }
        };
        self.history.end(&self.process, id, outcome.clone());
        outcome
    }

    /// Repeats the request with its key until an answer counts; then once more, which must hear the same.
    async fn until_known(&self, id: Uuid, what: &What, mut heard: Vec<Heard>) -> Outcome {
        for _ in 0..ATTEMPTS_MAX {
            if heard.iter().any(|heard| matches!(heard, Heard::Answer(..))) {
                break;
            }
            if !heard.is_empty() {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            heard.push(self.request(id, what, Some(id), ANSWER_LIMIT).await);
        }
        if let Some(first) = heard.iter().find(|heard| matches!(heard, Heard::Answer(..))).cloned() {
            let again = self.request(id, what, Some(id), ANSWER_LIMIT).await;
            self.must_be_equal(id, &first, &again);
        }
        outcome_of(&heard)
    }

    /// The whole request, and then nobody to hear the answer.
    async fn hang_up(&self, id: Uuid, what: &What, after: Duration) -> std::io::Result<()> {
        let id = id.to_string();
        let mut connection = Connection::open(&self.command_url).await?;
        let headers = [("X-Correlation-Id", id.as_str()), ("Idempotency-Key", id.as_str())];
        connection.post(&what.path(), &headers, &what.body()).await?;
        tokio::time::sleep(after).await;
        Ok(())
    }

    fn must_be_equal(&self, id: Uuid, one: &Heard, other: &Heard) {
        if let (Heard::Answer(..), Heard::Answer(..)) = (one, other)
            && one != other
        {
            self.history.violation(format!("op {id}: one key, two answers: {one:?} and {other:?}"));
        }
    }

    async fn request(&self, id: Uuid, what: &What, key: Option<Uuid>, limit: Duration) -> Heard {
        let mut request = self
            .http
            .post(format!("{}{}", self.command_url, what.path()))
            .header("x-correlation-id", id.to_string())
            .json(&what.body());
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        let answered = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        };
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok((status, text))) => self.heard(id, status, &text),
            Ok(Err(error)) if error.is_connect() => Heard::NotDone(format!("no connection: {error}")),
            Ok(Err(error)) => Heard::Nothing(format!("{error:?}")),
            Err(_) => Heard::Nothing(format!("hung up after {limit:?}")),
        }
    }

    fn heard(&self, id: Uuid, status: u16, text: &str) -> Heard {
        let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let code = body["code"].as_str().unwrap_or_default();
        match status {
            200..500 => Heard::Answer(status, body),
            503 if NOTHING_DONE.contains(&code) => Heard::NotDone(format!("{status} {code}")),
            503 => Heard::Nothing(format!("{status} {code}")),
            _ => {
                self.history.violation(format!("op {id}: answered {status}: {text}"));
                Heard::Nothing(format!("{status} {code}"))
            }
        }
    }
}

/// Requests with one key are one operation: an answer settles it; it failed when no request can have done it.
fn outcome_of(heard: &[Heard]) -> Outcome {
    let answer = heard.iter().find_map(|heard| match heard {
        Heard::Answer(status, body) => Some((*status, body.clone())),
        Heard::NotDone(_) | Heard::Nothing(_) => None,
    });
    let silence = heard.iter().find_map(|heard| match heard {
        Heard::Nothing(why) => Some(why.clone()),
        Heard::Answer(..) | Heard::NotDone(_) => None,
    });
    match (answer, silence) {
        (Some((200..300, body)), _) => Outcome::Ok(body),
        (Some((status, body)), _) => {
            Outcome::Fail(format!("{status} {}", body["code"].as_str().unwrap_or_default()))
        }
        (None, Some(why)) => Outcome::Unknown(why),
        (None, None) => {
            let last = heard.last();
            Outcome::Fail(last.map_or_else(String::new, |last| format!("{last:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_heard_nothing_makes_the_operation_unknown_until_a_repeat_is_answered() {
        let nothing = Heard::Nothing("hung up".to_owned());
        let not_done = Heard::NotDone("503 overloaded".to_owned());
        assert_eq!(outcome_of(&[nothing.clone(), not_done.clone()]), Outcome::Unknown("hung up".to_owned()));
        let answered = Heard::Answer(201, json!({}));
        assert_eq!(outcome_of(&[nothing.clone(), not_done.clone(), answered]), Outcome::Ok(json!({})));
        let refused = Heard::Answer(409, json!({"code": "no"}));
        assert_eq!(outcome_of(&[nothing, refused]), Outcome::Fail("409 no".to_owned()));
        assert!(matches!(outcome_of(&[not_done]), Outcome::Fail(_)));
    }
}
