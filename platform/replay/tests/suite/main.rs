//! Replay on a real Postgres: real logs, and live tables moved as their consumer moves them.
//!
//! There is no Kafka here: a rebuild reads the logs. Read next: `world.rs`.

mod rebuilding;
mod rolling_back;
mod swapping;
mod world;
