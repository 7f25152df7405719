//! The query side, tested: folds on values, the projections and the routes on a real Postgres, the reader on a real Kafka.
//!
//! Read next: [`given`] (how events are made), `projections.rs`.

mod given;
mod handler;
mod hostile;
mod kafka;
mod openapi;
mod parked;
mod processes;
mod projections;
mod projector;
mod routes;
mod service;
mod waiting;
