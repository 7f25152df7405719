//! The shop's parameters, parsed where they come in: a value that exists is within its limits.
//!
//! An error says what was given and, after ", expected", what is allowed: `runtime::http` makes a problem of that.

use chrono::{Datelike, NaiveDate};
use events::{CustomerId, OrderId, Sku, ValueError};
use projections::http::{RETRY_AFTER, invalid_path, shortened};
use runtime::Problem;
use serde::{Deserialize, Serialize};

/// For a route whose query has no parameters but those of waiting.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

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

/// # Errors
/// 400, when it is not a UUID.
pub fn order_id(field: &str, text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| invalid_path(field, &format!("is {:?}", shortened(text)), "a UUID"))
}

/// # Errors
/// 400, when it cannot be a SKU.
pub fn sku(text: &str) -> Result<Sku, Problem> {
    let allowed = format!("1 to {} characters, none of them a control character", Sku::MAX_CHARS);
    text.parse().map_err(|error: ValueError| invalid_path("sku", &error.to_string(), &allowed))
}

/// 503: the order has no outcome yet, and the time is over. `member` names what the order's state is instead.
pub fn not_settled(order_id: &str, member: &str, state: impl Serialize) -> Problem {
    Problem::unavailable("not_settled", "Order has no outcome yet", RETRY_AFTER)
        .detail(format!("order {order_id} is not settled and the time to wait is over"))
        .with(member, state)
}

#[cfg(test)]
mod tests {
    use super::Day;

    #[test]
    fn a_day_is_written_in_one_way() {
        assert!(Day::try_from("2026-02-28".to_owned()).is_ok());
        for given in
            ["2026-02-30", "2026-2-8", "0000-01-01", "-001-01-01", "+10000-01-01", "20261120", "today"]
        {
            assert!(Day::try_from(given.to_owned()).is_err(), "{given}");
        }
    }
}
