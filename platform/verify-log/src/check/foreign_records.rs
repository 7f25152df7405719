//! `foreign-records`: every record of a topic is an event.

use crate::check::topics::Place;
use crate::read::topic::Record;
use crate::report::{Property, Violation};

pub static PROPERTY: Property =
    Property::new("foreign-records", "the topics hold no record that is not an event");

/// The position of a record.
///
/// # Errors
/// The violation, when the record is not an event.
pub fn check(place: &Place, record: &Record) -> Result<i64, Violation> {
    record.position().ok_or_else(|| {
        let given = String::from_utf8_lossy(&record.value);
        place.violation("a record that is not an event", record).given(given)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TOY;

    #[test]
    fn what_lacks_an_attribute_of_an_event_is_foreign() {
        let place = Place { context: TOY.contexts[0], topic: "tea".to_owned(), partition: 3 };
        for value in ["hello", "{}", r#"{"position":1,"version":1}"#] {
            let record = Record { offset: 5, key: Vec::new(), value: value.into() };
            let violation = check(&place, &record).expect_err("not an event");
            let given = format!("; given {value}");
            assert!(violation.to_string().ends_with(&given), "{violation}");
        }
    }
}
