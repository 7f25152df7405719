//! Parameters, parsed where they come in: a value that exists is within its limits.
//!
//! Errors say what was given and, after ", expected", what is allowed: `runtime::http` makes a problem of that.
//! Never: a parameter that reaches a query unchecked. Read next: [`super::cursor`].

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{Datelike, NaiveDate};
use events::{CustomerId, OrderId, Positions, Sku};
use runtime::Problem;
use serde::Deserialize;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bounded<const MIN: i64, const MAX: i64>(pub i64);

/// Entries of one page.
pub type PageLimit = Bounded<1, 500>;
pub const PAGE_LIMIT_DEFAULT: PageLimit = Bounded(50);

/// How long a request waits for what it asked for.
pub type TimeoutMs = Bounded<0, 60_000>;
pub const TIMEOUT_MS_DEFAULT: TimeoutMs = Bounded(5_000);

/// A number of pieces.
pub type Pieces = Bounded<0, { i64::MAX }>;

impl<const MIN: i64, const MAX: i64> TryFrom<String> for Bounded<MIN, MAX> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("is {:?}, expected a whole number from {MIN} to {MAX}", shortened(&text))),
        }
    }
}

/// A customer's id in the query.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Customer(pub CustomerId);

impl TryFrom<String> for Customer {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| {
            let max = CustomerId::MAX_CHARS;
            format!("{error}, expected 1 to {max} characters, none of them a control character")
        })
    }
}

/// Positions in the query: those of a command's answer, or the `X-Tradewind-Position` of an answer of ours.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct After(pub Positions);

impl TryFrom<String> for After {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Positions>() {
            Ok(positions) if !positions.is_empty() => Ok(Self(positions)),
            _ => Err(format!(
                "is {:?}, expected <context>:<position>, or several of them with commas between, such as orders:1234 or \
                 orders:1234,inventory:56",
                shortened(&text)
            )),
        }
    }
}

/// A calendar day, `2026-11-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Day(pub NaiveDate);

impl TryFrom<String> for Day {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match NaiveDate::parse_from_str(&text, "%Y-%m-%d") {
            Ok(day) if text.len() == "2026-11-20".len() && day.year() >= 1 => Ok(Self(day)),
            _ => Err(format!("is {:?}, expected a day as YYYY-MM-DD, such as 2026-11-20", shortened(&text))),
        }
    }
}

/// What `?wait=` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    Settled,
}

/// The positions of the header `X-Tradewind-After`, for clients that cannot change the URL.
pub struct AfterHeader(pub Option<After>);

pub const AFTER_HEADER: &str = "x-tradewind-after";

impl<S: Sync> FromRequestParts<S> for AfterHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(AFTER_HEADER) else { return Ok(Self(None)) };
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match After::try_from(text) {
            Ok(after) => Ok(Self(Some(after))),
            Err(text) => {
                let (detail, allowed) = text.split_once(", expected ").unwrap_or((&text, ""));
                Err(Problem::invalid_header().field("X-Tradewind-After", detail, allowed))
            }
        }
    }
}

/// # Errors
/// 400, when it is not a UUID.
pub fn order_id(field: &str, text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| invalid_path(field, &format!("is {:?}", shortened(text)), "a UUID"))
}

/// # Errors
/// 400, when it cannot be a SKU.
pub fn sku(text: &str) -> Result<Sku, Problem> {
    let allowed = format!("1 to {} characters, none of them a control character", Sku::MAX_CHARS);
    text.parse().map_err(|error: events::ValueError| invalid_path("sku", &error.to_string(), &allowed))
}

fn invalid_path(field: &str, detail: &str, allowed: &str) -> Problem {
    Problem::invalid_path().field(field, detail, allowed)
}

/// # Errors
/// 400, for what only the whole query shows to be wrong.
pub fn invalid_query(field: &str, detail: impl fmt::Display, allowed: impl fmt::Display) -> Problem {
    Problem::invalid_query().field(field, detail.to_string(), allowed.to_string())
}

fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{After, Bounded, Day, PageLimit};

    #[test]
    fn a_number_outside_its_bounds_is_refused_with_the_bounds() {
        assert_eq!(PageLimit::try_from("500".to_owned()), Ok(Bounded(500)));
        for given in ["0", "501", "-1", "", "1.0", "99999999999999999999", "ten"] {
            let error = PageLimit::try_from(given.to_owned()).expect_err(given);
            assert_eq!(error, format!("is {given:?}, expected a whole number from 1 to 500"));
        }
    }

    #[test]
    fn a_day_is_written_in_one_way() {
        assert!(Day::try_from("2026-02-28".to_owned()).is_ok());
        for given in
            ["2026-02-30", "2026-2-8", "0000-01-01", "-001-01-01", "+10000-01-01", "20261120", "today"]
        {
            assert!(Day::try_from(given.to_owned()).is_err(), "{given}");
        }
    }

    #[test]
    fn a_position_token_names_a_context_and_a_number() {
        assert!(After::try_from("orders:12".to_owned()).is_ok());
        for given in ["orders", "orders:", "orders:-1", "nobody:1", "orders:1x"] {
            assert!(After::try_from(given.to_owned()).is_err(), "{given}");
        }
    }
}
