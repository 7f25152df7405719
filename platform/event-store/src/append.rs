//! How a decision becomes a fact.
//!
//! An [`Append`] is everything that one command has to write: events on one or several streams, the version each stream
//! must have, the answer to its idempotency key, a consumer's checkpoint, deadlines, parked records. It is all in or all
//! out. On its way it is
//!
//! 1. measured (`prepare`): an event that does not fit the broker is refused here, alone;
//! 2. queued, with a limit ([`EventStore::append`](crate::EventStore::append));
//! 3. sent together with whatever else waits, as one statement (`appender.rs`, `batch.rs`);
//! 4. judged under the log's lock, after those before it, by the SQL function `append`
//!    (`migrations/context/functions/append.sql`), which gives it the next positions or names what stood in its way.
//!
//! Never: a write to the log by another way, or a wait between the judgement and the commit.
//! Read next: `migrations/context/functions/append.sql`, then `appender.rs`.

use chrono::{DateTime, Utc};
use event_log::{EventData, Metadata, Position, StreamId, Version};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::AppendError;

/// The most bytes that payload and metadata of one event may have together. The broker's default limit for a record is
/// 1,048,576 bytes; the difference is for what the record adds (envelope, key, headers). The table has the same limit
/// as the constraint `events_fit_the_broker`.
pub const EVENT_BYTES_MAX: usize = 900 * 1024;

/// What one command has to write, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// In the order in which the events shall stand in the log. A stream may occur again further down, with the version
    /// that its earlier writes led to.
    pub writes: Vec<StreamWrite>,
    pub claim: Option<IdempotencyClaim>,
    /// At most one for each (consumer, topic, partition).
    pub checkpoints: Vec<CheckpointMove>,
    /// Where an id occurs more than once, the last change counts.
    pub deadlines: Vec<DeadlineChange>,
    pub parked: Vec<ParkedEvent>,
}

/// Events for one stream. Without events: a check that the stream still has that version.
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
    /// A uuid v7, made once: by it an append whose connection broke is found again.
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

/// A request's key, and the answer that every repetition of the request gets. A refusal may be claimed too, by an
/// append without writes.
#[derive(Debug, Clone)]
pub struct IdempotencyClaim {
    pub key: String,
    /// A hash of the request, SHA-256: the same key with another request is refused.
    pub fingerprint: [u8; 32],
    pub answer: Answer,
}

/// An HTTP answer, without the positions: these are known only after the append and stored beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The answer that a key got, first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    pub answer: Answer,
    pub fingerprint: [u8; 32],
    /// Both 0 when the command wrote no events.
    pub first_position: Position,
    pub last_position: Position,
    pub answered_at: DateTime<Utc>,
}

/// A consumer's progress on one partition, moved only if it still stands at `from_offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointMove {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    /// 0 when the consumer has no checkpoint there yet.
    pub from_offset: i64,
    /// The offset of the next record to read.
    pub to_offset: i64,
    /// The highest position handled on that partition.
    pub last_position: Position,
}

/// A command to be given when a time has come, set and cleared in the append that starts and ends the wait.
#[derive(Debug, Clone, PartialEq)]
pub enum DeadlineChange {
    /// Replaces the deadline of that id.
    Set { id: String, stream: StreamId, due_at: DateTime<Utc>, command: Value },
    /// Nothing when there is none.
    Clear { id: String },
}

/// A record that a consumer cannot handle, put aside so that the rest may flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Later records of the stream are parked behind it.
    pub stream: StreamId,
    /// None when the record could not be read so far.
    pub position: Option<Position>,
    pub key: Vec<u8>,
    /// The record's value as it came.
    pub payload: Vec<u8>,
    pub reason: String,
}

impl ParkedEvent {
    /// The reason of a record that is sound itself. The database refuses it when nothing of the stream is parked
    /// (`migrations/context/functions/behind_a_parked_record.sql`): the one before was handled meanwhile.
    pub const BEHIND: &'static str = "an earlier event of this stream is parked";
}

/// Which parked record: the one that an append takes away, because it holds its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedPlace {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Where an append's events stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Both 0 when the append had no events. Between them there is nobody else's event.
    pub first_position: Position,
    pub last_position: Position,
    /// By the database's clock.
    pub recorded_at: DateTime<Utc>,
}

/// An append with its events in the form in which they are sent, measured.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub append: Append,
    /// The metadata of each event, in the order of `append.writes`.
    pub metadata: Vec<Box<RawValue>>,
    /// About what it takes in memory and on the wire.
    pub bytes: usize,
}

/// Serialises the events, in the caller's task and not in the one appender's.
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
