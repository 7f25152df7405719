//! What a consumer passes to its handler, and what the handler returns.
//!
//! No record is dropped silently: a record that is missing from `records` was handled before or is irrelevant to the
//! handler, and the moves go past it.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use event_log::{
    Checkpoint, CheckpointMove, CodecError, ContextName, Envelope, EventSet, Position, RawEvent,
    TOPIC_PARTITIONS, cloud_event, partition_of,
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
    /// The CloudEvent, byte for byte, for parking.
    pub payload: Vec<u8>,
    /// The position in the context's log; none if the record is not an event of ours.
    pub position: Option<Position>,
    raw: Result<RawEvent, CodecError>,
    /// A `Result<Envelope<E>, CodecError>`. All handlers of a process share what the first of them decoded.
    decoded: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Record {
    /// Reads a record of a topic, or a parked one.
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
    /// Poison: the record is not an event of ours, or this build does not know the event. Park it; never skip it.
    ///
    /// When it was already decoded as an event of another set: a process decodes all its records as one set.
    pub fn event<E: EventSet>(&self) -> Result<&Envelope<E>, &CodecError> {
        let raw = self.raw.as_ref()?;
        let decoded = self.decoded.get_or_init(|| Box::new(raw.clone().decode::<E>(self.context)));
        let decoded: &Result<Envelope<E>, CodecError> =
            decoded.downcast_ref().expect("a process decodes its records as one set of events");
        decoded.as_ref()
    }

    /// The stream that the record belongs to: the event's, or the key of a record that is not an event of ours.
    pub fn stream_name(&self) -> String {
        match &self.raw {
            Ok(raw) => raw.stream.as_str().to_owned(),
            Err(_) => String::from_utf8_lossy(&self.key).into_owned(),
        }
    }
}

/// The event, its payload not decoded. A record on a partition that is not its stream's was not written by a relay: its
/// position says nothing about this partition.
fn raw_event(context: ContextName, partition: i32, payload: &[u8]) -> Result<RawEvent, CodecError> {
    let raw = cloud_event::decode_raw(context, payload)?;
    let expected = partition_of(raw.stream.as_str(), TOPIC_PARTITIONS);
    if expected != partition {
        let cause = format!("{} belongs on partition {expected}, not on {partition}", raw.stream);
        return Err(CodecError::CloudEvent { cause });
    }
    Ok(raw)
}

/// Records of any of the consumer's partitions, in order within each partition, none of them handled before.
#[derive(Debug, Default)]
pub struct Batch {
    /// Shared with the other handlers of the reader.
    pub records: Vec<Arc<Record>>,
    /// One per partition that the batch touches. All of them belong to the effect's transaction, also when `records` is
    /// empty: then all records were skipped, as duplicates or as irrelevant to the handler.
    pub moves: Vec<CheckpointMove>,
}

impl Batch {
    pub(crate) fn touches(&self, topic: &str, partition: i32) -> bool {
        self.moves.iter().any(|step| step.topic == topic && step.partition == partition)
    }

    /// Removes the partitions that are no longer assigned, or whose checkpoint was moved by another consumer.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str, i32) -> bool) {
        self.records.retain(|record| keep(&record.topic, record.partition));
        self.moves.retain(|step| keep(&step.topic, step.partition));
    }
}

/// Executes the effect of records and moves the checkpoints, in one transaction.
#[async_trait]
pub trait BatchHandler: Send + Sync {
    /// The consumer's committed checkpoints, read whenever partitions are assigned. An absent one means 0.
    ///
    /// `Retry` when the database cannot be reached; the assignment waits.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError>;

    /// Whether the record may have an effect. An irrelevant record needs no transaction: its checkpoint moves with the
    /// next batch of its partition, or within about a second. The consumer may ask about the same record again.
    fn is_relevant(&self, _record: &Record) -> bool {
        true
    }

    /// Whether the database has lost commits of this handler that did not wait for the disk. Then the consumer reads
    /// its checkpoints in every partition again. Called about once a second, between two batches. Must not block.
    fn has_lost_commits(&self) -> bool {
        false
    }

    /// Commits the effect of all records together with all moves, or nothing.
    ///
    /// # Errors
    /// [`HandlerError`], with nothing committed.
    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError>;
}

/// The reason why nothing of a batch was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// A later attempt may succeed: the consumer passes the same batch again, after a growing pause.
    #[error("retry: {0}")]
    Retry(String),
    /// The checkpoint is not at `from_offset`: another consumer had the partition. The consumer drops the partition's
    /// buffered records, reads its checkpoint again, and passes the rest of the batch again.
    #[error("the checkpoint of {topic}/{partition} was moved by another consumer")]
    CheckpointLost { topic: String, partition: i32 },
    /// The log was restored to an older state: the consumer stops with this reason until `tradewind reconcile`.
    #[error("{0}")]
    Restored(String),
    /// The consumer stops with this reason; an operator must act.
    #[error("{0}")]
    Fatal(String),
}
