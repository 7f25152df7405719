//! What a verification reads: logs, topics, checkpoints and read models, each by this crate's own SQL and Kafka reader.
//!
//! Never: a write, a lock, a consumer group. A read returns what is there; whether it should be there is for `check/` to say.
//! Read next: `snapshots.rs` (the order of reading), `log.rs`, `topic.rs`.

pub(crate) mod applied_positions;
pub(crate) mod connections;
pub(crate) mod database;
pub(crate) mod json;
pub(crate) mod keyed;
pub(crate) mod log;
pub(crate) mod positions;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod row;
pub(crate) mod snapshots;
pub(crate) mod streams;
pub(crate) mod table;
pub(crate) mod topic;
