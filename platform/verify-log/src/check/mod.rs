//! The properties of any domain's logs, topics and consumers: one file for each, with its name, its sentence and its check.
//!
//! Never: an event type, a stream category or a context by name; a rule that is taken from the code that it checks.
//! Read next: `log/mod.rs`, `topics.rs`.

pub mod answers;
pub mod checkpoints;
pub mod foreign_records;
pub mod log;
pub mod parked;
pub mod progress;
pub mod topics;

use crate::report::Property;

/// Every property that needs no knowledge of the domain, in the order of the report.
pub static PROPERTIES: [&Property; 7] = [
    &log::PROPERTY,
    &topics::PROPERTY,
    &foreign_records::PROPERTY,
    &checkpoints::PROPERTY,
    &progress::PROPERTY,
    &parked::PROPERTY,
    &answers::PROPERTY,
];

/// What one pass over the logs by position, beside the topics, checks.
pub static BY_POSITION: [&Property; 5] = [
    &log::PROPERTY,
    &topics::PROPERTY,
    &foreign_records::PROPERTY,
    &checkpoints::PROPERTY,
    &progress::PROPERTY,
];
