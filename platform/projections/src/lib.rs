//! The projection engine: folds the events of a process's topics into tables of Postgres, and answers requests from them.
//!
//! A projection is a pure fold ([`Projection`]). All projections of a process are one [`ProjectionSet`]: one [`Reader`] applies every
//! batch to all of them in one transaction. Requests read with [`http::ReadModels`], and wait for positions by the same
//! [`ChangeNotifier`] that the reader notifies.
//! Never: an event, an aggregate or a context by name; a call to the world. Nothing here writes to a log or a topic.
//! Read next: [`Projection`], then `handler.rs` (how a batch is applied exactly once), `http/query.rs` (how a request is
//! answered).

mod change_notifier;
mod handler;
pub mod http;
mod migrate;
pub mod parked;
mod progress;
mod projection;
mod projector;
mod reader;
mod rebuild;
mod set;
mod share;
mod table;

pub use change_notifier::ChangeNotifier;
pub use event_bus::{BusConfig, ConsumerError};
pub use handler::ProjectionHandler;
pub use migrate::{MigrateError, migrate};
pub use projection::{PartOf, Projection, RowSource, fold, key_of};
pub use projector::{Projector, is_refusal, projector};
pub use reader::Reader;
pub use rebuild::Rebuild;
pub use set::ProjectionSet;
