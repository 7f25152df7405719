//! The record on Kafka: CloudEvents 1.0, structured JSON, one line.
//!
//! The payload is passed on byte for byte, without decoding it. Source: CloudEvents 1.0.2, JSON Event Format.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    CodecError, ContextName, Envelope, EventSet, Metadata, Position, Positions, RawEvent, StreamId, Version,
};

/// `tradewind.kitchen.CupFilled.v1`: the CloudEvents `type`, also sent as the header `ce_type`.
pub fn type_name(context: impl Into<ContextName>, event_type: &str, schema_version: u16) -> String {
    let context = context.into();
    format!("tradewind.{context}.{event_type}.v{schema_version}")
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    id: Uuid,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    type_name: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    position: Position,
    version: Version,
    correlationid: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    dependson: Positions,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotencykey: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The bytes of the record's value.
pub fn encode(context: impl Into<ContextName>, event: &RawEvent) -> Vec<u8> {
    let context = context.into();
    let record = Record {
        specversion: "1.0".into(),
        id: event.event_id,
        source: format!("/tradewind/{context}").into(),
        type_name: type_name(context, &event.event_type, event.schema_version).into(),
        subject: event.stream.as_str().into(),
        time: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true).into(),
        datacontenttype: "application/json".into(),
        position: event.position,
        version: event.version,
        correlationid: event.metadata.correlation_id,
        causationid: event.metadata.causation_id,
        dependson: event.metadata.depends_on.clone(),
        actor: event.metadata.actor.as_str().into(),
        traceparent: event.metadata.traceparent.clone(),
        idempotencykey: event.metadata.idempotency_key.clone(),
        data: &event.payload,
    };
    serde_json::to_vec(&record).expect("a record has string keys and no failing serialiser")
}

/// Reads a record's value without decoding its payload.
///
/// [`CodecError::CloudEvent`] when it is not a record of this context's topic: park it.
pub fn decode_raw(context: impl Into<ContextName>, value: &[u8]) -> Result<RawEvent, CodecError> {
    let context = context.into();
    let invalid = |cause: String| CodecError::CloudEvent { cause };
    let record: Record<'_> = serde_json::from_slice(value).map_err(|error| invalid(error.to_string()))?;
    let mut parts = record.type_name.split('.');
    let (event_type, schema_version) =
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("tradewind"), Some(name), Some(event_type), Some(version), None)
                if name == context.as_str() =>
            {
                version
                    .strip_prefix('v')
                    .and_then(|version| version.parse().ok())
                    .map(|version: u16| (event_type.to_owned(), version))
            }
            _ => None,
        }
        .ok_or_else(|| {
            invalid(format!("type is {:?}, want tradewind.{context}.<Event>.v<n>", record.type_name))
        })?;
    let recorded_at = DateTime::parse_from_rfc3339(&record.time)
        .map_err(|error| invalid(format!("time is {:?}: {error}", record.time)))?
        .with_timezone(&Utc);
    if record.position < 1 || record.version < 1 {
        return Err(invalid(format!(
            "position {} and version {} must be 1 or more",
            record.position, record.version
        )));
    }
    // Readers add 1 to a position, which must not overflow.
    if record.position == Position::MAX {
        return Err(invalid(format!("position {} is beyond any log", record.position)));
    }
    Ok(RawEvent {
        position: record.position,
        stream: StreamId::from(record.subject.into_owned()),
        version: record.version,
        event_id: record.id,
        event_type,
        schema_version,
        payload: record.data.to_owned(),
        metadata: Metadata {
            correlation_id: record.correlationid,
            causation_id: record.causationid,
            depends_on: record.dependson,
            actor: record.actor.into_owned(),
            traceparent: record.traceparent,
            idempotency_key: record.idempotencykey,
        },
        recorded_at,
    })
}

/// Reads a record's value.
///
/// # Errors
/// [`CodecError`]: park the record.
pub fn decode<E: EventSet>(context: impl Into<ContextName>, value: &[u8]) -> Result<Envelope<E>, CodecError> {
    let context = context.into();
    decode_raw(context, value)?.decode(context)
}
