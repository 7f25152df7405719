//! How a request sees what it has seen before: it names positions, and is answered when the read models have come so far.
//!
//! `?after=orders:1234,inventory:56` holds when everything up to there is applied, in every partition and by whichever
//! process, and what was named is not parked. A list leaves out what is parked, unless it is what was named.
//! Never: an older answer in silence, a wait without an end.
//! Read next: [`super::read`].

use std::time::Duration;

use axum::http::StatusCode;
use events::{Positions, StreamId};
use runtime::Problem;
use serde::Serialize;

use super::params::{After, AfterHeader, TIMEOUT_MS_DEFAULT, TimeoutMs, invalid_query};
use crate::engine::consumer_name;

pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a request waits for before it is answered, and for how long.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The projection's parked events are filed under this.
    pub consumer: String,
    /// The streams of what is asked for: none of their events may be parked, up to the positions.
    pub streams: Vec<String>,
    /// None: what is there now will do.
    pub after: Option<Positions>,
    /// None: the request waits for nothing, and looks once.
    pub timeout: Option<Duration>,
}

impl Wait {
    /// For a request of the projection's rows that may name positions, in the query or the header. `streams` are those
    /// that feed the row that is asked for; none for a list.
    ///
    /// # Errors
    /// 400, when the query and the header differ, or there is a time-out and nothing to wait for.
    pub fn of(
        projection: &str,
        streams: &[StreamId],
        (query, AfterHeader(header)): (Option<After>, AfterHeader),
        timeout: Option<TimeoutMs>,
    ) -> Result<Self, Problem> {
        Self::or_for(projection, streams, (query, AfterHeader(header)), timeout, false)
    }

    /// The same for a request that may also wait for something else: it does when `waits` is true.
    ///
    /// # Errors
    /// As [`Wait::of`].
    pub fn or_for(
        projection: &str,
        streams: &[StreamId],
        (query, AfterHeader(header)): (Option<After>, AfterHeader),
        timeout: Option<TimeoutMs>,
        waits: bool,
    ) -> Result<Self, Problem> {
        if let (Some(After(query)), Some(After(header))) = (&query, &header)
            && query != header
        {
            let detail = format!("is {query}, and the header X-Tradewind-After is {header}");
            return Err(invalid_query("after", detail, "the same in both, or one of them"));
        }
        let after = query.or(header).map(|After(positions)| positions);
        let waits = waits || after.is_some();
        if timeout.is_some() && !waits {
            let detail = "there is nothing to wait for";
            return Err(invalid_query("timeout_ms", detail, "together with after or wait"));
        }
        let milliseconds = timeout.unwrap_or(TIMEOUT_MS_DEFAULT).0.unsigned_abs();
        Ok(Self {
            consumer: consumer_name(projection),
            streams: streams.iter().map(|stream| stream.as_str().to_owned()).collect(),
            after,
            timeout: waits.then(|| Duration::from_millis(milliseconds)),
        })
    }
}

/// The positions are not applied, and the time to wait is over.
pub fn not_yet_applied(wanted: &Positions, applied: &Positions, parked: bool) -> Problem {
    let detail = match parked {
        true => {
            format!("an event up to {wanted} is parked, and waits for a person (`tradewind parked list`)")
        }
        false if applied.is_empty() => format!("{wanted} is not applied yet; nothing is"),
        false => format!("{wanted} is not applied yet; {applied} is"),
    };
    Problem::unavailable("not_yet_applied", "The read model has not come that far", RETRY_AFTER)
        .detail(detail)
        .with("after", wanted.to_string())
}

/// What is waited for has not come about, and the time to wait is over. `member` names how it stands instead.
pub fn not_settled(order_id: &str, member: &str, stands: impl Serialize) -> Problem {
    Problem::unavailable("not_settled", "The order has no outcome yet", RETRY_AFTER)
        .detail(format!("order {order_id} is not settled and the time to wait is over"))
        .with(member, stands)
}

/// 404, with the name of what is not there.
pub fn not_found(kind: &'static str, key: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{kind}_not_found"), "The read model has no such row").detail(
        format!(
            "there is no {kind} {key} as far as the read models have come (X-Tradewind-Position); a request with ?after= \
             waits until they have come further"
        ),
    )
}
