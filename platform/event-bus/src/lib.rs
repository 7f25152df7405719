//! The Kafka client of the platform: topics, an ordered publisher, the tail of a topic, and a consumer whose position
//! is a checkpoint in Postgres.
//!
//! Never: a decision, a projection, a Kafka transaction, or an effect that depends on Kafka's committed offsets. Only
//! the relay publishes; only reactors and projections consume. Read next: [`OrderedPublisher`] (how the order is kept),
//! then [`run_reader`] (how each effect happens once).

mod batch;
mod config;
mod consumer;
mod group_admin;
mod publisher;
mod stop_marker;
mod tail;
mod topic_admin;
mod topic_reader;
mod topics;

pub mod checkpoint;
pub mod parked;

pub use batch::{Batch, BatchHandler, HandlerError, Record};
pub use checkpoint::CheckpointError;
pub use config::{BusConfig, InvalidProperty, KafkaProperty};
pub use consumer::{
    ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, Subscription, run_consumer, run_reader,
};
pub use event_log::{Checkpoint, CheckpointMove};
pub use group_admin::{committed_offsets, delete_groups, group_members, reader_groups};
pub use publisher::{OrderedPublisher, Outgoing, PublishError, Receipt};
pub use stop_marker::{EPOCH_HEADER, STOP_MARKER_HEADER, put_stop_markers};
pub use tail::{PartitionTail, TailError, TailRecord, read_tail};
pub use topic_admin::{TopicAdminError, delete_topic, replication_factor};
pub use topic_reader::{TopicSummary, read_topic};
pub use topics::{TopicError, ensure_topics};
