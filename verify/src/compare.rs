//! A row as it is beside the row as the log gives it.
//!
//! Never: two texts for one moment taken as two moments; Postgres and serde write them differently.
//! Read next: `orders.rs`.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::fold::{Row, Table};
use crate::report::{Line, Offence};

/// Postgres rounds to microseconds.
const ROUNDING: TimeDelta = TimeDelta::nanoseconds(500);

/// Holds the row `key` against what it must be.
pub fn hold(line: &mut Line, table: Table, key: &str, given: Option<&Row>, wanted: Option<&Row>) {
    let here = |what: &str| Offence::new(what).at("table", table.name).at("row", key);
    line.count("rows", u64::from(given.is_some()));
    match (given, wanted) {
        (None, None) => {}
        (Some(_), None) => line.offend(here("a row that the log does not give")),
        (None, Some(wanted)) => {
            line.offend(here("a row is missing").wanted(Value::from(wanted.clone())));
        }
        (Some(given), Some(wanted)) => {
            if let Some(column) = first_difference(given, wanted) {
                let value = |row: &Row| row.get(column).map_or("nothing".to_owned(), ToString::to_string);
                let offence = here("a row is not what the log gives").at("column", column);
                line.offend(offence.given(value(given)).wanted(value(wanted)));
            }
        }
    }
}

fn first_difference<'a>(given: &'a Row, wanted: &'a Row) -> Option<&'a str> {
    let columns = wanted.keys().chain(given.keys().filter(|column| !wanted.contains_key(*column)));
    columns.map(String::as_str).find(|column| match (given.get(*column), wanted.get(*column)) {
        (Some(given), Some(wanted)) => !is_same(given, wanted),
        _ => true,
    })
}

fn is_same(given: &Value, wanted: &Value) -> bool {
    match (given, wanted) {
        (Value::String(given), Value::String(wanted)) => {
            given == wanted
                || moment(given)
                    .zip(moment(wanted))
                    .is_some_and(|(given, wanted)| (given - wanted).abs() <= ROUNDING)
        }
        (Value::Array(given), Value::Array(wanted)) => {
            given.len() == wanted.len()
                && given.iter().zip(wanted).all(|(given, wanted)| is_same(given, wanted))
        }
        (Value::Object(given), Value::Object(wanted)) => first_difference(given, wanted).is_none(),
        (given, wanted) => given == wanted,
    }
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    // A date begins with digits: most texts are told apart by their first byte.
    text.as_bytes().first().filter(|byte| byte.is_ascii_digit())?;
    DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fold::orders::TABLE;

    fn row(value: Value) -> Row {
        value.as_object().cloned().expect("an object")
    }

    fn first(given: Value, wanted: Value) -> Option<String> {
        let mut line = Line::default();
        hold(&mut line, TABLE, "1", Some(&row(given)), Some(&row(wanted)));
        line.first.map(|offence| offence.to_string())
    }

    #[test]
    fn one_moment_in_two_spellings_is_one_moment() {
        let given =
            json!({"at": "2026-01-02T03:04:05.000001+00:00", "in": [{"at": "2026-01-02T03:04:05+00:00"}]});
        let wanted = json!({"at": "2026-01-02T03:04:05.000001400Z", "in": [{"at": "2026-01-02T03:04:05Z"}]});
        assert_eq!(first(given, wanted), None);
        let later =
            first(json!({"at": "2026-01-02T03:04:05.000002Z"}), json!({"at": "2026-01-02T03:04:05.000001Z"}));
        assert!(later.is_some());
    }

    #[test]
    fn the_column_that_differs_is_named() {
        let offence = first(json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}));
        let named = "a row is not what the log gives at column b, row 1, table orders; given 2; wanted 3";
        assert_eq!(offence.as_deref(), Some(named));
        assert!(first(json!({"a": 1, "c": null}), json!({"a": 1})).is_some(), "a column more");
    }
}
