//! Replay on a real Postgres: real logs, and live tables moved as their consumers move them.
//!
//! Never: Kafka; a rebuild does not know that there is one. Read next: `world.rs`.

mod rebuilding;
mod swapping;
mod world;
