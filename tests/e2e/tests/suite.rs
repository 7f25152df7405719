//! Every scenario, in one program: they spend most of their time waiting, so several run side by side.
//!
//! `cargo test -p e2e --test suite story::` runs those of one file. Never: a scenario that cannot bear others beside it on the
//! same engines; one that kills an engine has its own. Programs of their own are `planted.rs`, for `make planted`, and the two
//! that start several engines, `faults_brokers.rs` and `faults_engines.rs`: less runs beside them (`.config/nextest.toml`).
//! Read next: `story.rs`.

mod agreement;
mod chaos;
mod contention;
mod crash;
mod crash_points;
mod faults_clock;
mod faults_disk;
mod faults_processes;
mod faults_records;
mod fuzz;
mod openapi;
mod parked;
mod readiness;
mod restore;
mod story;
mod tools;
mod verify;
