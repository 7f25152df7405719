//! Events in, commands out: each context reacts to the facts of the others with commands on its own aggregates.
//! There is no coordinator; the story is a table ([`order_fulfilment::STORY`]).
//!
//! Never: a write to another context, a remote call inside a transaction, a checkpoint moved without its effect.
//! Read next: [`order_fulfilment`] (how facts cause decisions), then `reactor.rs` (how that happens exactly once),
//! then [`payments`] (the one place that talks to the world).

mod carry_out;
mod config;
mod fate;
pub mod order_fulfilment;
mod parking;
pub mod payments;
mod progress;
mod reactor;
mod retry;
mod run;
mod witness;

pub use config::{Config, READERS};
pub use retry::{RetryError, consumers_of, retry_parked};
pub use run::{SagaError, run, run_with};
