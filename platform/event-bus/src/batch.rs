//! What a consumer hands to its handler, and what the handler answers.
//!
//! Never: a record left out in silence. Whatever is not in `records` was there before or concerns nobody, and the moves
//! pass it.
//! Read next: [`crate::run_consumer`].

use std::any::Any;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use event_log::{
    CodecError, ContextName, Envelope, EventSet, Position, RawEvent, TOPIC_PARTITIONS, cloud_event,
    partition_of,
};

/// One record of a topic.
#[derive(Debug)]
pub struct Record {
    pub context: ContextName,
    /// The topic's full name, prefix included.
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The stream's name, in every record that the relay wrote.
    pub key: Vec<u8>,
    /// The CloudEvent as it came, for parking.
    pub payload: Vec<u8>,
    /// Place in the context's log; none when the record is not one of ours at all.
    pub position: Option<Position>,
    raw: Result<RawEvent, CodecError>,
    /// A `Result<Envelope<E>, CodecError>`: all handlers of a process share what the first of them decoded.
    decoded: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Record {
    /// A record as it lies in a topic, or as it was parked.
    pub fn read(
        context: impl Into<ContextName>,
        topic: Arc<str>,
        (partition, offset): (i32, i64),
        key: Vec<u8>,
        payload: Vec<u8>,
    ) -> Self {
        let context = context.into();
        let raw = raw_event(context, partition, &payload);
        let position = raw.as_ref().ok().map(|raw| raw.position);
        Self { context, topic, partition, offset, key, payload, position, raw, decoded: OnceLock::new() }
    }

    /// The event.
    ///
    /// # Errors
    /// Poison: the record is none of ours, or this build does not know its event. Park it; never skip it.
    ///
    /// # Panics
    /// When it was decoded as an event of another set before: a process decodes all its records as one.
    pub fn event<E: EventSet>(&self) -> Result<&Envelope<E>, &CodecError> {
        let raw = self.raw.as_ref()?;
        let decoded = self.decoded.get_or_init(|| Box::new(raw.clone().decode::<E>(self.context)));
        let decoded: &Result<Envelope<E>, CodecError> =
            decoded.downcast_ref().expect("a process decodes its records as one set of events");
        decoded.as_ref()
    }

    /// The stream that the record belongs to: the event's, or the key of a record that is none of ours.
    pub fn stream_name(&self) -> String {
        match &self.raw {
            Ok(raw) => raw.stream.as_str().to_owned(),
            Err(_) => String::from_utf8_lossy(&self.key).into_owned(),
        }
    }
}

/// The event, its payload not decoded. A record on a partition that is not its stream's was not put there by a relay:
/// its position says nothing about this partition.
fn raw_event(context: ContextName, partition: i32, payload: &[u8]) -> Result<RawEvent, CodecError> {
    let raw = cloud_event::decode_raw(context, payload)?;
    let home = partition_of(raw.stream.as_str(), TOPIC_PARTITIONS);
    if home != partition {
        let cause = format!("{} belongs on partition {home}, not on {partition}", raw.stream);
        return Err(CodecError::CloudEvent { cause });
    }
    Ok(raw)
}

/// Records of any of the consumer's partitions, in order within each partition, none of them handled before.
#[derive(Debug, Default)]
pub struct Batch {
    /// Shared with the other handlers of the reader.
    pub records: Vec<Arc<Record>>,
    /// One per partition that the batch touches. All of them belong into the effect's transaction, also when
    /// `records` is empty (then all that came was passed: duplicates, and what does not concern the handler).
    pub moves: Vec<CheckpointMove>,
}

impl Batch {
    pub(crate) fn touches(&self, topic: &str, partition: i32) -> bool {
        self.moves.iter().any(|step| step.topic == topic && step.partition == partition)
    }

    /// Leaves out the partitions that are no longer ours, or whose checkpoint is not where we thought.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str, i32) -> bool) {
        self.records.retain(|record| keep(&record.topic, record.partition));
        self.moves.retain(|step| keep(&step.topic, step.partition));
    }
}

/// A step of one checkpoint, to be done by compare-and-set: a row at `from_offset` goes to `to_offset`. Where there
/// is no row, `from_offset` is 0 and the row is made. Anything else is [`HandlerError::CheckpointLost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointMove {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub from_offset: i64,
    /// The offset of the next record to read.
    pub to_offset: i64,
    /// The highest position handled; 0 when there is none yet.
    pub last_position: Position,
}

/// How far a consumer has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The topic's full name.
    pub topic: String,
    pub partition: i32,
    /// The offset of the next record to read.
    pub next_offset: i64,
    /// The highest position handled; 0 when there is none yet.
    pub last_position: Position,
    /// The epoch of the log that positions are counted in: a record of another one is never handled.
    pub epoch: i64,
}

/// Does the effect of records and moves the checkpoints, in one transaction.
#[async_trait]
pub trait BatchHandler: Send + Sync {
    /// The consumer's checkpoints, committed; read whenever partitions are assigned. An absent one means 0.
    ///
    /// # Errors
    /// `Retry` when the database can't be reached; the assignment waits.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError>;

    /// Whether the record may have an effect here. One that has none is passed without a transaction of its own: its
    /// checkpoint moves with the next batch of its partition, or within about a second. It may be asked about again.
    fn concerns(&self, _record: &Record) -> bool {
        true
    }

    /// Whether the database has lost commits of this handler, which did not wait for the disk: then its checkpoints are read
    /// again in every partition. Asked about once a second, between two batches. Must not block.
    fn has_lost_commits(&self) -> bool {
        false
    }

    /// Commits the effect of all records together with all moves, or nothing.
    ///
    /// # Errors
    /// [`HandlerError`], with nothing committed.
    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError>;
}

/// Why nothing of a batch was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// It may work later: the same batch comes again, after a growing pause.
    #[error("to be tried again: {0}")]
    Retry(String),
    /// The checkpoint is not at `from_offset`: another consumer had the partition. What is buffered of it is
    /// dropped, its checkpoint is read again, and the other partitions' part of the batch comes again.
    #[error("the checkpoint of {topic}/{partition} was moved by another")]
    CheckpointLost { topic: String, partition: i32 },
    /// The log was restored to an older state: the consumer stops with this reason, until `tradewind reconcile`.
    #[error("{0}")]
    Restored(String),
    /// Someone must act: the consumer stops with this reason.
    #[error("{0}")]
    Fatal(String),
}
