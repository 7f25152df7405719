//! What a request is about, what was found, and the problems that say why it was not.

use axum::http::{HeaderValue, StatusCode};
use event_log::{Positions, StreamId};
use runtime::Problem;

use super::wait::RETRY_AFTER;

/// The header of an answer with the positions that it depends on.
pub(crate) const POSITION_HEADER: &str = "x-tradewind-position";
/// The thing that a request is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// What a 404 calls it: `<kind>_not_found`.
    pub kind: &'static str,
    pub key: &'a str,
    /// The streams that feed its rows: none of their events may be parked, up to the positions that the request names.
    pub streams: &'a [StreamId],
}

/// Rows, and how far the read models had come when they were read.
#[derive(Debug)]
pub struct Found<T> {
    pub rows: T,
    /// Everything that the rows depend on.
    pub position: Positions,
}

impl<T> Found<Vec<T>> {
    /// The rows, of which there is at least one.
    ///
    /// # Errors
    /// 404 with the position when there is none.
    pub fn some(self, target: &Target<'_>) -> Result<Self, Problem> {
        match self.rows.is_empty() {
            true => Err(with_position(target.not_found(), &self.position)),
            false => Ok(self),
        }
    }
}

impl Target<'_> {
    /// 404, with the name of the thing.
    pub(crate) fn not_found(&self) -> Problem {
        let Self { kind, key, .. } = self;
        Problem::new(StatusCode::NOT_FOUND, format!("{kind}_not_found"), "Not found").detail(format!(
            "there is no {kind} {key} as far as the read models have come (X-Tradewind-Position); a request with ?after= waits until \
             they have come further"
        ))
    }
}

/// The value of [`POSITION_HEADER`]; none when nothing was ever applied.
pub(crate) fn position_value(position: &Positions) -> Option<HeaderValue> {
    let named: Positions = position.iter().filter(|token| token.position > 0).collect();
    (!named.is_empty()).then(|| HeaderValue::try_from(named.to_string()).expect("positions are ASCII"))
}

pub(crate) fn with_position(problem: Problem, position: &Positions) -> Problem {
    match position_value(position) {
        Some(value) => problem.header(POSITION_HEADER, value),
        None => problem,
    }
}

/// The positions are not applied, and the time is over.
pub(crate) fn not_yet_applied(wanted: &Positions, applied: &Positions, is_parked: bool) -> Problem {
    let detail = match is_parked {
        true => {
            format!("an event up to {wanted} is parked until a person resolves it (`tradewind parked list`)")
        }
        false if applied.is_empty() => format!("{wanted} is not applied yet; nothing is"),
        false => format!("{wanted} is not applied yet; {applied} is"),
    };
    Problem::unavailable("not_yet_applied", "Read model has not caught up", RETRY_AFTER)
        .detail(detail)
        .with("after", wanted.to_string())
}
