//! The tools that an operator runs next to a running platform.
//!
//! Never: a write to a log other than over HTTP. Read next: `load/mod.rs` (sends orders over HTTP), `events.rs` (reads
//! the logs).

mod connections;
pub mod events;
pub mod load;
pub mod parked;
pub mod reconcile;
pub mod relay;
pub mod replay;
pub mod verify;
