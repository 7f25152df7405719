//! Replay on a real Postgres: real logs, and live tables moved as their consumer moves them.
//!
//! Never: Kafka; a rebuild does not know that there is one. Read next: `world.rs`.

mod rebuilding;
mod rolling_back;
mod swapping;
mod world;
