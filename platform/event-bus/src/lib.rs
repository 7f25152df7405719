//! Kafka, as Tradewind uses it: topics, an ordered publisher, the tail of a topic, and a consumer whose place
//! is a checkpoint in Postgres.
//!
//! Never: a decision, a projection, a Kafka transaction, or an offset of Kafka's taken for the truth.
//! Only the relay publishes; only sagas and the query side consume.
//! Read next: [`OrderedPublisher`] (how the order is kept), then [`run_reader`] (how an effect happens once).

mod batch;
mod config;
mod consumer;
mod halt;
mod publisher;
mod tail;
mod topics;
mod whole;

pub mod checkpoint;
pub mod parked;

pub use batch::{Batch, BatchHandler, Checkpoint, CheckpointMove, HandlerError, Record};
pub use checkpoint::CheckpointError;
pub use config::{BusConfig, InvalidProperty, KafkaProperty};
pub use consumer::{
    ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, Subscription, run_consumer, run_reader,
};
pub use halt::{EPOCH_HEADER, HALT_HEADER, put_halt};
pub use publisher::{OrderedPublisher, Outgoing, PublishError, Receipt};
pub use tail::{PartitionTail, TailError, TailRecord, read_tail};
pub use topics::{TopicError, ensure_topics};
pub use whole::{
    TopicSum, WholeTopicError, forget_groups, group_members, read_whole, reader_groups, remove_topic,
    replication_of, told_offsets,
};
