//! The payment provider over HTTP, on a real Postgres.

mod behaviour;
mod hostile;
mod openapi;
mod payments;
mod provider;
mod webhooks;
