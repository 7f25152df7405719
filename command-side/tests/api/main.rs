//! The command side as its clients see it: over HTTP, on a real Postgres.

mod ask;
mod contention;
mod hostile;
mod idempotency;
mod inventory;
mod malformed;
mod openapi;
mod orders;
mod outage;
mod preconditions;
mod shipping;
mod shop;
mod validation;
