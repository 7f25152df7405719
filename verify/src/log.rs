//! A row of a log, and what its record on Kafka must be, byte by byte.
//!
//! The encoder here is this crate's own: were it the relay's, both could be wrong together. Never: a payload changed on
//! the way. Read next: `travel.rs` (the logs by position), `streams.rs` (the logs by stream).

use chrono::{DateTime, SecondsFormat, Utc};
use events::{Context, partition_of};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::report::Offence;

/// In the order in which [`Event::read`] takes them.
pub const COLUMNS: &str =
    "position, stream, version, event_id, type, schema_version, payload::text, metadata::text, recorded_at";

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
pub struct Metadata {
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub actor: String,
    traceparent: Option<String>,
    idempotency_key: Option<String>,
}

/// CloudEvents 1.0 in JSON, its attributes in this order.
#[derive(Serialize)]
struct Wire<'a> {
    specversion: &'static str,
    id: Uuid,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    position: i64,
    version: i32,
    correlationid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
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
            payload: row.get(6),
            metadata: row.get(7),
            recorded_at: row.get(8),
        }
    }

    pub fn partition(&self) -> i32 {
        partition_of(&self.stream, events::TOPIC_PARTITIONS)
    }

    /// # Errors
    /// In words, when it is not what an append writes.
    pub fn metadata(&self) -> Result<Metadata, String> {
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
    /// In words, when payload or metadata are not JSON.
    pub fn wire(&self, context: Context) -> Result<Vec<u8>, String> {
        let metadata = self.metadata()?;
        let data: &RawValue = serde_json::from_str(&self.payload)
            .map_err(|cause| format!("the payload does not parse: {cause}"))?;
        let wire = Wire {
            specversion: "1.0",
            id: self.event_id,
            source: format!("/tradewind/{context}"),
            event_type: format!("tradewind.{context}.{}.v{}", self.event_type, self.schema_version),
            subject: &self.stream,
            time: self.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            position: self.position,
            version: self.version,
            correlationid: metadata.correlation_id,
            causationid: metadata.causation_id,
            actor: &metadata.actor,
            traceparent: metadata.traceparent.as_deref(),
            idempotencykey: metadata.idempotency_key.as_deref(),
            data,
        };
        serde_json::to_vec(&wire).map_err(|cause| cause.to_string())
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
