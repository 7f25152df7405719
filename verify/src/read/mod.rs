//! What a verification reads: logs, topics, checkpoints and read models, each by this crate's own SQL and Kafka reader.
//!
//! Never: a write, a lock, a consumer group. A read returns what is there; whether it should be there is for `check/` to say.
//! Read next: `snapshots.rs` (the order of reading), `log.rs`, `topic.rs`.

pub mod applied_positions;
pub mod connections;
pub mod database;
pub mod json;
pub mod keyed;
pub mod log;
pub mod positions;
pub mod progress;
pub mod record;
pub mod row;
pub mod shop;
pub mod snapshots;
pub mod streams;
pub mod table;
pub mod topic;
