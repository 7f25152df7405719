//! How far a consumer has come, and a step further. Both are plain data: the stores and the bus move checkpoints, each in the
//! transaction of its own effect.

use crate::Position;

/// How far a consumer has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The topic's full name.
    pub topic: String,
    pub partition: i32,
    /// The offset of the next record to read.
    pub next_offset: i64,
    /// The highest position handled; 0 if there is none yet.
    pub last_position: Position,
    /// The epoch of the log that the position belongs to. A record of another epoch is never handled.
    pub epoch: i64,
}

/// A step of one checkpoint by compare-and-set: a row at `from_offset` moves to `to_offset`. If there is no row, `from_offset`
/// is 0 and the row is created. Anything else fails, because another consumer moved the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointMove {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub from_offset: i64,
    /// The offset of the next record to read.
    pub to_offset: i64,
    /// The highest position handled; 0 if there is none yet.
    pub last_position: Position,
}
