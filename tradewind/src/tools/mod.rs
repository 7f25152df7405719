//! The tools: what a person runs beside a platform that is up.
//!
//! Never: a write to a log by another way than the HTTP door. Read next: `load/mod.rs` (real orders through that door),
//! `events.rs` (the log as it is).

pub mod events;
pub mod load;
pub mod parked;
mod place;
pub mod reconcile;
pub mod relay;
pub mod replay;
pub mod verify;
