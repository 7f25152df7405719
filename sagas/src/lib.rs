//! The sagas of the shop: each context reacts to the events of the others with commands on its own aggregates.
//!
//! There is no coordinator. Each process is a folder with one pure `react` function for each context, and a table of its
//! steps and reactions in `events/src/processes/`; [`PROCESSES`] lists them.
//! Never: a write to another context's log, a remote call inside a transaction.
//! Read next: [`order_fulfilment`] (how events cause decisions), `platform/reactors/src/lib.rs` (how that happens exactly
//! once), [`payments`] (the port to the payment provider).

mod config;
mod execute_reaction;
pub mod order_fulfilment;
pub mod payments;
mod process_check;
mod processes;
mod retry;
mod run;

pub use config::{Config, READERS};
pub use process_check::{TableError, check};
pub use processes::{PROCESSES, Process, React, ReactionContext, react, sources_of};
pub use retry::{RetryError, consumers_of, retry_parked};
pub use run::{SagaError, run, run_with};
