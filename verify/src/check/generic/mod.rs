//! The properties of any domain's logs, topics and consumers, for every context of the registry.
//!
//! Never: an event type, a stream category or a context by name (`tests/generic_part.rs`). Read next: `log/mod.rs`, `topics.rs`.

pub mod answers;
pub mod checkpoints;
pub mod foreign_records;
pub mod log;
pub mod parked;
pub mod progress;
pub mod topics;

use crate::report::Property;

/// What one pass over the logs by position, beside the topics, checks.
pub static BY_POSITION: [&Property; 5] = [
    &log::PROPERTY,
    &topics::PROPERTY,
    &foreign_records::PROPERTY,
    &checkpoints::PROPERTY,
    &progress::PROPERTY,
];
