//! The parts of an event log, for any domain: contexts, streams, events, positions, checkpoints, and the record on
//! Kafka.
//!
//! PURE: no clock, no I/O, no randomness. Never: the name of an event, an aggregate or a context. The application
//! declares those, with [`event_enum!`] and [`contexts!`]. Read next: [`contexts!`] (the registry), [`Envelope`],
//! [`State`] and [`Aggregate`].

mod checkpoint;
pub mod cloud_event;
pub mod codec;
mod command;
mod context;
mod envelope;
mod partition;
mod positions;
mod registry;
mod state;
mod stream;

pub use checkpoint::{Checkpoint, CheckpointMove};
pub use codec::{CodecError, EventData, EventFamily, EventSet};
pub use command::{CommandSet, CommandVisitor};
pub use context::{CONTEXT_NAME_BYTES_MAX, ContextName, InvalidContextName, UnknownContext};
pub use envelope::{Envelope, InvalidToken, Metadata, Position, PositionToken, RawEvent, Version};
pub use partition::{TOPIC_PARTITIONS, partition_of};
pub use positions::Positions;
pub use state::{Aggregate, Decide, Decision, DecisionOf, Others, SnapshotForm, State, shape_of};
pub use stream::StreamId;

/// The sources of this crate that decide how an event is decoded. Their hash is part of every snapshot's shape.
pub const SOURCES: &str = include_str!("codec.rs");

/// Used by the macros only.
#[doc(hidden)]
pub mod private {
    pub use serde::{Deserialize, Deserializer, Serialize, Serializer};
    pub use serde_json::value::{RawValue, to_raw_value};

    pub fn custom<E: serde::de::Error>(error: crate::UnknownContext) -> E {
        E::custom(error)
    }
}
