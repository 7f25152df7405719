//! A JSON text as a tree, and what is wrong with it whatever type it is meant for: syntax, numbers that no number holds,
//! a key given twice, nesting without end.
//!
//! Never: the text read twice, or a place told that nobody asked for (its parts are put together when there is an error).
//! Read next: `extract.rs`.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// No body of ours is deeper than 4; a bomb is deeper than this.
const DEPTH_MAX: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where: `lines[2].sku`; empty at the root.
    pub(super) field: String,
    pub(super) detail: String,
}

pub(super) fn read(text: &str) -> Result<Value, Malformed> {
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_str(text);
    (Walk { depth: 0, place: &place })
        .deserialize(&mut json)
        .and_then(|tree| json.end().map(|()| tree))
        .map_err(|error| Malformed { field: place.told(), detail: error.to_string() })
}

/// Where an error was raised.
#[derive(Default)]
struct Place {
    /// From the inside out: each level adds its own as the error passes it.
    steps: RefCell<Vec<String>>,
    /// Of a bomb nobody wants to read the place.
    is_bottomless: Cell<bool>,
}

impl Place {
    fn told(&self) -> String {
        if self.is_bottomless.get() {
            return String::new();
        }
        self.steps.borrow().iter().rev().map(String::as_str).collect()
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Walk<'a> {
    /// How many lists and objects it stands in.
    depth: usize,
    place: &'a Place,
}

impl Walk<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            self.place.is_bottomless.set(true);
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn at<E>(self, step: String, error: E) -> E {
        self.place.steps.borrow_mut().push(step);
        error
    }

    fn at_key<E>(self, key: &str, error: E) -> E {
        self.at(if self.depth == 0 { key.to_owned() } else { format!(".{key}") }, error)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let item = self.inside::<A::Error>()?;
        let mut read = Vec::new();
        loop {
            match items.next_element_seed(item) {
                Ok(Some(value)) => read.push(value),
                Ok(None) => return Ok(Value::Array(read)),
                Err(error) => return Err(self.at(format!("[{}]", read.len()), error)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let field = self.inside::<A::Error>()?;
            if read.contains_key(&key) {
                return Err(self.at_key(&key, A::Error::custom("the key is given twice")));
            }
            let value = fields.next_value_seed(field).map_err(|error| self.at_key(&key, error))?;
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Malformed, read};

    #[track_caller]
    fn refused(text: &str, field: &str, detail_starts: &str) {
        let Malformed { field: actual, detail } = read(text).expect_err("malformed");
        assert_eq!(actual, field);
        assert!(detail.starts_with(detail_starts), "{detail}");
    }

    #[test]
    fn well_formed_json_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true,{"b":{}}],"c":18446744073709551615}"#;
        let tree = json!({"a": [1, -2, 3.5, "x", null, true, {"b": {}}], "c": u64::MAX});
        assert_eq!(read(text), Ok(tree));
        assert!(read(&format!("{}1{}", "[".repeat(32), "]".repeat(32))).is_ok());
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
