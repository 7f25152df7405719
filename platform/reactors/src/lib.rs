//! Events in, commands out, for any domain: each context reacts to the events of others with commands on its own
//! aggregates, exactly once.
//!
//! A [`Reactor`] carries out the pure [`Reactions`] of one context. A [`Gateway`] makes the [`OutsideCalls`] that a
//! context's own events demand. A [`DeadlineWorker`] carries out the commands of deadlines that have passed. [`Reactors`]
//! runs all of them in one process with one Kafka reader.
//!
//! Never: a write to another context's log, a remote call inside a transaction, a checkpoint that moves without its
//! effect, an event or a context by name. Read next: [`Reactions`], then `reactor.rs` (how an effect happens exactly once).

mod batch_progress;
mod cause;
mod commit_error;
mod deadlines;
mod error_mapping;
mod execute;
mod gateway;
mod parking;
mod reactions;
mod reactor;
mod restore_detector;
mod retry;
mod runner;

pub use cause::caused_by;
pub use commit_error::{CONFLICTS_MAX, CommitError};
pub use deadlines::{DeadlineActions, DeadlineWorker};
pub use execute::execute;
pub use gateway::{Gateway, OutsideCalls};
pub use reactions::Reactions;
pub use reactor::Reactor;
pub use retry::RetryError;
pub use runner::{Reactors, ReactorsError, reader_group};
