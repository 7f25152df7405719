//! The envelope of an event: its position, its stream, and its cause.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{CodecError, ContextName, EventSet, Positions, StreamId};

/// The position in a context's log: 1, 2, 3, … without a gap, in commit order. 0 is before the first.
pub type Position = i64;

/// The version of a stream: its number of events. 0 is an empty stream.
pub type Version = i32;

/// The cause of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The same in every event that one request caused.
    pub correlation_id: Uuid,
    /// The id of the event that this one reacts to; none if a request caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// The position of the event that this one reacts to, and all positions that it depends on in turn: a reader that
    /// shows this event must also be able to show those. Empty if a request caused it.
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    pub depends_on: Positions,
    /// The component that wrote it: `http`, `saga:inventory`, `deadline`, …
    pub actor: String,
    /// W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Metadata {
    /// The metadata of an event that `actor` writes and no other event caused.
    pub fn by(actor: impl Into<String>, correlation_id: Uuid) -> Self {
        Self {
            correlation_id,
            causation_id: None,
            depends_on: Positions::default(),
            actor: actor.into(),
            traceparent: None,
            idempotency_key: None,
        }
    }
}

/// An event as the log stores it, its payload not decoded.
#[derive(Debug, Clone)]
pub struct RawEvent {
    pub position: Position,
    pub stream: StreamId,
    pub version: Version,
    /// A uuid v7.
    pub event_id: Uuid,
    pub event_type: String,
    pub schema_version: u16,
    /// The JSON of the event's fields, as it was appended.
    pub payload: Box<RawValue>,
    pub metadata: Metadata,
    pub recorded_at: DateTime<Utc>,
}

impl RawEvent {
    /// # Errors
    /// [`CodecError`] when this build does not know the type or version, or the payload does not fit.
    pub fn decode<E: EventSet>(self, context: impl Into<ContextName>) -> Result<Envelope<E>, CodecError> {
        let context = context.into();
        let event = E::decode(context, &self.event_type, self.schema_version, self.payload.get())?;
        Ok(Envelope {
            context,
            position: self.position,
            stream: self.stream,
            version: self.version,
            event_id: self.event_id,
            metadata: self.metadata,
            recorded_at: self.recorded_at,
            event,
        })
    }
}

/// A decoded event with its position and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<E> {
    pub context: ContextName,
    pub position: Position,
    pub stream: StreamId,
    pub version: Version,
    pub event_id: Uuid,
    pub metadata: Metadata,
    pub recorded_at: DateTime<Utc>,
    pub event: E,
}

/// `<context>:<position>`: the responses to commands contain it, and queries take it as `?after=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionToken {
    pub context: ContextName,
    pub position: Position,
}

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.context, self.position)
    }
}

/// An invalid position token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be <context>:<position>, such as orders:1234; is {given:?}")]
pub struct InvalidToken {
    pub given: String,
}

impl FromStr for PositionToken {
    type Err = InvalidToken;

    /// Checks the form alone: the context need not exist.
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let parse = || {
            let (context, position) = text.split_once(':')?;
            let position: Position = position.parse().ok()?;
            (position >= 0).then_some(Self { context: context.parse().ok()?, position })
        };
        parse().ok_or_else(|| InvalidToken { given: text.chars().take(64).collect() })
    }
}
