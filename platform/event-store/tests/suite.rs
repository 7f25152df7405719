//! Every test of the log on a real PostgreSQL, in one program; `planted.rs` is another, since a mutant concerns its whole process.

mod ahead;
mod append;
mod append_notifier;
mod append_queue;
mod attack;
mod grants;
mod idempotency;
mod outage;
mod relay_lease;
mod snapshots;
mod support;
mod unit_of_work;
