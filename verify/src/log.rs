//! A row of a log, and what its record on Kafka must be, byte by byte.
//!
//! The encoder here is this crate's own: were it the relay's, both could be wrong together. Never: a payload changed on
//! the way. Read next: `travel.rs` (the logs by position), `streams.rs` (the logs by stream).

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use events::{Context, partition_of};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::Json;
use crate::depends::{self, Positions};
use crate::report::Offence;

/// In the order in which [`Event::read`] takes them.
pub const COLUMNS: &str =
    "position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at";

/// About so many bytes of a record are not its payload.
const WIRE_AROUND_THE_PAYLOAD: usize = 640;

/// An event as it lies in the log, nothing decoded.
#[derive(Debug, Clone)]
pub struct Event {
    pub position: i64,
    pub stream: String,
    pub version: i32,
    pub event_id: Uuid,
    pub event_type: String,
    pub schema_version: i16,
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

#[derive(Deserialize)]
pub struct Metadata<'a> {
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub depends_on: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    traceparent: Option<Cow<'a, str>>,
    idempotency_key: Option<Cow<'a, str>>,
}

/// CloudEvents 1.0 in JSON, its attributes in this order.
#[derive(Serialize)]
struct Wire<'a> {
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

impl Event {
    pub fn read(row: &Row) -> Self {
        Self {
            position: row.get(0),
            stream: row.get(1),
            version: row.get(2),
            event_id: row.get(3),
            event_type: row.get(4),
            schema_version: row.get(5),
            payload: row.get::<_, Json>(6).0,
            metadata: row.get::<_, Json>(7).0,
            recorded_at: row.get(8),
        }
    }

    pub fn partition(&self) -> i32 {
        partition_of(&self.stream, events::TOPIC_PARTITIONS)
    }

    /// # Errors
    /// In words, when it is not what an append writes.
    pub fn metadata(&self) -> Result<Metadata<'_>, String> {
        serde_json::from_str(&self.metadata).map_err(|cause| format!("the metadata does not parse: {cause}"))
    }

    /// The fact itself.
    ///
    /// # Errors
    /// In words, when this build does not know it.
    pub fn decode(&self, context: Context) -> Result<events::Event, String> {
        let version = u16::try_from(self.schema_version).unwrap_or(0);
        events::Event::decode(context, &self.event_type, version, &self.payload)
            .map_err(|cause| cause.to_string())
    }

    /// The record's value.
    ///
    /// # Errors
    /// In words, when the payload is not JSON.
    fn wire(&self, context: Context, metadata: &Metadata<'_>) -> Result<Vec<u8>, String> {
        let data: &RawValue = serde_json::from_str(&self.payload)
            .map_err(|cause| format!("the payload does not parse: {cause}"))?;
        let wire = Wire {
            specversion: "1.0",
            id: self.event_id,
            source: format_args!("/tradewind/{context}"),
            event_type: format_args!("tradewind.{context}.{}.v{}", self.event_type, self.schema_version),
            subject: &self.stream,
            time: self.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            position: self.position,
            version: self.version,
            correlationid: metadata.correlation_id,
            causationid: metadata.causation_id,
            dependson: metadata.depends_on.as_deref(),
            actor: &metadata.actor,
            traceparent: metadata.traceparent.as_deref(),
            idempotencykey: metadata.idempotency_key.as_deref(),
            data,
        };
        let mut bytes = Vec::with_capacity(self.payload.len() + WIRE_AROUND_THE_PAYLOAD);
        serde_json::to_writer(&mut bytes, &wire).map_err(|cause| cause.to_string())?;
        Ok(bytes)
    }

    /// `offence`, with the place of this event.
    pub fn accuse(&self, context: Context, offence: Offence) -> Offence {
        offence
            .in_context(context)
            .at("position", self.position)
            .at("stream", &self.stream)
            .at("version", self.version)
    }
}

/// An event, and the value that its record must have.
pub struct Published {
    pub event: Event,
    /// Or, in words, why none can be made.
    pub wire: Result<Vec<u8>, String>,
    /// What it says that it depends on, or, in words, why that cannot be read.
    pub depends_on: Result<Positions, String>,
}

impl Published {
    pub fn of(event: Event, context: Context) -> Self {
        let (wire, depends_on) = match event.metadata() {
            Ok(metadata) => (event.wire(context, &metadata), depends::parse(metadata.depends_on.as_deref())),
            Err(unreadable) => (Err(unreadable.clone()), Err(unreadable)),
        };
        Self { event, wire, depends_on }
    }

    /// Whether a record with this value is this event's, as consumers read it: the bytes say all that they look at.
    pub fn is(&self, value: &[u8]) -> bool {
        let is_readable = self.event.position >= 1 && self.event.version >= 1;
        is_readable && self.wire.as_deref().is_ok_and(|wire| wire == value)
    }
}
