//! From an event to its bytes and back: the type's name, its schema version, its JSON.
//!
//! A type or version that this build does not know is an error that names it, never a guess: its consumer parks it.
//! To change an event's shape, raise its version in `event_enum!` and add an arm to [`upcast`].
//! Read next: [`crate::cloud_event`] (the record on Kafka).

use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Context, OrderEvent, PaymentEvent, ReservationEvent, ShipmentEvent, StockEvent};

/// Why bytes are not an event that this build knows.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("no event type {event_type:?} in the context {context}")]
    UnknownType { context: Context, event_type: String },
    #[error("{event_type} has schema version {given}; this build knows 1 to {known}")]
    UnknownVersion { event_type: String, given: u16, known: u16 },
    #[error("the payload of {event_type} v{version} does not parse: {cause}")]
    Payload { event_type: String, version: u16, cause: serde_json::Error },
    #[error("not a Tradewind CloudEvent: {cause}")]
    CloudEvent { cause: String },
}

/// Any event of any context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Order(OrderEvent),
    Stock(StockEvent),
    Reservation(ReservationEvent),
    Payment(PaymentEvent),
    Shipment(ShipmentEvent),
}

macro_rules! each_family {
    ($self:ident, $event:ident => $body:expr) => {
        match $self {
            Self::Order($event) => $body,
            Self::Stock($event) => $body,
            Self::Reservation($event) => $body,
            Self::Payment($event) => $body,
            Self::Shipment($event) => $body,
        }
    };
}

impl Event {
    /// The struct's name: `OrderPlaced`.
    pub fn event_type(&self) -> &'static str {
        each_family!(self, event => event.event_type())
    }

    pub fn schema_version(&self) -> u16 {
        each_family!(self, event => event.schema_version())
    }

    /// The JSON of the event's fields.
    pub fn payload(&self) -> Box<RawValue> {
        each_family!(self, event => event.payload())
    }

    pub fn context(&self) -> Context {
        match self {
            Self::Order(_) => Context::Orders,
            Self::Stock(_) | Self::Reservation(_) => Context::Inventory,
            Self::Payment(_) => Context::Payments,
            Self::Shipment(_) => Context::Shipping,
        }
    }

    /// # Errors
    /// [`CodecError`] when the type or version is not known or the payload does not fit it: park the record.
    pub fn decode(
        context: Context,
        event_type: &str,
        version: u16,
        payload: &str,
    ) -> Result<Self, CodecError> {
        let decoded = match context {
            Context::Orders => OrderEvent::decode(event_type, version, payload),
            Context::Inventory => StockEvent::decode(event_type, version, payload)
                .or_else(|| ReservationEvent::decode(event_type, version, payload)),
            Context::Payments => PaymentEvent::decode(event_type, version, payload),
            Context::Shipping => ShipmentEvent::decode(event_type, version, payload),
        };
        decoded.ok_or_else(|| CodecError::UnknownType { context, event_type: event_type.to_owned() })?
    }

    /// Every event type: (context, type, current schema version).
    pub fn catalogue() -> Vec<(Context, &'static str, u16)> {
        let of = |context: Context, types: &[(&'static str, u16)]| {
            types.iter().map(|&(name, version)| (context, name, version)).collect::<Vec<_>>()
        };
        [
            of(Context::Orders, OrderEvent::TYPES),
            of(Context::Inventory, StockEvent::TYPES),
            of(Context::Inventory, ReservationEvent::TYPES),
            of(Context::Payments, PaymentEvent::TYPES),
            of(Context::Shipping, ShipmentEvent::TYPES),
        ]
        .concat()
    }
}

/// Lifts the payload of an older schema version to the one above it. One arm per (type, version) ever retired.
/// No event has a second version yet, so there is no arm yet.
fn upcast(_event_type: &str, _from_version: u16, payload: Value) -> Value {
    payload
}

/// Declares the enum of one aggregate's events: one variant per struct, with its current schema version.
macro_rules! event_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($event:ident = $version:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($event($event),)+
        }

        impl $name {
            /// Every event type with its current schema version.
            pub const TYPES: &'static [(&'static str, u16)] = &[$((stringify!($event), $version),)+];

            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$event(_) => stringify!($event),)+
                }
            }

            pub fn schema_version(&self) -> u16 {
                match self {
                    $(Self::$event(_) => $version,)+
                }
            }

            /// The JSON of the event's fields.
            pub fn payload(&self) -> Box<serde_json::value::RawValue> {
                match self {
                    $(Self::$event(event) => serde_json::value::to_raw_value(event)
                        .expect("an event has string keys and no failing serialiser"),)+
                }
            }

            /// The event, or why its version or payload is not this build's; none when the type is another family's.
            pub(crate) fn decode(
                event_type: &str,
                version: u16,
                payload: &str,
            ) -> Option<Result<crate::Event, crate::CodecError>> {
                match event_type {
                    $(stringify!($event) => {
                        let event = crate::codec::decode_as(event_type, version, $version, payload);
                        Some(event.map(|event| Self::$event(event).into()))
                    })+
                    _ => None,
                }
            }
        }

        $(impl From<$event> for $name {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })+
    };
}
pub(crate) use event_enum;

pub(crate) fn decode_as<T: serde::de::DeserializeOwned>(
    event_type: &str,
    version: u16,
    current: u16,
    payload: &str,
) -> Result<T, CodecError> {
    decode_lifting(event_type, version, current, payload, upcast)
}

/// `upcast` is a parameter so that lifting can be tested while no event has a second version.
fn decode_lifting<T: serde::de::DeserializeOwned>(
    event_type: &str,
    version: u16,
    current: u16,
    payload: &str,
    upcast: impl Fn(&str, u16, Value) -> Value,
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
    let lifted = (version..current).fold(oldest, |value, from| upcast(event_type, from, value));
    serde_json::from_value(lifted).map_err(broken)
}

macro_rules! family {
    ($($variant:ident($inner:ident),)+) => {
        $(impl From<$inner> for Event {
            fn from(event: $inner) -> Self {
                Self::$variant(event)
            }
        })+
    };
}
family! {
    Order(OrderEvent),
    Stock(StockEvent),
    Reservation(ReservationEvent),
    Payment(PaymentEvent),
    Shipment(ShipmentEvent),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// v1 counted in dozens, v2 in pieces, v3 calls them `quantity`.
    fn lift(event_type: &str, from_version: u16, mut payload: Value) -> Value {
        match (event_type, from_version) {
            ("CupsCounted", 1) => payload["pieces"] = (payload["dozens"].as_i64().unwrap_or(0) * 12).into(),
            ("CupsCounted", 2) => payload["quantity"] = payload["pieces"].take(),
            other => panic!("nobody lifts {other:?}"),
        }
        payload
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct CupsCounted {
        quantity: i64,
    }

    fn decode(version: u16, payload: &str) -> Result<CupsCounted, String> {
        decode_lifting("CupsCounted", version, 3, payload, lift).map_err(|error| error.to_string())
    }

    #[test]
    fn an_old_payload_is_lifted_version_by_version_to_the_current_one() {
        let two_dozen = Ok(CupsCounted { quantity: 24 });
        assert_eq!(decode(1, r#"{"dozens":2}"#), two_dozen);
        assert_eq!(decode(2, r#"{"pieces":24}"#), two_dozen);
        assert_eq!(decode(3, r#"{"quantity":24}"#), two_dozen);
    }

    #[test]
    fn an_old_payload_that_cannot_be_lifted_is_named_with_the_version_it_has() {
        let broken = "the payload of CupsCounted v2 does not parse: ";
        assert_eq!(decode(2, "{"), Err(format!("{broken}EOF while parsing an object at line 1 column 1")));
        assert_eq!(
            decode(2, r#"{"pieces":"many"}"#),
            Err(format!("{broken}invalid type: string \"many\", expected i64"))
        );
    }
}
