//! All that the generic part of this crate knows of the shop: its contexts, and how its events decode.
//!
//! Only the files below `fold/`, `check/shop/` and `read/shop/`, with `lib.rs` and `read_models.rs`, may name a context, a
//! stream category or an event type (`tests/generic_part.rs`).

pub use events::{Context, Event, StreamId, partition_of};

/// The consumer that applies every read model: it stores their checkpoints under this name.
pub const READ_MODEL_CONSUMER: &str = "query-side";
