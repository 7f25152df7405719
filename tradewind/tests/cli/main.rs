//! The binary from outside: private engines, `up` and `down`, and what docker-compose.yml asks of it.
//!
//! Never: a look into a crate. Read next: `up.rs`.

mod compose;
mod engines;
mod migrate;
mod platform;
mod tools;
mod up;
