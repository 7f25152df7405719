//! The query side, tested: folds on values, the engine and the routes on a real Postgres, the consumer on a real Kafka.
//!
//! Never: a sleep, a mock. Read next: [`given`] (how events are made), `projections.rs`.

mod engine;
mod given;
mod handler;
mod hostile;
mod kafka;
mod openapi;
mod parked;
mod processes;
mod projections;
mod routes;
mod service;
mod waiting;
