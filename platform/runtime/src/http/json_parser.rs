//! Parses a JSON text into a tree, and a tree into a type. Every error names its field.
//!
//! The parser refuses what no type can refuse later: a duplicate key, deep nesting, a number out of range.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// Our deepest body has 4 levels. The limit stops nesting attacks.
const DEPTH_MAX: usize = 32;

/// A JSON error and the field that it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonError {
    /// For example `lines[2].sku`; empty at the root.
    pub(super) field: String,
    pub(super) detail: String,
}

/// Parses a text in one pass.
pub(super) fn parse(text: &str) -> Result<Value, JsonError> {
    let path = ErrorPath::default();
    let mut json = serde_json::Deserializer::from_str(text);
    (TreeReader { depth: 0, path: &path })
        .deserialize(&mut json)
        .and_then(|tree| json.end().map(|()| tree))
        .map_err(|error| JsonError { field: path.to_field(), detail: error.to_string() })
}

/// Converts a tree to a `T`. The error's detail is serde's message.
pub(super) fn convert<T: DeserializeOwned>(tree: &Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(Node(tree)).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." { String::new() } else { field };
        JsonError { field, detail: error.inner().to_string() }
    })
}

/// The path to the value where an error occurred.
#[derive(Default)]
struct ErrorPath {
    /// Innermost first: each level adds its own segment while the error passes through it.
    segments: RefCell<Vec<String>>,
    is_too_deep: Cell<bool>,
}

impl ErrorPath {
    /// Empty for an error of depth, whose path would be long and useless.
    fn to_field(&self) -> String {
        if self.is_too_deep.get() {
            return String::new();
        }
        self.segments.borrow().iter().rev().map(String::as_str).collect()
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct TreeReader<'a> {
    /// The number of lists and objects around the value.
    depth: usize,
    path: &'a ErrorPath,
}

impl TreeReader<'_> {
    fn descend<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            self.path.is_too_deep.set(true);
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn at<E>(self, segment: String, error: E) -> E {
        self.path.segments.borrow_mut().push(segment);
        error
    }

    fn at_key<E>(self, key: &str, error: E) -> E {
        self.at(if self.depth == 0 { key.to_owned() } else { format!(".{key}") }, error)
    }
}

impl<'de> DeserializeSeed<'de> for TreeReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeReader<'_> {
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
        let item = self.descend::<A::Error>()?;
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
            let field = self.descend::<A::Error>()?;
            if read.contains_key(&key) {
                return Err(self.at_key(&key, A::Error::custom("the key is given twice")));
            }
            let value = fields.next_value_seed(field).map_err(|error| self.at_key(&key, error))?;
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}

/// A tree from which a struct is read as an object only: derived code would also accept a list of the fields in order.
struct Node<'a>(&'a Value);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Node));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.as_str(), Node(value)));
                let mut fields = MapDeserializer::new(fields);
                let value = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| value)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{JsonError, parse};

    #[track_caller]
    fn refused(text: &str, field: &str, detail_starts: &str) {
        let JsonError { field: actual, detail } = parse(text).expect_err("malformed");
        assert_eq!(actual, field);
        assert!(detail.starts_with(detail_starts), "{detail}");
    }

    #[test]
    fn well_formed_json_is_parsed_without_a_change() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true,{"b":{}}],"c":18446744073709551615}"#;
        let tree = json!({"a": [1, -2, 3.5, "x", null, true, {"b": {}}], "c": u64::MAX});
        assert_eq!(parse(text), Ok(tree));
        assert!(parse(&format!("{}1{}", "[".repeat(32), "]".repeat(32))).is_ok());
    }

    #[test]
    fn a_duplicate_key_is_refused_at_any_depth() {
        refused(r#"{"a":1,"a":2}"#, "a", "the key is given twice");
        refused(r#"{"lines":[{"sku":"x"},{"sku":"x","sku":"y"}]}"#, "lines[1].sku", "the key is given twice");
        refused(r#"{"a":1,"\u0061":2}"#, "a", "the key is given twice");
    }

    #[test]
    fn deep_nesting_is_refused() {
        refused(&"[".repeat(1_000_000), "", "nested deeper than 32 levels");
        refused(&r#"{"a":"#.repeat(100_000), "", "nested deeper than 32 levels");
    }

    #[test]
    fn a_number_out_of_range_is_refused_and_names_its_field() {
        refused(r#"{"lines":[{"quantity":1e400}]}"#, "lines[0].quantity", "number out of range");
    }

    #[test]
    fn a_syntax_error_is_refused_and_names_its_position() {
        refused(r#"{"a":1"#, "", "EOF while parsing an object at line 1 column 6");
        refused(r#"{"a":1} x"#, "", "trailing characters at line 1 column 9");
        refused(r#"{"a":"\ud800"}"#, "a", "");
    }
}
