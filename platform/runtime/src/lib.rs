//! Process plumbing: configuration secrets, telemetry, health, shutdown, Postgres connections, the HTTP server loop.
//!
//! Never: a word of the business. A type here that knows what an order is stands in the wrong crate.
//! Read next: `http/mod.rs` (the server loop), then `problem.rs` (how every error looks to a client).

pub mod context_urls;
pub mod health;
pub mod http;
pub mod notifications;
pub mod postgres;
pub mod problem;
pub mod secret;
pub mod shutdown;
pub mod signature;
pub mod telemetry;
pub mod trace;

pub use context_urls::{ContextUrls, UnknownContextUrl};
pub use health::{Check, Failing, Health, Level, Report, ops_router};
pub use notifications::Notifications;
pub use problem::{FieldError, Problem};
pub use secret::Secret;
pub use shutdown::shutdown_signal;
pub use telemetry::metrics_text;
