//! The command side as its clients see it: over HTTP, on a real Postgres.

mod ask;
mod contention;
mod hostile;
mod idempotency;
mod malformed;
mod openapi;
mod orders;
mod outage;
mod preconditions;
mod shipments;
mod shop;
mod stock;
mod validation;
