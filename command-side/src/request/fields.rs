//! Reads the fields of a body and collects everything that is wrong with them, so that one response names it all.

use chrono::{DateTime, Utc};
use events::ValueError;
use runtime::FieldError;
use serde_json::{Map, Value};
use utoipa::openapi::{ObjectBuilder, Type};

/// The pattern of a text field in the OpenAPI document.
pub const NO_CONTROL_CHARACTERS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The most errors that one response lists.
const ERRORS_MAX: usize = 50;
/// The most characters of an unknown field's name that a response repeats.
const NAME_CHARS_SHOWN_MAX: usize = 64;

/// A JSON object that is a route's body.
pub trait Body: Sized {
    /// All fields; none if an error was recorded.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Declares a body: each field once, with its type, its schema and how it is read.
///
/// `required READER`, `optional READER` (the field may be absent or null) or `list` (of other bodies). It makes the struct, its OpenAPI
/// schema and its [`Body`].
macro_rules! body {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty = $kind:ident $($reader:expr)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* $field: $type,)*
        }

        impl $crate::request::fields::Body for $name {
            #[allow(unused_variables, reason = "a body may have no fields")]
            fn read(fields: &mut $crate::request::fields::Fields<'_>) -> Option<Self> {
                // All fields are read before the first invalid one ends the function, so that one response names every
                // problem.
                $(let $field = fields.$kind(stringify!($field) $(, $reader)?);)*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(crate) use body;

/// The problem of one value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    pub detail: String,
    pub allowed: String,
}

impl FieldProblem {
    pub fn new(detail: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { detail: detail.into(), allowed: allowed.into() }
    }
}

impl From<ValueError> for FieldProblem {
    fn from(error: ValueError) -> Self {
        let allowed = match &error {
            ValueError::Length { min, max, .. } => format!("{min} to {max} characters"),
            ValueError::ControlCharacter => "no control characters".to_owned(),
            ValueError::Range { min, max, .. } => format!("{min} to {max}"),
            ValueError::Currency { .. } => "an ISO 4217 code in capital letters, such as GBP".to_owned(),
            ValueError::Uuid { .. } => "a UUID".to_owned(),
            ValueError::Overflow => format!("sums up to {}", i64::MAX),
            ValueError::MixedCurrencies { .. } => "one currency".to_owned(),
            ValueError::Fields { max, .. } => format!("1 to {max} fields"),
        };
        Self { detail: error.to_string(), allowed }
    }
}

/// Reads a whole body.
///
/// Every invalid field, up to [`ERRORS_MAX`] of them.
pub fn read_body<B: Body>(tree: &Value) -> Result<B, Vec<FieldError>> {
    let mut errors = Vec::new();
    let Some(mut fields) = Fields::of(tree, String::new(), &mut errors) else { return Err(errors) };
    let body = B::read(&mut fields);
    fields.refuse_unknown();
    match body {
        Some(body) if errors.is_empty() => Ok(body),
        _ => Err(errors),
    }
}

/// The fields of one object. Each is read by name; a field that was not read is unknown.
pub struct Fields<'a> {
    /// The prefix of a field's name: empty, or `lines[3].`.
    prefix: String,
    object: &'a Map<String, Value>,
    asked: Vec<&'static str>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, path: String, errors: &'a mut Vec<FieldError>) -> Option<Self> {
        let Value::Object(object) = value else {
            let field = if path.is_empty() { "body".to_owned() } else { path };
            note(
                errors,
                field,
                FieldProblem::new(format!("must be an object, is {}", kind(value)), "an object"),
            );
            return None;
        };
        let prefix = if path.is_empty() { path } else { format!("{path}.") };
        Some(Self { prefix, object, asked: Vec::new(), errors })
    }

    /// A required field.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Result<T, FieldProblem>,
    ) -> Option<T> {
        match self.given(name) {
            Some(value) => self.noted(name, read(value)),
            None => self.noted(name, Err(missing())),
        }
    }

    /// A field that may be absent or null. The outer option is empty if it is present and invalid.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Result<T, FieldProblem>,
    ) -> Option<Option<T>> {
        match self.given(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.noted(name, read(value)).map(Some),
        }
    }

    /// A required list of objects. The domain limits its length.
    pub fn list<B: Body>(&mut self, name: &'static str) -> Option<Vec<B>> {
        let items = match self.given(name) {
            Some(Value::Array(items)) => items,
            Some(other) => {
                let wrong =
                    FieldProblem::new(format!("must be a list, is {}", kind(other)), "a list of objects");
                return self.noted(name, Err(wrong));
            }
            None => return self.noted(name, Err(missing())),
        };
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if self.errors.len() >= ERRORS_MAX {
                return None;
            }
            let path = format!("{}{name}[{index}]", self.prefix);
            let Some(mut fields) = Fields::of(item, path, self.errors) else { continue };
            let body = B::read(&mut fields);
            fields.refuse_unknown();
            read.extend(body);
        }
        (read.len() == items.len()).then_some(read)
    }

    fn given(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.push(name);
        self.object.get(name)
    }

    fn noted<T>(&mut self, name: &str, read: Result<T, FieldProblem>) -> Option<T> {
        read.map_err(|wrong| note(self.errors, format!("{}{name}", self.prefix), wrong)).ok()
    }

    fn refuse_unknown(self) {
        for name in self.object.keys().filter(|name| !self.asked.contains(&name.as_str())) {
            let known = if self.asked.is_empty() { "no fields".to_owned() } else { self.asked.join(", ") };
            let shown: String = name.chars().take(NAME_CHARS_SHOWN_MAX).collect();
            note(
                self.errors,
                format!("{}{shown}", self.prefix),
                FieldProblem::new("is not a known field", known),
            );
        }
    }
}

fn note(errors: &mut Vec<FieldError>, field: String, wrong: FieldProblem) {
    if errors.len() < ERRORS_MAX {
        errors.push(FieldError { field, detail: wrong.detail, allowed: Some(wrong.allowed) });
    }
}

fn missing() -> FieldProblem {
    FieldProblem::new("is missing", "a value: the field is required")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A string that parses as a value type.
pub fn text<T>(value: &Value) -> Result<T, FieldProblem>
where
    T: std::str::FromStr<Err = ValueError>,
{
    Ok(string(value)?.parse::<T>()?)
}

/// 1 to `max` characters, none of them a control character.
pub fn short_text(max: usize) -> impl FnOnce(&Value) -> Result<String, FieldProblem> {
    move |value| {
        let given = string(value)?;
        let chars = given.chars().count();
        if chars == 0 || chars > max {
            return Err(ValueError::Length { min: 1, max, given: chars }.into());
        }
        if given.chars().any(char::is_control) {
            return Err(ValueError::ControlCharacter.into());
        }
        Ok(given.to_owned())
    }
}

/// A whole number that `T` accepts.
pub fn integer<T>(value: &Value) -> Result<T, FieldProblem>
where
    T: TryFrom<i64>,
    FieldProblem: From<T::Error>,
{
    Ok(T::try_from(whole_number(value)?)?)
}

/// `min` to the largest 64-bit number.
pub fn integer_from(min: i64) -> impl FnOnce(&Value) -> Result<i64, FieldProblem> {
    move |value| {
        let given = whole_number(value)?;
        if given < min {
            return Err(ValueError::Range { min, max: i64::MAX, given: given.into() }.into());
        }
        Ok(given)
    }
}

/// RFC 3339, `earliest` to `latest`, truncated to microseconds, the resolution of Postgres.
pub fn instant(
    earliest: DateTime<Utc>,
    latest: DateTime<Utc>,
) -> impl FnOnce(&Value) -> Result<DateTime<Utc>, FieldProblem> {
    move |value| {
        let allowed = || format!("RFC 3339, {} to {}", earliest.to_rfc3339(), latest.to_rfc3339());
        let given = string(value)?;
        let parsed = DateTime::parse_from_rfc3339(given)
            .map_err(|cause| FieldProblem::new(format!("is not a time: {cause}"), allowed()))?
            .with_timezone(&Utc);
        if parsed < earliest || parsed > latest {
            return Err(FieldProblem::new(format!("is out of range: {}", parsed.to_rfc3339()), allowed()));
        }
        Ok(DateTime::from_timestamp_micros(parsed.timestamp_micros())
            .expect("a time in range has microseconds"))
    }
}

pub fn string(value: &Value) -> Result<&str, FieldProblem> {
    value
        .as_str()
        .ok_or_else(|| FieldProblem::new(format!("must be a string, is {}", kind(value)), "a string"))
}

pub fn whole_number(value: &Value) -> Result<i64, FieldProblem> {
    let Value::Number(number) = value else {
        return Err(FieldProblem::new(format!("must be an integer, is {}", kind(value)), "an integer"));
    };
    number.as_i64().ok_or_else(|| {
        let allowed = format!("an integer of {} to {}", i64::MIN, i64::MAX);
        FieldProblem::new(format!("must be an integer, is {number}"), allowed)
    })
}

/// The schema of 1 to `MAX` characters, none of them a control character.
pub fn text_schema<const MAX: usize>() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX))
        .pattern(Some(NO_CONTROL_CHARACTERS))
}
