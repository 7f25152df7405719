//! How a request sees what it has seen before: it names positions, and is answered when the read models have applied them.
//!
//! `?after=<context>:1234,<context>:56` holds when everything up to these positions is applied, in every partition and by
//! whichever process, and the named events are not parked. A list leaves out what is parked, unless it is what was named.
//! Never: a stale answer without an error, a wait without a limit.

use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::Request;
use axum::http::request::Parts;
use event_log::{ContextName, Positions};
use runtime::Problem;
use runtime::http::Query;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::params::{TIMEOUT_MS_DEFAULT, TimeoutMs, invalid_header, invalid_query, shortened};
use super::query::ReadModels;

/// When to ask again, where a request was answered with 503.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

const AFTER_HEADER: &str = "x-tradewind-after";
const AFTER: &str = "after";
const TIMEOUT_MS: &str = "timeout_ms";

/// As an argument: the parameters of the query, and what the request waits for (`after`, `timeout_ms` and the header
/// `X-Tradewind-After`). `T` does not have these two parameters, and refuses unknown ones.
#[derive(Debug, Clone)]
pub struct WaitQuery<T> {
    pub query: T,
    pub wait: WaitRequest,
}

/// What a request waits for before it is answered, and for how long.
#[derive(Debug, Clone, Default)]
pub struct WaitRequest {
    /// None: the current state will do.
    pub after: Option<Positions>,
    timeout: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitParams {
    after: Option<String>,
    timeout_ms: Option<TimeoutMs>,
}

impl WaitRequest {
    /// How long the request waits; none when it waits for nothing and reads once. `waits_for_row`: it waits for something
    /// besides positions.
    ///
    /// # Errors
    /// 400, when there is a time-out and nothing to wait for.
    pub(crate) fn timeout(&self, waits_for_row: bool) -> Result<Option<Duration>, Problem> {
        if waits_for_row || self.after.is_some() {
            let default = Duration::from_millis(TIMEOUT_MS_DEFAULT.0.unsigned_abs());
            return Ok(Some(self.timeout.unwrap_or(default)));
        }
        match self.timeout {
            None => Ok(None),
            Some(_) => {
                let detail = "there is nothing to wait for";
                Err(invalid_query(TIMEOUT_MS, detail, "together with after or wait"))
            }
        }
    }
}

impl<T, S> FromRequestParts<S> for WaitQuery<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
    ReadModels: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read_models = ReadModels::from_ref(state);
        let (of_wait, others) = split(parts.uri.query().unwrap_or(""));
        let Query(params) = parse::<WaitParams>(&of_wait).await?;
        let Query(query) = parse::<T>(&others).await?;
        let in_query = match params.after {
            None => None,
            Some(text) => Some(
                positions(&text, read_models.contexts())
                    .map_err(|(detail, allowed)| invalid_query(AFTER, detail, allowed))?,
            ),
        };
        let in_header = match parts.headers.get(AFTER_HEADER) {
            None => None,
            Some(value) => Some(
                positions(&String::from_utf8_lossy(value.as_bytes()), read_models.contexts())
                    .map_err(|(detail, allowed)| invalid_header("X-Tradewind-After", &detail, &allowed))?,
            ),
        };
        if let (Some(query), Some(header)) = (&in_query, &in_header)
            && query != header
        {
            let detail = format!("is {query}, and the header X-Tradewind-After is {header}");
            return Err(invalid_query(AFTER, detail, "the same in both, or one of them"));
        }
        let timeout = params.timeout_ms.map(|timeout| Duration::from_millis(timeout.0.unsigned_abs()));
        Ok(Self { query, wait: WaitRequest { after: in_query.or(in_header), timeout } })
    }
}

/// The parts of the query that are about waiting, and the others.
fn split(query: &str) -> (String, String) {
    let (mut of_wait, mut others) = (Vec::new(), Vec::new());
    for pair in query.split('&') {
        let name = pair.split('=').next().unwrap_or_default();
        // As a form is decoded: a name may be percent-encoded, too.
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        if [AFTER, TIMEOUT_MS].contains(&&*name) { &mut of_wait } else { &mut others }.push(pair);
    }
    (of_wait.join("&"), others.join("&"))
}

async fn parse<T: DeserializeOwned + Send>(query: &str) -> Result<Query<T>, Problem> {
    let request = Request::builder().uri(format!("/?{query}")).body(());
    let (mut parts, ()) = request.expect("a part of a query is a query").into_parts();
    Query::from_request_parts(&mut parts, &()).await
}

/// The positions, or what is wrong with them and what is allowed.
fn positions(text: &str, contexts: &[ContextName]) -> Result<Positions, (String, String)> {
    let is_known = |positions: &Positions| {
        !positions.is_empty() && positions.iter().all(|token| contexts.contains(&token.context))
    };
    text.parse().ok().filter(is_known).ok_or_else(|| {
        let names: Vec<&str> = contexts.iter().map(ContextName::as_str).collect();
        let allowed = format!("<context>:<position>, comma-separated; the contexts are {}", names.join(", "));
        (format!("is {:?}", shortened(text)), allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: [ContextName; 2] = [ContextName::new("kitchen"), ContextName::new("garden")];

    #[test]
    fn positions_name_contexts_that_exist_and_numbers() {
        for given in ["kitchen:12", "kitchen:12,garden:0"] {
            assert!(positions(given, &CONTEXTS).is_ok(), "{given}");
        }
        for given in ["", "kitchen", "kitchen:", "kitchen:-1", "cellar:1", "kitchen:1,cellar:1", "kitchen:1x"]
        {
            let (_, allowed) = positions(given, &CONTEXTS).expect_err(given);
            assert_eq!(
                allowed, "<context>:<position>, comma-separated; the contexts are kitchen, garden",
                "{given}"
            );
        }
    }

    #[test]
    fn a_query_is_split_by_the_names_of_its_parameters() {
        let of = |query| split(query);
        assert_eq!(of(""), (String::new(), String::new()));
        assert_eq!(
            of("limit=1&after=a:1&%61fter=b:2&timeout_ms=5&after_all=1"),
            ("after=a:1&%61fter=b:2&timeout_ms=5".to_owned(), "limit=1&after_all=1".to_owned())
        );
    }
}
