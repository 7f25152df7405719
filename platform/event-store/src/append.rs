//! How a decision becomes a fact.
//!
//! An [`Append`] is everything that one command writes: events on one or several streams, the version that each stream
//! must have, the answer to an idempotency key, a consumer's checkpoint, deadlines, parked records. All of it is
//! committed, or none. The store handles it in four steps:
//!
//! 1. It measures the events (`prepare`) and refuses an event that is too large for the broker.
//! 2. It queues the append, up to a limit ([`EventStore::append`](crate::EventStore::append)).
//! 3. The appender sends it together with all other waiting appends, as one statement (`appender.rs`, `batch.rs`).
//! 4. The SQL function `append` (`migrations/context/functions/append.sql`) checks it under the log's lock, after the
//!    appends before it, and either gives it the next positions or names the conflict.
//!
//! Never: another way to write to the log, or a wait between the check and the commit.

use chrono::{DateTime, Utc};
use event_log::{CheckpointMove, EventData, Metadata, Position, StreamId, Version};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::error::AppendError;

/// The most bytes that payload and metadata of one event may have together. The broker's default limit for a record is
/// 1,048,576 bytes; the rest is reserved for the envelope, the key and the headers. The table has the same limit as the
/// constraint `events_fit_the_broker`.
pub const EVENT_BYTES_MAX: usize = 900 * 1024;

/// Everything that one command writes, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// In the order of the events in the log. A stream may occur again further down, with the version that its earlier
    /// writes produced.
    pub writes: Vec<StreamWrite>,
    pub claim: Option<IdempotencyClaim>,
    /// At most one for each (consumer, topic, partition).
    pub checkpoints: Vec<CheckpointMove>,
    /// If an id occurs more than once, the last change counts.
    pub deadlines: Vec<DeadlineChange>,
    pub parked: Vec<ParkedEvent>,
}

/// Events for one stream. Without events, the write only checks that the stream still has the expected version.
#[derive(Debug, Clone)]
pub struct StreamWrite {
    pub stream: StreamId,
    /// 0: the stream must be empty.
    pub expected_version: Version,
    pub events: Vec<NewEvent>,
}

/// An event that is not in the log yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// A uuid v7, generated once. After a broken connection the store finds its own append in the log by this id.
    pub event_id: Uuid,
    pub event_type: &'static str,
    pub schema_version: u16,
    /// The JSON of the event's fields.
    pub payload: Box<RawValue>,
    pub metadata: Metadata,
}

impl NewEvent {
    /// An event with a new id.
    pub fn new(event: &impl EventData, metadata: Metadata) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            payload: event.payload(),
            metadata,
        }
    }
}

/// A request's key, and the answer that every repetition of the request gets. An append without writes may claim a key
/// too: that stores a refusal.
#[derive(Debug, Clone)]
pub struct IdempotencyClaim {
    pub key: String,
    /// A hash of the request, SHA-256: the same key with another request is refused.
    pub fingerprint: [u8; 32],
    pub answer: Answer,
}

/// An HTTP answer without positions. The positions are only known after the append, and are stored beside the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The first answer to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    pub answer: Answer,
    pub fingerprint: [u8; 32],
    /// Both 0 when the command wrote no events.
    pub first_position: Position,
    pub last_position: Position,
    pub answered_at: DateTime<Utc>,
}

/// A command to execute at a given time. The append that starts a wait sets it; the append that ends the wait clears
/// it.
#[derive(Debug, Clone, PartialEq)]
pub enum DeadlineChange {
    /// Replaces the deadline of that id.
    Set { id: String, stream: StreamId, due_at: DateTime<Utc>, command: Value },
    /// Does nothing if there is no such deadline.
    Clear { id: String },
}

/// A record that a consumer cannot handle. Parking it lets the records of other streams continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Later records of the stream are parked behind it.
    pub stream: StreamId,
    /// None if the record's position could not be read.
    pub position: Option<Position>,
    pub key: Vec<u8>,
    /// The record's value, byte for byte.
    pub payload: Vec<u8>,
    pub reason: String,
}

impl ParkedEvent {
    /// The reason of a record that waits behind another parked record of its stream. The database refuses this reason
    /// if nothing of the stream is parked any more (`migrations/context/functions/behind_a_parked_record.sql`): the
    /// earlier record was handled in between.
    pub const BEHIND: &'static str = "an earlier event of this stream is parked";
}

/// Identifies the parked record that an append removes, because the append contains the record's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedPlace {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// The positions of an append's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Both 0 if the append had no events. The positions between them belong to this append alone.
    pub first_position: Position,
    pub last_position: Position,
    /// By the database's clock.
    pub recorded_at: DateTime<Utc>,
}

/// An append whose events are serialised and measured.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub append: Append,
    /// The metadata of each event, in the order of `append.writes`.
    pub metadata: Vec<Box<RawValue>>,
    /// The approximate size in memory and on the wire.
    pub bytes: usize,
}

/// Serialises the events. This runs in the caller's task, so that the one appender task does less.
///
/// # Errors
/// [`AppendError::EventTooLarge`].
pub(crate) fn prepare(append: Append) -> Result<Prepared, AppendError> {
    let mut metadata_of_events = Vec::new();
    let mut bytes = append.parked.iter().map(|parked| parked.payload.len()).sum();
    for new in append.writes.iter().flat_map(|write| &write.events) {
        let metadata =
            to_raw_value(&new.metadata).expect("metadata has string keys and no failing serialiser");
        let size = new.payload.get().len() + metadata.get().len();
        if size > EVENT_BYTES_MAX {
            return Err(AppendError::EventTooLarge {
                event_type: new.event_type,
                bytes: size,
                max: EVENT_BYTES_MAX,
            });
        }
        bytes += size;
        metadata_of_events.push(metadata);
    }
    Ok(Prepared { append, metadata: metadata_of_events, bytes })
}
