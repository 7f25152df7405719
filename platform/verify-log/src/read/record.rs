//! What the record of an event on Kafka must be, byte by byte.
//!
//! The encoder is this crate's own: an error in the relay's encoder would go unnoticed if both were the same.

use std::fmt;

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::Domain;
use crate::read::log::{Metadata, RawEvent};
use crate::read::positions::Positions;

/// About how many bytes of a record are not its payload.
const BYTES_AROUND_THE_PAYLOAD: usize = 640;

/// CloudEvents 1.0 in JSON, its attributes in this order.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: fmt::Arguments<'a>,
    #[serde(rename = "type")]
    event_type: fmt::Arguments<'a>,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    position: i64,
    version: i32,
    correlationid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependson: Option<&'a str>,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotencykey: Option<&'a str>,
    data: &'a RawValue,
}

/// An event, and the value that its record must have.
pub struct ExpectedRecord {
    pub event: RawEvent,
    /// The value, or, in words, why the event gives none.
    pub value: Result<Vec<u8>, String>,
    /// The positions that the event says it depends on, or, in words, why they cannot be read.
    pub depends_on: Result<Positions, String>,
}

impl ExpectedRecord {
    pub fn of(domain: &Domain, event: RawEvent) -> Self {
        let (value, depends_on) = match event.metadata() {
            Ok(metadata) => {
                (encode(&event, &metadata), Positions::parse(domain, metadata.depends_on.as_deref()))
            }
            Err(unreadable) => (Err(unreadable.clone()), Err(unreadable)),
        };
        Self { event, value, depends_on }
    }

    /// Whether a record with this value is this event's. Equal bytes prove all that a consumer reads in the value.
    pub fn has_value(&self, value: &[u8]) -> bool {
        let is_readable = self.event.position >= 1 && self.event.version >= 1;
        is_readable && self.value.as_deref().is_ok_and(|expected| expected == value)
    }
}

fn encode(event: &RawEvent, metadata: &Metadata<'_>) -> Result<Vec<u8>, String> {
    let context = event.context;
    let data: &RawValue = serde_json::from_str(&event.payload)
        .map_err(|cause| format!("the payload does not parse: {cause}"))?;
    let record = CloudEvent {
        specversion: "1.0",
        id: event.event_id,
        source: format_args!("/tradewind/{context}"),
        event_type: format_args!("tradewind.{context}.{}.v{}", event.event_type, event.schema_version),
        subject: &event.stream,
        time: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        datacontenttype: "application/json",
        position: event.position,
        version: event.version,
        correlationid: metadata.correlation_id,
        causationid: metadata.causation_id,
        dependson: metadata.depends_on.as_deref(),
        actor: &metadata.actor,
        traceparent: metadata.traceparent.as_deref(),
        idempotencykey: metadata.idempotency_key.as_deref(),
        data,
    };
    let mut bytes = Vec::with_capacity(event.payload.len() + BYTES_AROUND_THE_PAYLOAD);
    serde_json::to_writer(&mut bytes, &record).map_err(|cause| cause.to_string())?;
    Ok(bytes)
}
