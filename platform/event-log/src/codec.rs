//! Encodes events as JSON and decodes them by type name and schema version.
//!
//! A type or version that this build does not know is an error that names it; the consumer parks the record.

use std::convert::Infallible;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ContextName;

/// Why an event could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("no event type {event_type:?} in the context {context}")]
    UnknownType { context: ContextName, event_type: String },
    #[error("{event_type} has schema version {given}; this build knows 1 to {known}")]
    UnknownVersion { event_type: String, given: u16, known: u16 },
    #[error("the payload of {event_type} v{version} does not parse: {cause}")]
    Payload { event_type: String, version: u16, cause: serde_json::Error },
    #[error("not a Tradewind CloudEvent: {cause}")]
    CloudEvent { cause: String },
}

/// An event that can be serialised.
pub trait EventData: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// The struct's name: `CupFilled`.
    fn event_type(&self) -> &'static str;

    fn schema_version(&self) -> u16;

    /// The JSON of the event's fields.
    fn payload(&self) -> Box<RawValue>;
}

/// The events of one aggregate: an enum that [`event_enum!`](crate::event_enum) declares.
pub trait EventFamily: EventData {
    /// Every event type with its current schema version.
    const TYPES: &'static [(&'static str, u16)];

    /// None if the type belongs to another family.
    fn decode(event_type: &str, version: u16, payload: &str) -> Option<Result<Self, CodecError>>;
}

/// Every event of every context: the enum that [`contexts!`](crate::contexts) makes.
pub trait EventSet: EventData {
    /// [`CodecError`] when the type or version is not known or the payload does not fit it: park the record.
    fn decode(
        context: ContextName,
        event_type: &str,
        version: u16,
        payload: &str,
    ) -> Result<Self, CodecError>;
}

impl EventData for Infallible {
    fn event_type(&self) -> &'static str {
        match *self {}
    }

    fn schema_version(&self) -> u16 {
        match *self {}
    }

    fn payload(&self) -> Box<RawValue> {
        match *self {}
    }
}

/// The events of a stream that does not exist.
impl EventFamily for Infallible {
    const TYPES: &'static [(&'static str, u16)] = &[];

    fn decode(_event_type: &str, _version: u16, _payload: &str) -> Option<Result<Self, CodecError>> {
        None
    }
}

/// Converts the payload of an event type from a schema version to the next one.
pub type Upcast = fn(event_type: &str, from_version: u16, payload: Value) -> Value;

/// The upcast of families in which no event has a second version.
pub fn never_upcast(event_type: &str, from_version: u16, _payload: Value) -> Value {
    unreachable!("{event_type} v{from_version} has no next version: the family declares no upcast")
}

/// Reads one event's payload, upcast to the current version.
///
/// # Errors
/// [`CodecError::UnknownVersion`], [`CodecError::Payload`].
pub fn decode_as<T: DeserializeOwned>(
    event_type: &str,
    version: u16,
    current: u16,
    payload: &str,
    upcast: Upcast,
) -> Result<T, CodecError> {
    if version == 0 || version > current {
        return Err(CodecError::UnknownVersion {
            event_type: event_type.to_owned(),
            given: version,
            known: current,
        });
    }
    let broken = |cause| CodecError::Payload { event_type: event_type.to_owned(), version, cause };
    if version == current {
        return serde_json::from_str(payload).map_err(broken);
    }
    let oldest: Value = serde_json::from_str(payload).map_err(broken)?;
    let latest = (version..current).fold(oldest, |value, from| upcast(event_type, from, value));
    serde_json::from_value(latest).map_err(broken)
}

/// Declares the events of one aggregate: an enum with one variant per struct, each with its current schema version.
///
/// The structs are declared beside it; they are `Clone`, `Debug`, `PartialEq`, `Serialize` and `Deserialize`. To change an event's
/// shape, raise its version and add an arm to the family's upcast function:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use serde_json::Value;
///
/// event_log::event_enum! {
///     /// What happens to a cup.
///     pub enum CupEvent upcast by lift {
///         CupFilled = 2,
///         CupBroken = 1,
///     }
/// }
///
/// #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// pub struct CupFilled {
///     pub millilitres: u32,
/// }
///
/// #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// pub struct CupBroken {}
///
/// fn lift(event_type: &str, from_version: u16, payload: Value) -> Value {
///     match (event_type, from_version) {
///         (CupFilled::TYPE, 1) => serde_json::json!({ "millilitres": payload["centilitres"].as_u64().unwrap_or(0) * 10 }),
///         _ => payload,
///     }
/// }
///
/// let event = CupEvent::decode(CupFilled::TYPE, 1, r#"{"centilitres":25}"#).expect("a type of this family");
/// assert_eq!(event.expect("it was upcast"), CupEvent::CupFilled(CupFilled { millilitres: 250 }));
/// ```
#[macro_export]
macro_rules! event_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($rest:tt)* }) => {
        $crate::event_enum! { $(#[$doc])* pub enum $name upcast by $crate::codec::never_upcast { $($rest)* } }
    };
    ($(#[$doc:meta])* pub enum $name:ident upcast by $upcast:path { $($event:ident = $version:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($event($event),)+
        }

        impl $name {
            /// Every event type with its current schema version.
            pub const TYPES: &'static [(&'static str, u16)] = &[$(($event::TYPE, $version),)+];

            /// The struct's name.
            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$event(_) => $event::TYPE,)+
                }
            }

            pub fn schema_version(&self) -> u16 {
                match self {
                    $(Self::$event(_) => $version,)+
                }
            }

            /// The JSON of the event's fields.
            pub fn payload(&self) -> Box<$crate::private::RawValue> {
                match self {
                    $(Self::$event(event) => $crate::private::to_raw_value(event)
                        .expect("an event has string keys and no failing serialiser"),)+
                }
            }

            /// The event, or why this build cannot decode its version or payload; none if the type belongs to another
            /// family.
            pub fn decode(
                event_type: &str,
                version: u16,
                payload: &str,
            ) -> Option<Result<Self, $crate::CodecError>> {
                match event_type {
                    $($event::TYPE => Some(
                        $crate::codec::decode_as(event_type, version, $version, payload, $upcast).map(Self::$event),
                    ),)+
                    _ => None,
                }
            }
        }

        impl $crate::EventData for $name {
            fn event_type(&self) -> &'static str {
                $name::event_type(self)
            }

            fn schema_version(&self) -> u16 {
                $name::schema_version(self)
            }

            fn payload(&self) -> Box<$crate::private::RawValue> {
                $name::payload(self)
            }
        }

        impl $crate::EventFamily for $name {
            const TYPES: &'static [(&'static str, u16)] = $name::TYPES;

            fn decode(event_type: &str, version: u16, payload: &str) -> Option<Result<Self, $crate::CodecError>> {
                $name::decode(event_type, version, payload)
            }
        }

        $(impl $event {
            /// The name of the event type in the log.
            pub const TYPE: &'static str = stringify!($event);
        }

        impl From<$event> for $name {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })+
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// v1 counted dozens, v2 pieces, v3 calls them `quantity`.
    fn lift(event_type: &str, from_version: u16, mut payload: Value) -> Value {
        match (event_type, from_version) {
            ("CupsCounted", 1) => payload["pieces"] = (payload["dozens"].as_i64().unwrap_or(0) * 12).into(),
            ("CupsCounted", 2) => payload["quantity"] = payload["pieces"].take(),
            other => panic!("no upcast for {other:?}"),
        }
        payload
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct CupsCounted {
        quantity: i64,
    }

    fn decode(version: u16, payload: &str) -> Result<CupsCounted, String> {
        decode_as("CupsCounted", version, 3, payload, lift).map_err(|error| error.to_string())
    }

    #[test]
    fn an_old_payload_is_upcast_version_by_version_to_the_current_one() {
        let two_dozen = Ok(CupsCounted { quantity: 24 });
        assert_eq!(decode(1, r#"{"dozens":2}"#), two_dozen);
        assert_eq!(decode(2, r#"{"pieces":24}"#), two_dozen);
        assert_eq!(decode(3, r#"{"quantity":24}"#), two_dozen);
    }

    #[test]
    fn an_old_payload_that_cannot_be_upcast_is_named_with_the_version_it_has() {
        let broken = "the payload of CupsCounted v2 does not parse: ";
        assert_eq!(decode(2, "{"), Err(format!("{broken}EOF while parsing an object at line 1 column 1")));
        assert_eq!(
            decode(2, r#"{"pieces":"many"}"#),
            Err(format!("{broken}invalid type: string \"many\", expected i64"))
        );
    }
}
