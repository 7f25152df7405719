//! What is wrong with a JSON text whatever type it is meant for: syntax, numbers that no number holds, a key given
//! twice, nesting without end.
//!
//! Never: a value kept; the text is walked, not built. Read next: `extract.rs`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// No body of ours is deeper than 4; a bomb is deeper than this.
const DEPTH_MAX: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where: `lines[2].sku`; empty at the root.
    pub(super) field: String,
    pub(super) detail: String,
}

pub(super) fn check(text: &str) -> Result<(), Malformed> {
    let path = RefCell::new(Vec::new());
    let mut json = serde_json::Deserializer::from_str(text);
    (Walk { path: &path })
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| Malformed { field: path.borrow().concat(), detail: error.to_string() })
}

/// The path is left standing where an error is raised, so that it can be told.
#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a RefCell<Vec<String>>,
}

impl Walk<'_> {
    fn enter<E: Error>(self, step: String) -> Result<(), E> {
        let mut path = self.path.borrow_mut();
        path.push(step);
        if path.len() > DEPTH_MAX {
            path.truncate(0);
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn leave(self) {
        self.path.borrow_mut().pop();
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.enter(format!("[{index}]"))?;
            let more = items.next_element_seed(self)?;
            self.leave();
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            let root = self.path.borrow().is_empty();
            self.enter(if root { key.clone() } else { format!(".{key}") })?;
            if !seen.insert(key) {
                return Err(A::Error::custom("the key is given twice"));
            }
            fields.next_value_seed(self)?;
            self.leave();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, check};

    #[track_caller]
    fn refused(text: &str, field: &str, detail_starts: &str) {
        let Malformed { field: actual, detail } = check(text).expect_err("malformed");
        assert_eq!(actual, field);
        assert!(detail.starts_with(detail_starts), "{detail}");
    }

    #[test]
    fn well_formed_json_passes() {
        assert_eq!(check(r#"{"a":[1,-2,3.5,"x",null,true,{"b":{}}],"c":18446744073709551615}"#), Ok(()));
        assert_eq!(check(&format!("{}1{}", "[".repeat(32), "]".repeat(32))), Ok(()));
    }

    #[test]
    fn a_key_given_twice_is_refused_wherever_it_stands() {
        refused(r#"{"a":1,"a":2}"#, "a", "the key is given twice");
        refused(r#"{"lines":[{"sku":"x"},{"sku":"x","sku":"y"}]}"#, "lines[1].sku", "the key is given twice");
        refused(r#"{"a":1,"\u0061":2}"#, "a", "the key is given twice");
    }

    #[test]
    fn nesting_without_end_is_refused() {
        refused(&"[".repeat(1_000_000), "", "nested deeper than 32 levels");
        refused(&r#"{"a":"#.repeat(100_000), "", "nested deeper than 32 levels");
    }

    #[test]
    fn a_number_that_no_number_holds_is_refused_by_its_field() {
        refused(r#"{"lines":[{"quantity":1e400}]}"#, "lines[0].quantity", "number out of range");
    }

    #[test]
    fn broken_syntax_is_refused_with_its_place() {
        refused(r#"{"a":1"#, "", "EOF while parsing an object at line 1 column 6");
        refused(r#"{"a":1} x"#, "", "trailing characters at line 1 column 9");
        refused(r#"{"a":"\ud800"}"#, "a", "");
    }
}
