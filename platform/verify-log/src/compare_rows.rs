//! A row as it is stored beside the row as the log gives it.
//!
//! Postgres and serde write one moment in different ways; the comparison takes them for the same.

use chrono::{DateTime, TimeDelta, Utc};

use crate::read::json::Json;
use crate::read::row::{Cell, Row, StoredRow};
use crate::read::table::Table;
use crate::report::{Line, Violation};

/// Postgres rounds to microseconds.
const ROUNDING: TimeDelta = TimeDelta::nanoseconds(500);

/// Compares the row `key` with what it must be.
pub fn compare(line: &mut Line, table: &Table, key: &str, given: Option<&StoredRow>, wanted: Option<&Row>) {
    let here = |what: &str| Violation::new(what).at("table", table.name).at("row", key);
    line.count("rows", u64::from(given.is_some()));
    match (given, wanted) {
        (None, None) => {}
        (Some(_), None) => line.add_violation(here("a row that the log does not give")),
        (None, Some(wanted)) => line.add_violation(here("a row is missing").wanted(wanted)),
        (Some(given), Some(wanted)) => {
            if let Some(column) = first_difference(given, wanted) {
                let value = |cell: Option<&Cell>| cell.map_or("nothing".to_owned(), ToString::to_string);
                let violation = here("a row is not what the log gives").at("column", column);
                line.add_violation(
                    violation.given(value(given.get(column))).wanted(value(wanted.get(column))),
                );
            }
        }
    }
}

fn first_difference<'a>(given: &'a StoredRow, wanted: &'a Row) -> Option<&'a str> {
    let differs = |(index, (column, wanted)): &(usize, (&str, &Cell))| {
        !given.near(*index, column).is_some_and(|given| is_same(given, wanted))
    };
    let changed = wanted.columns().enumerate().find(differs).map(|(_, (column, _))| column);
    // Each row has every column once: when all wanted ones are there, only further columns can differ.
    let more = given.columns().count() > wanted.columns().count();
    let one_more = || given.columns().map(|(column, _)| column).find(|column| wanted.get(column).is_none());
    changed.or_else(|| if more { one_more() } else { None })
}

fn is_same(given: &Cell, wanted: &Cell) -> bool {
    match (given, wanted) {
        (Cell::Moment(given), Cell::Moment(wanted)) => is_same_moment(*given, *wanted),
        (Cell::Json(given), Cell::Json(wanted)) => {
            given == wanted
                || matches!((Json::parse(given), Json::parse(wanted)), (Ok(given), Ok(wanted)) if has_same_content(&given, &wanted))
        }
        (given, wanted) => given == wanted,
    }
}

fn has_same_content(given: &Json<'_>, wanted: &Json<'_>) -> bool {
    match (given, wanted) {
        (Json::Text(given), Json::Text(wanted)) => {
            given == wanted
                || moment(given)
                    .zip(moment(wanted))
                    .is_some_and(|(given, wanted)| is_same_moment(given, wanted))
        }
        (Json::List(given), Json::List(wanted)) => {
            given.len() == wanted.len()
                && given.iter().zip(wanted).all(|(given, wanted)| has_same_content(given, wanted))
        }
        (Json::Fields(given), Json::Fields(wanted)) => {
            let has = |(name, wanted): &(_, Json<'_>)| {
                given.iter().any(|(known, given)| known == name && has_same_content(given, wanted))
            };
            given.len() == wanted.len() && wanted.iter().all(has)
        }
        (given, wanted) => given == wanted,
    }
}

fn is_same_moment(given: DateTime<Utc>, wanted: DateTime<Utc>) -> bool {
    (given - wanted).abs() <= ROUNDING
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    // A date begins with a digit, which most texts do not.
    text.as_bytes().first().filter(|byte| byte.is_ascii_digit())?;
    DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::parked::PROPERTY;

    static TABLE: Table = Table { property: &PROPERTY, name: "teas", consumer: "x", sorted_by: &["tea_id"] };

    /// A row with one column for each field of `value`.
    fn given(value: &Value) -> StoredRow {
        let fields = value.as_object().expect("an object");
        let columns: Vec<String> = fields.keys().cloned().collect();
        StoredRow::new(columns.into(), fields.values().map(cell).collect())
    }

    fn cell(value: &Value) -> Cell {
        match value {
            Value::Number(number) => number.as_i64().into(),
            Value::String(text) => moment(text).into(),
            other => Cell::json(other),
        }
    }

    fn first<const N: usize>(given_row: &Value, wanted: [(&'static str, Value); N]) -> Option<String> {
        let mut line = Line::default();
        let wanted = Row::new(wanted.map(|(column, value)| (column, cell(&value))));
        compare(&mut line, &TABLE, "1", Some(&given(given_row)), Some(&wanted));
        line.first.map(|violation| violation.to_string())
    }

    #[test]
    fn one_moment_in_two_spellings_is_one_moment() {
        let given =
            json!({"at": "2026-01-02T03:04:05.000001+00:00", "in": [{"at": "2026-01-02T03:04:05+00:00"}]});
        let wanted = [
            ("at", json!("2026-01-02T03:04:05.000001400Z")),
            ("in", json!([{"at": "2026-01-02T03:04:05Z"}])),
        ];
        assert_eq!(first(&given, wanted), None);
        let later = [("at", json!("2026-01-02T03:04:05.000001Z"))];
        assert!(first(&json!({"at": "2026-01-02T03:04:05.000002Z"}), later).is_some());
    }

    #[test]
    fn the_column_that_differs_is_named() {
        let violation = first(&json!({"a": 1, "b": 2}), [("a", json!(1)), ("b", json!(3))]);
        let named = "a row is not what the log gives at column b, row 1, table teas; given 2; wanted 3";
        assert_eq!(violation.as_deref(), Some(named));
        assert!(first(&json!({"a": 1, "c": null}), [("a", json!(1))]).is_some(), "a column more");
        assert!(first(&json!({"a": 1}), [("a", json!(1)), ("c", Value::Null)]).is_some(), "a column less");
    }

    #[test]
    fn json_is_the_same_whatever_its_spaces_and_the_order_of_its_fields() {
        let same = |given: &str, wanted: &str| is_same(&Cell::Json(given.into()), &Cell::Json(wanted.into()));
        assert!(same(r#"{"b": [1, "\u00e4"], "a": null}"#, r#"{"a":null,"b":[1,"ä"]}"#));
        for other in [
            r#"{"a":null,"b":[1]}"#,
            r#"{"a":null,"b":["ä",1]}"#,
            r#"{"a":null}"#,
            r#"{"a":null,"b":[1.0,"ä"]}"#,
        ] {
            assert!(!same(r#"{"b": [1, "ä"], "a": null}"#, other), "{other}");
        }
        assert!(!same(r#"{"a": 1}"#, r#"{"a":1,"b":2}"#), "a field less");
    }
}
