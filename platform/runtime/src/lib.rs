//! What every process needs: secrets in its configuration, telemetry, health, shutdown, Postgres connections, an HTTP
//! server, webhook signatures.
//!
//! Never: a business term. A type that knows what an order is belongs to another crate.
//! Read next: `http/mod.rs` (the server loop), then `problem.rs` (the form of every error response).

pub mod context_urls;
pub mod health;
pub mod http;
pub mod notifications;
pub mod postgres;
pub mod problem;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
pub mod webhook_signature;

pub use context_urls::{ContextUrl, ContextUrls, UnknownContextUrl};
pub use health::{Check, Failing, Health, Level, Report, ops_router};
pub use notifications::Notifications;
pub use problem::{FieldError, Problem};
pub use secret::Secret;
pub use shutdown::shutdown_signal;
pub use telemetry::metrics_text;
