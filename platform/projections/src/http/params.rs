//! Parameters, parsed where they come in: a value that exists is within its limits.
//!
//! An error says what was given and, after ", expected", what is allowed: `runtime::http` makes a problem of that.

use std::fmt;

use axum::http::StatusCode;
use runtime::Problem;
use serde::Deserialize;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bounded<const MIN: i64, const MAX: i64>(pub i64);

/// Entries of one page.
pub type PageLimit = Bounded<1, 500>;
pub const PAGE_LIMIT_DEFAULT: PageLimit = Bounded(50);

/// How long a request waits.
pub type TimeoutMs = Bounded<0, 60_000>;
pub(crate) const TIMEOUT_MS_DEFAULT: TimeoutMs = Bounded(5_000);

impl<const MIN: i64, const MAX: i64> TryFrom<String> for Bounded<MIN, MAX> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("is {:?}, expected a whole number from {MIN} to {MAX}", shortened(&text))),
        }
    }
}

/// 400: a part of the path is not what the route takes.
pub fn invalid_path(field: &str, detail: &str, allowed: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_path", "Invalid path").field(field, detail, allowed)
}

/// 400: a parameter of the query is not what the route takes.
pub fn invalid_query(field: &str, detail: impl fmt::Display, allowed: impl fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "Invalid query").field(
        field,
        detail.to_string(),
        allowed.to_string(),
    )
}

pub(crate) fn invalid_header(field: &str, detail: &str, allowed: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_header", "Invalid header").field(field, detail, allowed)
}

/// What was given, as an error shows it.
pub fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bounded, PageLimit};

    #[test]
    fn a_number_outside_its_bounds_is_refused_with_the_bounds() {
        assert_eq!(PageLimit::try_from("500".to_owned()), Ok(Bounded(500)));
        for given in ["0", "501", "-1", "", "1.0", "99999999999999999999", "ten"] {
            let error = PageLimit::try_from(given.to_owned()).expect_err(given);
            assert_eq!(error, format!("is {given:?}, expected a whole number from 1 to 500"));
        }
    }
}
